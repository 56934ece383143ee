// The entity index: int64 keys to dense int32 ids, by open addressing with linear probing.
//
// A slot holds -1 (empty), an id, or -2 - r: the claim of row r of the batch that is being inserted. The key of a slot
// is that of its id (keys[id]) or of its row (wanted[r]), so every int64 is a valid key and a slot changes in one
// atomic step. The host keeps at most half of the slots taken; their number is a power of two, `mask` + 1.
//
// Order of ids. Rows with one key walk the same slots, and no slot becomes empty during a claim, so they end at one slot.
// The claims compete by maximum, which is the smallest row: the outcome is the same in whatever order threads run.
// A prefix sum over the rows that won gives ids in the order of first occurrence.
//
// Readers beside the writer. A slot gets its id after the key of that id was written, with a fence between the two. A
// reader that meets an id and a matching key fences and reads the key again: as the slot's new value was seen before
// the fence, the key is seen after it, and what the memory held before cannot pass for a key. A mismatch needs no
// fence: either the key is another one, or its insert has not returned yet and the reader may miss it. A reader stops at
// a claim as at an empty slot: it was empty until this batch, so no older key lies beyond it. A table that is outgrown
// stays as it is; `index_rehash` fills a new one that no reader has yet.

constexpr int EMPTY = -1;

__device__ inline int claim_of(int64 row) { return -2 - static_cast<int>(row); }

__device__ inline int64 row_of(int claim) { return -2 - static_cast<int64>(claim); }

// Memory that others change: read it anew, not from a register or the cache of this multiprocessor.
template <typename Value>
__device__ inline Value load(const Value* place) {
    return *static_cast<const volatile Value*>(place);
}

// The finaliser of MurmurHash3: neighbouring keys go to slots far apart.
__device__ inline int64 home(int64 key, int64 mask) {
    uint64 mixed = static_cast<uint64>(key);
    mixed = (mixed ^ (mixed >> 33)) * 0xff51afd7ed558ccdULL;
    mixed = (mixed ^ (mixed >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return static_cast<int64>((mixed ^ (mixed >> 33)) & static_cast<uint64>(mask));
}

__device__ inline int find(int64 wanted, const int* slots, int64 mask, const int64* keys) {
    int64 slot = home(wanted, mask);
    for (int64 step = 0; step <= mask; ++step, slot = (slot + 1) & mask) {
        const int id = load(slots + slot);
        if (id < 0) return -1;
        if (load(keys + id) == wanted) {
            __threadfence();
            if (load(keys + id) == wanted) return id;
        }
    }
    return -1;
}

// Return the slot of the row's key, claimed for it if no other had it.
__device__ inline int64 claim(
    const int64* wanted, int64 row, int64 n, int* slots, int64 mask, const int64* keys) {
    const int64 key = wanted[row];
    int64 slot = home(key, mask);
    for (int64 step = 0; step <= mask; ++step, slot = (slot + 1) & mask) {
        int held = load(slots + slot);
        if (held == EMPTY) held = atomicCAS(slots + slot, EMPTY, claim_of(row));
        if (held == EMPTY) return slot;
        if (held >= 0) {
            if (keys[held] == key) return slot;
        } else {
            REQUIRE(row_of(held) < n);
            if (wanted[row_of(held)] == key) {
                atomicMax(slots + slot, claim_of(row));
                return slot;
            }
        }
    }
    __trap();  // full: the host has not kept its promise, and going on would give a wrong id
    return 0;
}

__device__ inline void publish(int64 key, int64 id, int* slot, int64* keys) {
    *static_cast<volatile int64*>(keys + id) = key;
    __threadfence();
    atomicExch(slot, static_cast<int>(id));
}

// ids (n,): the id of each wanted key, -1 if it has none.
extern "C" __global__ void index_lookup(
    const int64* __restrict__ wanted, int64 n, const int* slots, int64 mask, const int64* keys, int* __restrict__ ids) {
    FOR_EACH(row, n) ids[row] = find(wanted[row], slots, mask, keys);
}

// Enter the distinct keys of the ids 0..count-1 into empty slots.
extern "C" __global__ void index_rehash(const int64* __restrict__ keys, int64 count, int* slots, int64 mask) {
    REQUIRE(count <= mask);
    FOR_EACH(id, count) {
        int64 slot = home(keys[id], mask);
        while (atomicCAS(slots + slot, EMPTY, static_cast<int>(id)) != EMPTY) slot = (slot + 1) & mask;
    }
}

// Inserting, step 1 of 4. slot_of (n,): the slot of each row's key. n <= 2**31 - 2.
extern "C" __global__ void index_claim(
    const int64* __restrict__ wanted, int64 n, int* slots, int64 mask, const int64* keys, int64* slot_of) {
    FOR_EACH(row, n) slot_of[row] = claim(wanted, row, n, slots, mask, keys);
}

// Step 2. first (n,): 1 for the first row of a key that had no id, else 0.
extern "C" __global__ void index_first(const int* slots, const int64* __restrict__ slot_of, int64 n, int* first) {
    FOR_EACH(row, n) first[row] = slots[slot_of[row]] == claim_of(row);
}

// Step 3. Give the next ids to first rows; rank (n,) is the inclusive prefix sum of `first`.
extern "C" __global__ void index_publish(
    const int64* __restrict__ wanted, const int64* __restrict__ slot_of, const int* __restrict__ first,
    const int64* __restrict__ rank, int64 n, int64 count, int* slots, int64* keys) {
    FOR_EACH(row, n) {
        if (first[row]) publish(wanted[row], count + rank[row] - 1, slots + slot_of[row], keys);
    }
}

// Step 4. ids (n,): the id of each row's key.
extern "C" __global__ void index_gather(const int* slots, const int64* __restrict__ slot_of, int64 n, int* ids) {
    FOR_EACH(row, n) ids[row] = slots[slot_of[row]];
}

// Instead of steps 3 and 4: take the claims back, so that nothing has changed.
extern "C" __global__ void index_withdraw(int* slots, const int64* __restrict__ slot_of, int64 n) {
    FOR_EACH(row, n) {
        if (load(slots + slot_of[row]) < EMPTY) atomicExch(slots + slot_of[row], EMPTY);
    }
}

constexpr int BLOCK_ROWS = 1024;

// All steps at once, for one block and at most as many rows as it has threads, 1024 at most.
extern "C" __global__ void __launch_bounds__(BLOCK_ROWS) index_insert_block(
    const int64* __restrict__ wanted, int64 n, int* slots, int64 mask, int64* keys, int64 count, int* ids,
    int64* new_count) {
    __shared__ int ranks[BLOCK_ROWS];
    const int row = static_cast<int>(threadIdx.x), rows = static_cast<int>(blockDim.x);
    REQUIRE(gridDim.x == 1 && n <= rows && rows <= BLOCK_ROWS);
    const int64 slot = row < n ? claim(wanted, row, n, slots, mask, keys) : 0;
    __syncthreads();
    const bool first = row < n && load(slots + slot) == claim_of(row);
    ranks[row] = first;
    __syncthreads();
    for (int step = 1; step < rows; step *= 2) {
        const int before = row >= step ? ranks[row - step] : 0;
        __syncthreads();
        ranks[row] += before;
        __syncthreads();
    }
    if (first) publish(wanted[row], count + ranks[row] - 1, slots + slot, keys);
    __syncthreads();
    if (row < n) ids[row] = load(slots + slot);
    if (row == 0) *new_count = count + ranks[rows - 1];
}
