// The CUDA language as far as our kernels speak it, on the CPU.
//
// The threads of a block are fibers of one system thread: they share what is `__shared__`, wait for each other at
// barriers, and change places at random, by a seed, wherever another thread could come in between (atomics, fences,
// barriers). Blocks run on several system threads, whose atomics are real. A trap ends its fiber and is counted; so is a
// barrier that some threads of a block never reach.
#pragma once

#include <ucontext.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static thread_local
#define __launch_bounds__(threads)
#define DYNAMIC_SHARED(Type, name) Type* name = reinterpret_cast<Type*>(shim::shared.data())

struct Dimensions {
    unsigned x = 1, y = 1, z = 1;
};
static thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr std::size_t STACK = 64 * 1024;
constexpr int POISON = 0xA5;  // shared memory holds garbage at first, as on a GPU

struct Trap {};

enum class State { ready, waiting, done };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    State state = State::done;
};

struct Faults {
    std::atomic<long long> traps{0}, barriers{0};
};

static thread_local std::vector<unsigned long long> shared;
static thread_local std::vector<std::unique_ptr<Fiber>> fibers;
static thread_local ucontext_t scheduler;
static thread_local Fiber* current = nullptr;
static thread_local const std::function<void()>* kernel = nullptr;
static thread_local Faults* faults = nullptr;
static thread_local unsigned long long dice = 1;

inline unsigned roll() {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return static_cast<unsigned>(dice >> 32);
}

inline void leave(State state) {
    current->state = state;
    swapcontext(&current->context, &scheduler);
}

inline void maybe_leave() {
    if (roll() % 2) leave(State::ready);
}

inline void fiber_main() {
    try {
        (*kernel)();
    } catch (const Trap&) {
        ++faults->traps;
    }
    leave(State::done);
}

inline void start(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
    fiber.state = State::ready;
}

inline void run_block(unsigned threads, std::size_t shared_bytes) {
    shared.assign(shared_bytes / 8 + 1, 0);
    std::memset(shared.data(), POISON, shared.size() * 8);
    while (fibers.size() < threads) fibers.emplace_back(new Fiber);
    std::vector<unsigned> ready, waiting;
    for (unsigned i = 0; i < threads; ++i) {
        start(*fibers[i]);
        ready.push_back(i);
    }
    const long long traps = faults->traps;
    bool some_done = false;
    while (!ready.empty()) {
        const std::size_t pick = roll() % ready.size();
        const unsigned number = ready[pick];
        current = fibers[number].get();
        threadIdx.x = number;
        swapcontext(&scheduler, &current->context);
        if (current->state != State::ready) {
            ready[pick] = ready.back();
            ready.pop_back();
        }
        if (current->state == State::waiting) waiting.push_back(number);
        some_done |= current->state == State::done;
        if (ready.empty() && !waiting.empty()) {
            if (some_done && faults->traps == traps) ++faults->barriers;
            ready.swap(waiting);
        }
    }
}

inline void launch(
    const std::function<void()>& body, unsigned grid, unsigned block, std::size_t shared_bytes, unsigned workers,
    unsigned long long seed, Faults& found) {
    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
            kernel = &body;
            faults = &found;
            dice = (seed + 1) * 0x9E3779B97F4A7C15ULL + worker;
            gridDim.x = grid;
            blockDim.x = block;
            for (blockIdx.x = worker; blockIdx.x < grid; blockIdx.x += workers) run_block(block, shared_bytes);
        });
    }
    for (std::thread& thread : threads) thread.join();
}

template <typename Value, typename Change>
Value exchange(Value* place, Change change) {
    maybe_leave();
    Value held = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(place, &held, change(held), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return held;
}

}  // namespace shim

[[noreturn]] inline void __trap() { throw shim::Trap{}; }

inline void __syncthreads() { shim::leave(shim::State::waiting); }

inline void __threadfence() {
    shim::maybe_leave();
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

inline long long __double_as_longlong(double value) {
    long long bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __clzll(long long bits) { return bits == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(bits)); }

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}

template <typename Value>
Value atomicAdd(Value* place, Value value) {
    return shim::exchange(place, [=](Value held) { return static_cast<Value>(held + value); });
}

inline double atomicAdd(double* place, double value) {
    shim::maybe_leave();
    double held, sum;
    __atomic_load(place, &held, __ATOMIC_RELAXED);
    do sum = held + value;
    while (!__atomic_compare_exchange(place, &held, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return held;
}

template <typename Value>
Value atomicMin(Value* place, Value value) {
    return shim::exchange(place, [=](Value held) { return value < held ? value : held; });
}

template <typename Value>
Value atomicMax(Value* place, Value value) {
    return shim::exchange(place, [=](Value held) { return value > held ? value : held; });
}

template <typename Value>
Value atomicExch(Value* place, Value value) {
    return shim::exchange(place, [=](Value) { return value; });
}

inline int atomicCAS(int* place, int expected, int value) {
    return shim::exchange(place, [=](int held) { return held == expected ? value : held; });
}
