// CUDA threads as fibers: a block's threads run in turn, each until it waits or returns.
#include "scheduler.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[];
Geometry geometry;
Fiber* running;
Warp warps[32];
uint32_t barrier_interval, block_serial;

namespace {
Fiber fibers[1024];
int threads, alive, waiting;
EmuInvoke invoke;
void *kernel, **arguments, *scheduler_stack;
char* dynamic_shared;
size_t dynamic_bytes;
bool checking;
char message[1024];
void* message_pc;

// Saves the registers that a call preserves (System V, x86-64) and continues on the other stack.
extern "C" void emu_switch(void** save, void* load);
asm(R"(.pushsection .text
.type emu_switch,@function
emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emu_switch,.-emu_switch
.popsection)");

void yield() { emu_switch(&running->stack_pointer, scheduler_stack); }

void fiber_body() {
    for (;;) {  // a fiber outlives its block: the next block's thread continues here
        invoke(kernel, arguments);
        running->state = Fiber::done;
        --alive;
        yield();
    }
}

void make_fiber(Fiber& fiber) {
    if (!fiber.stack) fiber.stack = (char*)mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void** top = (void**)(fiber.stack + stack_bytes);
    *--top = nullptr;  // fiber_body's return address: keeps its stack 16-byte aligned
    *--top = (void*)fiber_body;
    fiber.stack_pointer = top - 6;
}

void say(void* pc, const char* text) {
    if (message[0]) return;
    const uint3 &b = geometry.block, &t = geometry.thread;
    snprintf(message, sizeof message, "%s, in block (%u, %u, %u), thread (%u, %u, %u)", text, b.x, b.y, b.z, t.x, t.y, t.z);
    message_pc = pc;
}

void begin_block(const Extent* extents, int count) {
    for (int i = 0; i < count; ++i) if (extents[i].shared) memset(extents[i].begin, 0xff, extents[i].end - extents[i].begin);
    alive = threads;
    waiting = 0;
    ++block_serial;
    ++barrier_interval;
    for (int i = 0; i < threads; ++i) fibers[i].state = Fiber::ready;
    for (int w = 0; 32 * w < threads; ++w) {
        int lanes = threads - 32 * w;
        warps[w].members = lanes >= 32 ? ~0u : (1u << lanes) - 1;
        warps[w].arrived = 0;
        ++warps[w].interval;
    }
}

void open_barrier() {
    if (waiting < threads) {
        Place at{};
        for (int i = 0; i < threads; ++i) if (fibers[i].state == Fiber::at_barrier) at = fibers[i].at;
        char text[300];
        snprintf(text, sizeof text, "barrier divergence: some threads returned, others wait at %s:%d", at.file, at.line);
        return say(nullptr, text);
    }
    for (int i = 0; i < threads; ++i) {
        if (fibers[i].at.line != fibers[0].at.line) {
            char text[300];
            const Place &one = fibers[0].at, &other = fibers[i].at;
            snprintf(text, sizeof text, "barrier divergence: threads wait at %s:%d and %s:%d", one.file, one.line, other.file, other.line);
            return say(nullptr, text);
        }
        fibers[i].state = Fiber::ready;
    }
    waiting = 0;
    ++barrier_interval;
}

void run_block(bool backwards) {
    while (alive && !message[0]) {
        bool progress = false;
        for (int k = 0; k < threads && !message[0]; ++k) {
            Fiber& fiber = fibers[backwards ? threads - 1 - k : k];
            if (fiber.state != Fiber::ready) continue;
            progress = true;
            running = &fiber;
            geometry.thread = fiber.index;
            emu_switch(&scheduler_stack, fiber.stack_pointer);
        }
        if (message[0] || progress) continue;
        if (waiting && waiting == alive) { open_barrier(); continue; }
        for (int i = 0; i < threads; ++i) if (fibers[i].state == Fiber::at_warp) {
            geometry.thread = fibers[i].index;
            char text[300];
            const Place& at = fibers[i].at;
            snprintf(text, sizeof text, "warp divergence: %s:%d waits for lanes that its mask names but that went elsewhere", at.file, at.line);
            say(nullptr, text);
        }
    }
}

// All lanes of the mask meet here, each with 8 bytes. Returns which of the two sets of slots holds them.
int meet(unsigned mask, uint64_t bits, Place at, bool orders_memory) {
    Warp& warp = warps[running->number / 32];
    unsigned lane = running->number % 32, awaited = mask & warp.members;
    if (!(mask >> lane & 1)) fail(nullptr, "warp divergence: at %s:%d the mask leaves out the lane that calls", at.file, at.line);
    if (warp.arrived && (warp.at.line != at.line || warp.mask != mask))
        fail(nullptr, "warp divergence: lanes of one warp meet at %s:%d and %s:%d, or with other masks", warp.at.file,
             warp.at.line, at.file, at.line);
    int set = warp.turn & 1;
    if (!warp.arrived) warp.given[set] = 0, warp.at = at, warp.mask = mask;
    warp.arrived |= 1u << lane;
    warp.given[set] |= 1u << lane;
    warp.slots[set][lane] = bits;
    if (warp.arrived != awaited) {
        running->state = Fiber::at_warp;
        running->at = at;
        yield();
        return set;
    }
    Fiber* first = fibers + running->number / 32 * 32;
    for (int l = 0; l < 32; ++l) if (awaited >> l & 1) first[l].state = Fiber::ready;
    warp.arrived = 0;
    ++warp.turn;
    if (orders_memory && awaited == warp.members) ++warp.interval;  // a part of a warp: the checker sees no order
    return set;
}
}  // namespace

void fail(void* pc, const char* format, ...) {
    char text[700];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    say(pc, text);
    yield();  // emu_launch starts an abandoned fiber afresh
    abort();
}

#define PC __builtin_return_address(0)
extern "C" {
int emu_lane() { return running->number % 32; }
void* emu_dynamic_shared() { return dynamic_shared; }
void emu_atomic(void* address, unsigned size) { if (checking) check_access(address, size, true, true, PC); }

void emu_barrier(Place at) {
    running->state = Fiber::at_barrier;
    running->at = at;
    ++waiting;
    yield();
}
void emu_warp_barrier(unsigned mask, Place at) { meet(mask, 0, at, true); }
unsigned long long emu_exchange(unsigned mask, unsigned long long bits, int lane, Place at) {
    int set = meet(mask, bits, at, false);
    const Warp& warp = warps[running->number / 32];
    if (lane < 0) return bits;
    return warp.given[set] >> lane & 1 ? warp.slots[set][lane] : ~0ull;  // undefined on a GPU: a NaN here
}
unsigned emu_ballot(unsigned mask, int vote, Place at) {
    int set = meet(mask, vote, at, false);
    const Warp& warp = warps[running->number / 32];
    unsigned votes = 0;
    for (int l = 0; l < 32; ++l) if (warp.given[set] >> l & 1 && warp.slots[set][l]) votes |= 1u << l;
    return votes;
}

// One launch. The first extent is dynamic shared memory (its begin is filled in here). 0, or 1: see emu_message.
int emu_launch(const EmuKernel* what, void** values, const unsigned* grid, const unsigned* block, size_t shared_bytes,
               Extent* extents, int count, int check, int backwards) {
    kernel = what->kernel, invoke = what->invoke, arguments = values;
    checking = check, message[0] = 0, message_pc = nullptr;
    threads = block[0] * block[1] * block[2];
    geometry.block_size = {block[0], block[1], block[2]};
    geometry.grid_size = {grid[0], grid[1], grid[2]};
    for (unsigned i = 0; i < (unsigned)threads; ++i) {
        fibers[i].number = i;
        fibers[i].index = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        if (!fibers[i].stack) make_fiber(fibers[i]);
    }
    if (dynamic_bytes < shared_bytes || !dynamic_shared) {
        free(dynamic_shared);
        dynamic_bytes = shared_bytes;
        dynamic_shared = (char*)aligned_alloc(128, (shared_bytes + 255) / 128 * 128);
    }
    extents[0] = {dynamic_shared, dynamic_shared + shared_bytes, 1, 1};
    if (check) begin_checking(extents, count);
    unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned k = 0; k < blocks && !message[0]; ++k) {
        unsigned b = backwards ? blocks - 1 - k : k;
        geometry.block = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
        begin_block(extents, count);
        run_block(backwards);
    }
    if (message[0]) for (int i = 0; i < threads; ++i) make_fiber(fibers[i]);
    running = nullptr;
    return message[0] != 0;
}
const char* emu_message() { return message; }
void* emu_base() { return __ehdr_start; }
void* emu_message_pc() { return message_pc; }
}
