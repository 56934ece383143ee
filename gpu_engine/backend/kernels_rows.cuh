// Rows of a table: which are alive at an epoch, and which row a join leads to.
//
// A row is alive if it was born (its number is below a limit) and its removal epoch is after the epoch asked for. Where
// branches have written, both limits depend on the branch that the row was born on: `marks` has it for rows from
// `first_marked` on; those before are the root's, number 0.

// Rows of a launch: first, first + 1, ...
struct Range {
    int64 first;
    __device__ int64 operator[](int64 i) const { return first + i; }
};

template <typename Rows>
__device__ inline void mark_alive(
    const int64* __restrict__ removed, Rows rows, int64 n, int64 size, int64 epoch, int64 row_limit, bool* alive) {
    FOR_EACH(i, n) {
        const int64 row = rows[i];
        REQUIRE(row >= 0 && row < size);
        alive[i] = removed[row] > epoch && row < row_limit;
    }
}

template <typename Rows>
__device__ inline void mark_alive_on_branches(
    const int64* __restrict__ removed, Rows rows, int64 n, int64 size, const int* __restrict__ marks,
    int64 first_marked, const int64* __restrict__ epoch_limits, const int64* __restrict__ row_limits, int64 branches,
    bool* alive) {
    FOR_EACH(i, n) {
        const int64 row = rows[i];
        REQUIRE(row >= 0 && row < size);
        const int branch = row < first_marked ? 0 : marks[row - first_marked];
        REQUIRE(branch >= 0 && branch < branches);
        alive[i] = removed[row] > epoch_limits[branch] && row < row_limits[branch];
    }
}

constexpr int64 ANY_SIZE = 0x7fffffffffffffffLL;

// alive (n,) of the rows first, first + 1, ...
extern "C" __global__ void alive_range(
    const int64* __restrict__ removed, int64 first, int64 n, int64 epoch, int64 row_limit, bool* alive) {
    mark_alive(removed, Range{first}, n, ANY_SIZE, epoch, row_limit, alive);
}

// alive (n,) of the given rows, each in 0..size-1.
extern "C" __global__ void alive_rows(
    const int64* __restrict__ removed, const int64* __restrict__ rows, int64 n, int64 size, int64 epoch,
    int64 row_limit, bool* alive) {
    mark_alive(removed, rows, n, size, epoch, row_limit, alive);
}

extern "C" __global__ void alive_range_on_branches(
    const int64* __restrict__ removed, int64 first, int64 n, const int* __restrict__ marks, int64 first_marked,
    const int64* __restrict__ epoch_limits, const int64* __restrict__ row_limits, int64 branches, bool* alive) {
    mark_alive_on_branches(
        removed, Range{first}, n, ANY_SIZE, marks, first_marked, epoch_limits, row_limits, branches, alive);
}

extern "C" __global__ void alive_rows_on_branches(
    const int64* __restrict__ removed, const int64* __restrict__ rows, int64 n, int64 size,
    const int* __restrict__ marks, int64 first_marked, const int64* __restrict__ epoch_limits,
    const int64* __restrict__ row_limits, int64 branches, bool* alive) {
    mark_alive_on_branches(
        removed, rows, n, size, marks, first_marked, epoch_limits, row_limits, branches, alive);
}

// out (n,): the row of the entity that each of n pointers points to; -1 if it points nowhere, the entity has no place in
// `row_of_entity` (entities,) or -1 there.
extern "C" __global__ void join_gather(
    const int* __restrict__ pointers, int64 n, const int* __restrict__ row_of_entity, int64 entities, int64* out) {
    FOR_EACH(i, n) {
        const int entity = pointers[i];
        out[i] = entity < 0 || entity >= entities ? -1 : row_of_entity[entity];
    }
}
