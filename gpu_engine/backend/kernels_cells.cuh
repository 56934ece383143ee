// Cells of an aggregate provider: all measures of k cells in one launch.
//
// A provider holds a block of floats (size, fw) and one of integers (size, iw), row-major; either may have no columns.
// `places` (k,) are distinct and in 0..size-1, so that no two threads meet. Linear primitives stand in the first
// columns: the deltas (k, fdw) and (k, idw) have those only.

template <typename Value>
__device__ inline void take_cells(
    const int64* __restrict__ places, int64 k, int64 size, const Value* cells, int64 width, Value* __restrict__ out) {
    for_each_element(k, width, [&](int64 row, int64 column) {
        const int64 place = places[row];
        REQUIRE(place >= 0 && place < size);
        out[row * width + column] = cells[place * width + column];
    });
}

template <typename Value>
__device__ inline void put_cells(
    const int64* __restrict__ places, int64 k, int64 size, Value* cells, int64 width, const Value* __restrict__ values) {
    for_each_element(k, width, [&](int64 row, int64 column) {
        const int64 place = places[row];
        REQUIRE(place >= 0 && place < size);
        cells[place * width + column] = values[row * width + column];
    });
}

template <typename Value>
__device__ inline void sum_cells(
    const int64* __restrict__ places, int64 k, int64 size, const Value* cells, int64 width,
    const Value* __restrict__ delta, int64 delta_width, Value* __restrict__ before, Value* __restrict__ after) {
    REQUIRE(delta_width <= width);
    for_each_element(k, width, [&](int64 row, int64 column) {
        const int64 place = places[row];
        REQUIRE(place >= 0 && place < size);
        const Value held = cells[place * width + column];
        const Value sum = column < delta_width ? held + delta[row * delta_width + column] : held;
        before[row * width + column] = held;
        after[row * width + column] = sum;
    });
}

// f_out (k, fw) and i_out (k, iw): the numbers at the places.
extern "C" __global__ void cells_take(
    const int64* __restrict__ places, int64 k, int64 size, const double* floats, int64 fw, double* f_out,
    const uint64* ints, int64 iw, uint64* i_out) {
    take_cells(places, k, size, floats, fw, f_out);
    take_cells(places, k, size, ints, iw, i_out);
}

// Write f_new (k, fw) and i_new (k, iw) to the places.
extern "C" __global__ void cells_put(
    const int64* __restrict__ places, int64 k, int64 size, double* floats, int64 fw, const double* f_new, uint64* ints,
    int64 iw, const uint64* i_new) {
    put_cells(places, k, size, floats, fw, f_new);
    put_cells(places, k, size, ints, iw, i_new);
}

// The numbers at the places, and what they are with the deltas. The cells stay as they are: an undo history must know
// the numbers before they change.
extern "C" __global__ void cells_sum(
    const int64* __restrict__ places, int64 k, int64 size, const double* floats, int64 fw, const double* f_delta,
    int64 fdw, double* f_before, double* f_after, const uint64* ints, int64 iw, const uint64* i_delta, int64 idw,
    uint64* i_before, uint64* i_after) {
    sum_cells(places, k, size, floats, fw, f_delta, fdw, f_before, f_after);
    sum_cells(places, k, size, ints, iw, i_delta, idw, i_before, i_after);
}
