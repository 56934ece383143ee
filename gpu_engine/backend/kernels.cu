// Kernels of the GPU backend: what commits and queries do so often that one launch must do all of it.
//
// Floor 1. CuPy compiles this file with NVRTC (cuda_kernels.py); nothing but the language is needed. The same text runs
// on the CPU (tests/conformance/cuda_shim) and is compiled for sm_90 by a test that needs no driver.
//
// All scalar arguments are 64 bits wide. Arrays are C-contiguous. Kernels are grid-stride loops, right for any grid and
// block, unless they say otherwise. They allocate nothing and never wait for the host.
// What must be in range is not checked, but for -DCHECK_BOUNDS: then a thread that finds otherwise traps and writes
// nothing.

typedef long long int64;
typedef unsigned long long uint64;

#ifdef CHECK_BOUNDS
#define REQUIRE(holds) \
    do { \
        if (!(holds)) __trap(); \
    } while (0)
#else
#define REQUIRE(holds) ((void)0)
#endif

// The block's own memory; its size is an argument of the launch.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(Type, name) \
    extern __shared__ uint64 dynamic_shared[]; \
    Type* name = reinterpret_cast<Type*>(dynamic_shared)
#endif

#define FOR_EACH(i, n) for (int64 i = thread_number(); i < (n); i += thread_count())

__device__ inline int64 thread_number() { return static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; }

__device__ inline int64 thread_count() { return static_cast<int64>(gridDim.x) * blockDim.x; }

// Call each(row, column) for the elements of n rows: neighbours in a row by neighbouring threads, one division each.
template <typename Each>
__device__ inline void for_each_element(int64 n, int64 width, Each each) {
    if (width == 0) return;
    int64 row = thread_number() / width, column = thread_number() % width;
    const int64 row_step = thread_count() / width, column_step = thread_count() % width;
    while (row < n) {
        each(row, column);
        row += row_step;
        column += column_step;
        if (column >= width) {
            column -= width;
            ++row;
        }
    }
}

#include "kernels_cells.cuh"
#include "kernels_csv.cuh"
#include "kernels_group.cuh"
#include "kernels_index.cuh"
#include "kernels_rows.cuh"
