// What the scheduler and the checker know of each other.
#pragma once
#include "cuda_on_host.h"
#include <cstddef>
#include <cstdint>
#include <vector>

struct Fiber {
    enum State { ready, at_barrier, at_warp, done } state;
    uint3 index;
    int number;
    Place at;
    void* stack_pointer;
    char* stack;
};
struct Warp {
    unsigned members, arrived, mask;  // lanes that exist; that wait at a warp operation; that it waits for
    Place at;
    unsigned turn;                    // counts operations: a fast lane may write into the next one's slots
    unsigned given[2];
    uint64_t slots[2][32];
    uint32_t interval;                // counts __syncwarp of the whole warp, for the checker
};
struct Extent { char *begin, *end; uint32_t grain; uint32_t shared; };

constexpr size_t stack_bytes = 128 << 10;
extern Fiber* running;
extern Warp warps[32];
extern uint32_t barrier_interval, block_serial;  // both are never 0 and never used twice

[[noreturn]] void fail(void* pc, const char* format, ...);
void begin_checking(const Extent* extents, int count);
void check_access(void* address, unsigned size, bool write, bool atomic, void* pc);
