// Sums, counts and extremes of groups, added to what `out` holds.
//
// Two forms of sums. `_private`, for few cells: each thread adds to cells of its own in shared memory (atomics on 64-bit
// values there are spin loops), the block folds them, and one global atomic per cell and block is left. `_atomic`, for
// many: straight global atomics, which the L2 cache executes; the neighbouring measures of a row go to neighbouring
// cells. The order of additions, and so the rounding of float sums, is not fixed. Integers are exact modulo 2**64: they
// are added as unsigned.
//
// group_of (n,) is in 0..size-1. Values (n, width) and cells (size, width) are row-major.

// What is counted: one for each row.
struct Ones {
    __device__ uint64 operator[](int64) const { return 1; }
};

template <typename Value, typename Values>
__device__ inline void sum_by_atomics(
    Values values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size, Value* out) {
    for_each_element(n, width, [&](int64 row, int64 column) {
        const int64 group = group_of[row];
        REQUIRE(group >= 0 && group < size);
        atomicAdd(out + group * width + column, values[row * width + column]);
    });
}

// The block has a power of two of threads, and size * width * threads * 8 bytes of dynamic shared memory. A thread's
// cells lie a block apart: threads of a warp use different banks, whatever their groups.
template <typename Value, typename Values>
__device__ inline void sum_by_private_cells(
    Values values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size, Value* out) {
    DYNAMIC_SHARED(Value, block);
    const int64 cells = size * width, threads = blockDim.x;
    Value* own = block + threadIdx.x;
    for (int64 cell = 0; cell < cells; ++cell) own[cell * threads] = 0;
    FOR_EACH(row, n) {
        const int64 group = group_of[row];
        REQUIRE(group >= 0 && group < size);
        for (int64 column = 0; column < width; ++column) {
            own[(group * width + column) * threads] += values[row * width + column];
        }
    }
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            for (int64 cell = 0; cell < cells; ++cell) own[cell * threads] += own[cell * threads + half];
        }
    }
    __syncthreads();
    for (int64 cell = threadIdx.x; cell < cells; cell += threads) atomicAdd(out + cell, block[cell * threads]);
}

extern "C" __global__ void group_sum_float64_atomic(
    const double* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size,
    double* out) {
    sum_by_atomics(values, group_of, n, width, size, out);
}

extern "C" __global__ void group_sum_float64_private(
    const double* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size,
    double* out) {
    sum_by_private_cells(values, group_of, n, width, size, out);
}

extern "C" __global__ void group_sum_int64_atomic(
    const uint64* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size,
    uint64* out) {
    sum_by_atomics(values, group_of, n, width, size, out);
}

extern "C" __global__ void group_sum_int64_private(
    const uint64* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 width, int64 size,
    uint64* out) {
    sum_by_private_cells(values, group_of, n, width, size, out);
}

extern "C" __global__ void group_count_atomic(const int64* __restrict__ group_of, int64 n, int64 size, uint64* out) {
    sum_by_atomics(Ones(), group_of, n, 1, size, out);
}

extern "C" __global__ void group_count_private(const int64* __restrict__ group_of, int64 n, int64 size, uint64* out) {
    sum_by_private_cells(Ones(), group_of, n, 1, size, out);
}

// Extremes. `out` holds the initial values, which are not NaN. A row looks before it uses an atomic: once a cell has a
// good extreme, few rows pass it, and a look that is out of date only costs an atomic.
//
// Floats of one sign are ordered as their bits are. A float with the sign bit is, read as a signed integer, below those
// without; read as an unsigned one, above. So the less of two floats is the lesser signed integer if the new one has no
// sign bit, and the greater unsigned one if it has: native atomics, no loop. NaN is written as the bits that beat all.

constexpr int64 NEGATIVE_NAN = -1, POSITIVE_NAN = 0x7fffffffffffffffLL;

__device__ inline void take_less(double* held, double value) {
    if (!(value < *held) && value == value) return;
    const int64 bits = value == value ? __double_as_longlong(value) : NEGATIVE_NAN;
    if (bits >= 0) atomicMin(reinterpret_cast<int64*>(held), bits);
    else atomicMax(reinterpret_cast<uint64*>(held), static_cast<uint64>(bits));
}

__device__ inline void take_greater(double* held, double value) {
    if (!(value > *held) && value == value) return;
    const int64 bits = value == value ? __double_as_longlong(value) : POSITIVE_NAN;
    if (bits >= 0) atomicMax(reinterpret_cast<int64*>(held), bits);
    else atomicMin(reinterpret_cast<uint64*>(held), static_cast<uint64>(bits));
}

__device__ inline void take_less(int64* held, int64 value) {
    if (value < *held) atomicMin(held, value);
}

__device__ inline void take_greater(int64* held, int64 value) {
    if (value > *held) atomicMax(held, value);
}

template <typename Value, typename Take>
__device__ inline void extreme(
    const Value* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 size, Value* out, Take take) {
    FOR_EACH(row, n) {
        const int64 group = group_of[row];
        REQUIRE(group >= 0 && group < size);
        take(out + group, values[row]);
    }
}

extern "C" __global__ void group_min_float64(
    const double* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 size, double* out) {
    extreme(values, group_of, n, size, out, [](double* held, double value) { take_less(held, value); });
}

extern "C" __global__ void group_max_float64(
    const double* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 size, double* out) {
    extreme(values, group_of, n, size, out, [](double* held, double value) { take_greater(held, value); });
}

extern "C" __global__ void group_min_int64(
    const int64* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 size, int64* out) {
    extreme(values, group_of, n, size, out, [](int64* held, int64 value) { take_less(held, value); });
}

extern "C" __global__ void group_max_int64(
    const int64* __restrict__ values, const int64* __restrict__ group_of, int64 n, int64 size, int64* out) {
    extreme(values, group_of, n, size, out, [](int64* held, int64 value) { take_greater(held, value); });
}
