// The part of CUDA C++ that a kernel sees, for g++: force-included before the kernel's source.
// Every CUDA thread is a fiber (scheduler.cpp); one block runs at a time.
#pragma once
#include <cmath>
#include <cstring>
#include <math.h>
#include <type_traits>
#include <utility>
#undef INFINITY  // NVRTC knows none of these
#undef NAN
#undef HUGE_VAL

#define GPU_EMULATION 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One block at a time, so a static array can stand for shared memory; build.py finds these arrays in the symbol table.
// "used": something else may write it (the poison), so g++ must not take an array that no thread writes for zeros.
#define __shared__ static __attribute__((used))
#define NOT_CHECKED __attribute__((no_sanitize("thread"), no_sanitize("undefined"), noinline))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
#define VECTOR2(T, name) struct alignas(2 * sizeof(T)) name { T x, y; }; inline name make_##name(T x, T y) { return {x, y}; }
#define VECTOR4(T, name, bytes) struct alignas(bytes) name { T x, y, z, w; }; \
    inline name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR2(float, float2) VECTOR2(double, double2) VECTOR2(int, int2) VECTOR2(unsigned, uint2)
VECTOR4(float, float4, 16) VECTOR4(int, int4, 16) VECTOR4(unsigned, uint4, 16) VECTOR4(unsigned char, uchar4, 4)
VECTOR4(double, double4, 16)

struct Geometry { uint3 thread, block; dim3 block_size, grid_size; };
extern Geometry geometry;
#define threadIdx geometry.thread
#define blockIdx geometry.block
#define blockDim geometry.block_size
#define gridDim geometry.grid_size
constexpr int warpSize = 32;
struct Place { const char* file; int line; };

extern "C" {
void emu_barrier(Place at);
void emu_warp_barrier(unsigned mask, Place at);
unsigned long long emu_exchange(unsigned mask, unsigned long long bits, int lane, Place at);  // lane < 0: one's own bits
unsigned emu_ballot(unsigned mask, int vote, Place at);
void* emu_dynamic_shared();
void emu_atomic(void* address, unsigned size);
int emu_lane();
}

#define PLACE const char* file = __builtin_FILE(), int line = __builtin_LINE()  // of the caller
inline void __syncthreads(PLACE) { emu_barrier({file, line}); }
inline void __syncwarp(unsigned mask = 0xffffffffu, PLACE) { emu_warp_barrier(mask, {file, line}); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned __ballot_sync(unsigned mask, int vote, PLACE) { return emu_ballot(mask, vote != 0, {file, line}); }
inline int __any_sync(unsigned mask, int vote, PLACE) { return emu_ballot(mask, vote != 0, {file, line}) != 0; }
inline int __all_sync(unsigned mask, int vote, PLACE) { return emu_ballot(mask, vote == 0, {file, line}) == 0; }

template <class T> NOT_CHECKED T emu_shuffle(unsigned mask, T value, int lane, Place at) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = emu_exchange(mask, bits, lane, at);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, PLACE) {
    return emu_shuffle(mask, value, (emu_lane() & -width) + (source & (width - 1)), {file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, PLACE) {
    int lane = emu_lane(), inside = lane & (width - 1);
    return emu_shuffle(mask, value, inside + (int)delta < width ? lane + (int)delta : -1, {file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, PLACE) {
    int lane = emu_lane(), inside = lane & (width - 1);
    return emu_shuffle(mask, value, inside >= (int)delta ? lane - (int)delta : -1, {file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, PLACE) {
    int lane = emu_lane(), source = lane ^ bits;
    return emu_shuffle(mask, value, (source & -width) <= (lane & -width) ? source : -1, {file, line});
}

// The checker hears of an atomic through emu_atomic; the memory itself changes where nothing is instrumented.
template <class T, class F> NOT_CHECKED T emu_update(T* address, F change) {
    T old = *address;
    *address = change(old);
    return old;
}
#define ATOMIC(name, expression) \
    template <class T> T name(T* address, std::common_type_t<T> value) { \
        emu_atomic(address, sizeof(T)); \
        return emu_update(address, [=](T old) NOT_CHECKED -> T { return expression; }); \
    }
ATOMIC(atomicAdd, old + value)
ATOMIC(atomicSub, old - value)
ATOMIC(atomicMax, old < value ? value : old)
ATOMIC(atomicMin, value < old ? value : old)
ATOMIC(atomicOr, old | value)
ATOMIC(atomicAnd, old & value)
ATOMIC(atomicExch, value)
template <class T> T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    emu_atomic(address, sizeof(T));
    return emu_update(address, [=](T old) NOT_CHECKED -> T { return old == expected ? value : old; });
}

template <class T> T __ldg(const T* address) { return *address; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(bits) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { volatile float sum = a + b; return sum; }
inline float __fmul_rn(float a, float b) { volatile float product = a * b; return product; }
inline double __dadd_rn(double a, double b) { volatile double sum = a + b; return sum; }
inline double __dmul_rn(double a, double b) { volatile double product = a * b; return product; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
template <class To, class From> To emu_bits(From from) { To to; memcpy(&to, &from, sizeof to); return to; }
inline float __int_as_float(int bits) { return emu_bits<float>(bits); }
inline float __uint_as_float(unsigned bits) { return emu_bits<float>(bits); }
inline int __float_as_int(float x) { return emu_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emu_bits<unsigned>(x); }
inline double __longlong_as_double(long long bits) { return emu_bits<double>(bits); }
inline long long __double_as_longlong(double x) { return emu_bits<long long>(x); }
#define MIN_MAX(T) inline T min(T a, T b) { return b < a ? b : a; } inline T max(T a, T b) { return a < b ? b : a; }
MIN_MAX(int) MIN_MAX(unsigned) MIN_MAX(long) MIN_MAX(unsigned long) MIN_MAX(long long) MIN_MAX(unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// What Python must know of a kernel: its parameters, as g++ understands them, and how to call it.
template <class T> constexpr char emu_kind() {
    if (std::is_same_v<T, bool>) return 'b';
    if (std::is_floating_point_v<T> || std::is_same_v<T, float2> || std::is_same_v<T, float4> || std::is_same_v<T, double2>) return 'f';
    return std::is_integral_v<T> ? std::is_signed_v<T> ? 'i' : 'u' : 'V';
}
struct EmuParameter { char kind; bool pointer, constant; unsigned size; };
template <class A> constexpr EmuParameter emu_parameter() {
    using T = std::remove_pointer_t<A>;
    using Bare = std::conditional_t<std::is_void_v<T>, char, std::remove_cv_t<T>>;
    constexpr unsigned lanes = std::is_same_v<Bare, float2> || std::is_same_v<Bare, double2> ? 2 : std::is_same_v<Bare, float4> ? 4 : 1;
    return {emu_kind<Bare>(), std::is_pointer_v<A>, std::is_const_v<T>, sizeof(Bare) / lanes};
}
typedef void (*EmuInvoke)(void* kernel, void** arguments);
template <class... A, size_t... I> NOT_CHECKED void emu_call(void* kernel, void** a, std::index_sequence<I...>) {
    ((void (*)(A...))kernel)(*(A*)a[I]...);
}
template <class... A> NOT_CHECKED void emu_invoke(void* kernel, void** a) {
    emu_call<A...>(kernel, a, std::index_sequence_for<A...>());
}
struct EmuKernel { void* kernel; EmuInvoke invoke; int count; EmuParameter parameters[64]; };
template <class... A> NOT_CHECKED EmuKernel emu_describe(void (*kernel)(A...)) {
    return {(void*)kernel, emu_invoke<A...>, sizeof...(A), {emu_parameter<A>()...}};
}
