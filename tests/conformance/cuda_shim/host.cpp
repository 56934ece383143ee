// The kernels as a library for ctypes: launch(name, geometry, arguments).
#include <map>
#include <string>
#include <utility>

#include "cuda_on_cpu.h"

#include "kernels.cu"

// For tests only: every other thread publishes a row of an insert, the others look keys up meanwhile.
extern "C" __global__ void index_lookup_beside_publish(
    const int64* wanted, const int64* slot_of, const int* first, const int64* rank, int64 n, int64 count, int* slots,
    int64 mask, int64* keys, const int64* asked, int* ids) {
    FOR_EACH(i, 2 * n) {
        const int64 row = i / 2;
        if (i % 2) ids[row] = find(asked[row], slots, mask, keys);
        else if (first[row]) publish(wanted[row], count + rank[row] - 1, slots + slot_of[row], keys);
    }
}

namespace {

using Launcher = std::function<void(void**)>;

template <typename... Arguments, std::size_t... Places>
Launcher unpacking(void (*kernel)(Arguments...), std::index_sequence<Places...>) {
    return [=](void** arguments) { kernel(*static_cast<Arguments*>(arguments[Places])...); };
}

template <typename... Arguments>
std::pair<int, Launcher> entry(void (*kernel)(Arguments...)) {
    return {sizeof...(Arguments), unpacking(kernel, std::index_sequence_for<Arguments...>())};
}

#define ENTRY(kernel) {#kernel, entry(kernel)}
const std::map<std::string, std::pair<int, Launcher>> KERNELS = {
    ENTRY(alive_range), ENTRY(alive_range_on_branches), ENTRY(alive_rows), ENTRY(alive_rows_on_branches),
    ENTRY(cells_put), ENTRY(cells_sum), ENTRY(cells_take),
    ENTRY(csv_compare), ENTRY(csv_dates), ENTRY(csv_decimals), ENTRY(csv_floats), ENTRY(csv_hashes), ENTRY(csv_integers),
    ENTRY(csv_times), ENTRY(csv_truths),
    ENTRY(group_count_atomic), ENTRY(group_count_private),
    ENTRY(group_max_float64), ENTRY(group_max_int64), ENTRY(group_min_float64), ENTRY(group_min_int64),
    ENTRY(group_sum_float64_atomic), ENTRY(group_sum_float64_private),
    ENTRY(group_sum_int64_atomic), ENTRY(group_sum_int64_private),
    ENTRY(index_claim), ENTRY(index_first), ENTRY(index_gather), ENTRY(index_insert_block), ENTRY(index_lookup),
    ENTRY(index_lookup_beside_publish), ENTRY(index_publish), ENTRY(index_rehash), ENTRY(index_withdraw),
    ENTRY(join_gather),
};

}  // namespace

// Return how many arguments a kernel takes, -1 if there is none of that name.
extern "C" int arity(const char* name) {
    const auto found = KERNELS.find(name);
    return found == KERNELS.end() ? -1 : found->second.first;
}

// Run a kernel to its end; write the number of threads that trapped and of barriers that not all threads reached.
extern "C" void launch(
    const char* name, unsigned grid, unsigned block, unsigned long long shared_bytes, void** arguments,
    unsigned workers, unsigned long long seed, long long* traps, long long* barriers) {
    const Launcher& launcher = KERNELS.at(name).second;
    shim::Faults faults;
    shim::launch([&] { launcher(arguments); }, grid, block, shared_bytes, workers, seed, faults);
    *traps = faults.traps;
    *barriers = faults.barriers;
}
