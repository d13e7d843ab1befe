// Every access of the checked build comes here, through the hooks that g++ -fsanitize=thread calls (in libtsan's place).
//
// Two accesses of one address conflict if one writes and not both are atomic. They are a race unless ordered: by the
// thread itself, by a __syncthreads of the block, or by a __syncwarp of the whole warp. Nothing orders two blocks.
// Whether they are ordered does not depend on who happened to run first, so any schedule finds every race.
#include "scheduler.h"
#include <algorithm>
#include <cstdlib>

extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], __bss_start[];

namespace {
// The last accesses of one kind. Earlier ones are dropped only where the last conflicts with all that they would.
struct Record {
    uint32_t block, interval, warp_interval;
    uint16_t thread;
    bool more_blocks, more_warps, more_threads;
};
struct Cell { Record write, atomic, read; };
struct Region { char *begin, *end; uint32_t grain; bool shared; Cell* cells; };

std::vector<Region> regions;
Region* recent;

bool unordered(const Record& r, bool shared) {
    if (!r.block) return false;
    if (r.block != block_serial) return !shared;  // a shared address means other memory in each block
    if (r.more_blocks && !shared) return true;
    if (r.interval != barrier_interval) return false;
    int me = running->number;
    if (r.more_warps || r.thread / 32 != me / 32) return true;
    if (r.warp_interval != warps[me / 32].interval) return false;
    return r.more_threads || r.thread != me;
}

void note(Record& r) {
    int me = running->number;
    uint32_t warp_interval = warps[me / 32].interval;
    r.more_blocks = r.more_blocks || (r.block && r.block != block_serial);
    if (r.interval != barrier_interval) r.more_warps = r.more_threads = false;
    else if (r.thread / 32 != me / 32) r.more_warps = true;
    else if (r.warp_interval != warp_interval) r.more_threads = false;
    else if (r.thread != me) r.more_threads = true;
    r.block = block_serial;
    r.interval = barrier_interval;
    r.warp_interval = warp_interval;
    r.thread = me;
}

bool readable_without_check(const char* a) {
    if (a >= (char*)&geometry && a < (char*)(&geometry + 1)) return true;
    return a >= __ehdr_start && a < __bss_start;  // constants
}

Region* region_of(char* a, unsigned size, bool write, const char* verb, void* pc) {
    if (recent && a >= recent->begin && a < recent->end) return recent;
    if (a >= running->stack && a < running->stack + stack_bytes) return nullptr;
    if (!write && readable_without_check(a)) return nullptr;
    auto after = std::upper_bound(regions.begin(), regions.end(), a, [](char* p, const Region& r) { return p < r.begin; });
    if (after != regions.begin() && a < after[-1].end) return recent = &after[-1];
    const Region* near = after != regions.begin() ? &after[-1] : nullptr;  // the array before, or else the one behind
    if (after != regions.end() && (!near || after->begin - a < a - near->end)) near = &*after;
    if (!near) fail(pc, "out of bounds: %s of %u bytes, and the launch has no array", verb, size);
    fail(pc, "out of bounds: %s of %u bytes at byte %ld of %s of %zu bytes", verb, size, (long)(a - near->begin),
         near->shared ? "a shared array" : "an array", (size_t)(near->end - near->begin));
}
}  // namespace

void begin_checking(const Extent* extents, int count) {
    for (Region& r : regions) free(r.cells);
    regions.clear();
    recent = nullptr;
    for (int i = 0; i < count; ++i) {
        const Extent& e = extents[i];
        if (e.begin < e.end) regions.push_back({e.begin, e.end, e.grain, e.shared != 0, nullptr});
    }
    std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.begin < b.begin; });
}

void check_access(void* address, unsigned size, bool write, bool atomic, void* pc) {
    if (!running) return;
    char* a = (char*)address;
    const char* verb = atomic ? "atomic" : write ? "write" : "read";
    Region* r = region_of(a, size, write, verb, pc);
    if (!r) return;
    if (a + size > r->end) fail(pc, "out of bounds: %s of %u bytes across the end of an array", verb, size);
    if ((uintptr_t)a % size) fail(pc, "misaligned: %s of %u bytes", verb, size);
    if (!r->cells) r->cells = (Cell*)calloc((r->end - r->begin) / r->grain + 1, sizeof(Cell));
    for (unsigned k = 0; k < size; k += size < 4 ? size : 4) {
        Cell& c = r->cells[(a + k - r->begin) / r->grain];
        if (r->shared && !write && c.write.block != block_serial && c.atomic.block != block_serial)
            fail(pc, "unwritten: read of shared memory that no thread of the block has written");
        const char* other = unordered(c.write, r->shared)              ? "wrote"
                            : !atomic && unordered(c.atomic, r->shared) ? "changed atomically"
                            : write && unordered(c.read, r->shared)     ? "read"
                                                                        : nullptr;
        if (other) fail(pc, "race: %s of what another thread %s, and no barrier between", verb, other);
        note(atomic ? c.atomic : write ? c.write : c.read);
    }
}

#undef PC
#define PC __builtin_return_address(0)
#define ACCESS(n) \
    void __tsan_read##n(void* a) { check_access(a, n, false, false, PC); } \
    void __tsan_write##n(void* a) { check_access(a, n, true, false, PC); } \
    void __tsan_unaligned_read##n(void* a) { check_access(a, n, false, false, PC); } \
    void __tsan_unaligned_write##n(void* a) { check_access(a, n, true, false, PC); }
#define UNDEFINED(name, text) void __ubsan_handle_##name(void*, void*, void*) { fail(PC, text); }
extern "C" {
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(char* a, size_t n) { for (size_t k = 0; k < n; k += 4) check_access(a + k, 4, false, false, PC); }
void __tsan_write_range(char* a, size_t n) { for (size_t k = 0; k < n; k += 4) check_access(a + k, 4, true, false, PC); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
UNDEFINED(out_of_bounds, "out of bounds: an index outside an array of fixed size")
UNDEFINED(shift_out_of_bounds, "shift by more bits than there are")
UNDEFINED(divrem_overflow, "integer division by zero")
UNDEFINED(add_overflow, "signed integer overflow")
UNDEFINED(sub_overflow, "signed integer overflow")
UNDEFINED(mul_overflow, "signed integer overflow")
UNDEFINED(negate_overflow, "signed integer overflow")
UNDEFINED(type_mismatch_v1, "misaligned: an address that its type does not allow")
}
