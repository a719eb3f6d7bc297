// The functions of Metal's standard library that our kernels use: mathematics, barriers, SIMD-groups.
// MLX's own helpers (elem_to_loc, Limits, …) are not here: our kernels stand alone.
#pragma once

namespace metal {
// Floating-point functions: computed in float by the C library, rounded once for half and bfloat.
#define EMU_MATH1(name, expression) \
  EMU float name(float x) { return expression; } \
  template <int F> EMU emu16<F> name(emu16<F> v) { const float x = v; return emu16<F>(expression); }
#define EMU_BUILTIN1(name) EMU_MATH1(name, __builtin_##name##f(x))
EMU_BUILTIN1(exp) EMU_BUILTIN1(exp2) EMU_BUILTIN1(log) EMU_BUILTIN1(log2) EMU_BUILTIN1(log10)
EMU_BUILTIN1(sin) EMU_BUILTIN1(cos) EMU_BUILTIN1(tan) EMU_BUILTIN1(tanh) EMU_BUILTIN1(sqrt)
EMU_BUILTIN1(floor) EMU_BUILTIN1(ceil) EMU_BUILTIN1(rint) EMU_BUILTIN1(round) EMU_BUILTIN1(trunc)
EMU_BUILTIN1(fabs)
EMU_MATH1(rsqrt, 1.0f / __builtin_sqrtf(x))
#define EMU_TEST(name, expression) \
  EMU bool name(float x) { return expression; } \
  template <int F> EMU bool name(emu16<F> v) { const float x = v; return expression; }
EMU_TEST(isnan, x != x)
EMU_TEST(isinf, __builtin_fabsf(x) == INFINITY)
EMU_TEST(isfinite, __builtin_fabsf(x) < INFINITY)
EMU float pow(float a, float b) { return __builtin_powf(a, b); }
EMU float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
template <int F> EMU emu16<F> fma(emu16<F> a, emu16<F> b, emu16<F> c) {
  return __builtin_fmaf(a, b, c);
}
template <class T> EMU T abs(T v) { return v < T(0) ? T(-v) : v; }
// A NaN loses against a number, as in fmin and fmax; mixed types are ambiguous, as in Metal.
template <class T> EMU T max(T a, T b) { return a != a ? b : a < b ? b : a; }
template <class T> EMU T min(T a, T b) { return a != a ? b : b < a ? b : a; }
template <class T> EMU T clamp(T v, T low, T high) { return min(max(v, low), high); }
template <class T> EMU T select(T a, T b, bool c) { return c ? b : a; }
template <class T, int N> EMU T dot(vec<T, N> a, vec<T, N> b) {
  T sum = a[0] * b[0];
  for (int i = 1; i < N; ++i) sum += a[i] * b[i];
  return sum;
}
EMU uint popcount(uint v) { return uint(__builtin_popcount(v)); }
EMU uint clz(uint v) { return v ? uint(__builtin_clz(v)) : 32u; }
EMU uint ctz(uint v) { return v ? uint(__builtin_ctz(v)) : 32u; }
namespace precise { using namespace metal; }
namespace fast { using namespace metal; }

template <class T> struct numeric_limits;
#define EMU_LIMITS(T, LOWEST, MAX) \
  template <> struct numeric_limits<T> { \
    static EMU_MEMBER T lowest() { return T(LOWEST); } \
    static EMU_MEMBER T max() { return T(MAX); } \
    static EMU_MEMBER T infinity() { return T(INFINITY); } \
    static EMU_MEMBER T quiet_NaN() { return T(NAN); } \
  };
EMU_LIMITS(float, -FLT_MAX, FLT_MAX) EMU_LIMITS(half, -65504, 65504)
EMU_LIMITS(bfloat, -0x1.fep127f, 0x1.fep127f)
template <> struct numeric_limits<int> {
  static EMU_MEMBER int lowest() { return -2147483647 - 1; }
  static EMU_MEMBER int max() { return 2147483647; }
};
template <> struct numeric_limits<uint> {
  static EMU_MEMBER uint lowest() { return 0; }
  static EMU_MEMBER uint max() { return 4294967295u; }
};

enum class mem_flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
EMU mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(unsigned(a) | unsigned(b)); }
EMU void threadgroup_barrier(mem_flags flags, EMU_LINE) { emu_barrier(unsigned(flags), line); }
EMU void simdgroup_barrier(mem_flags flags, EMU_LINE) { emu_simd_barrier(unsigned(flags), line); }

// SIMD-group functions: each lane hands its value over and waits until every live lane has.
template <class T> struct emu_lanes { T value[32]; uint32_t active; unsigned self; };
template <class T>
EMU_RAW void emu_gather(emu_lanes<T>& lanes, const T& value, const char* op, int line) {
  static_assert(sizeof(T) <= 16 && !emu_number<T>::wide, "no SIMD functions on 64-bit or bool values");
  const char* slots = emu_exchange(&value, sizeof(T), op, line, &lanes.active);
  for (int i = 0; i < 32; ++i)
    if (lanes.active >> i & 1) __builtin_memcpy(&lanes.value[i], slots + 16 * i, sizeof(T));
  lanes.self = emu_lane();
}
// Pairs at distance 16, 8, 4, 2, 1: the order that a butterfly of shuffles gives.
#define EMU_REDUCE(name, expression) \
  template <class T> EMU_RAW void emu_##name(T& out, const T& value, int line) { \
    emu_lanes<T> lanes; \
    emu_gather(lanes, value, #name, line); \
    for (int half_way = 16; half_way; half_way >>= 1) \
      for (int i = 0; i < half_way; ++i) { \
        const bool has_a = lanes.active >> i & 1, has_b = lanes.active >> (i + half_way) & 1; \
        const T a = lanes.value[i], b = lanes.value[i + half_way]; \
        if (has_b) lanes.value[i] = has_a ? T(expression) : b; \
        lanes.active |= uint32_t(has_b) << i; \
      } \
    out = lanes.value[0]; \
  } \
  template <class T> EMU T name(T value, EMU_LINE) { T out; emu_##name(out, value, line); return out; }
EMU_REDUCE(simd_sum, a + b) EMU_REDUCE(simd_product, a * b) EMU_REDUCE(simd_max, max(a, b))
EMU_REDUCE(simd_min, min(a, b)) EMU_REDUCE(simd_or, a | b) EMU_REDUCE(simd_and, a & b)

#define EMU_SHUFFLE(name, source, outside) \
  template <class T> EMU_RAW void emu_##name(T& out, const T& value, unsigned by, int line) { \
    emu_lanes<T> lanes; \
    emu_gather(lanes, value, #name, line); \
    const unsigned self = lanes.self, from = source; \
    if (from > 31u && outside) { out = value; return; } \
    if (from > 31u || !(lanes.active >> from & 1)) \
      emu_fail("inactive lane", #name " reads a lane that does not take part", line); \
    out = lanes.value[from]; \
  } \
  template <class T> EMU T name(T value, ushort by, EMU_LINE) { \
    T out; emu_##name(out, value, by, line); return out; }
EMU_SHUFFLE(simd_shuffle, by + 0 * self, false) EMU_SHUFFLE(simd_broadcast, by + 0 * self, false)
EMU_SHUFFLE(simd_shuffle_xor, self ^ by, false)
EMU_SHUFFLE(simd_shuffle_up, self - by, true) EMU_SHUFFLE(simd_shuffle_down, self + by, true)

#define EMU_PREFIX(name, included) \
  template <class T> EMU_RAW void emu_##name(T& out, const T& value, int line) { \
    emu_lanes<T> lanes; \
    emu_gather(lanes, value, #name, line); \
    out = T(0); \
    for (unsigned i = 0; i < lanes.self + included; ++i) \
      if (lanes.active >> i & 1) out = out + lanes.value[i]; \
  } \
  template <class T> EMU T name(T value, EMU_LINE) { T out; emu_##name(out, value, line); return out; }
EMU_PREFIX(simd_prefix_inclusive_sum, 1) EMU_PREFIX(simd_prefix_exclusive_sum, 0)
EMU bool simd_any(bool v, EMU_LINE) { return simd_or(uint(v), line) != 0u; }
EMU bool simd_all(bool v, EMU_LINE) { return simd_and(uint(v), line) != 0u; }
EMU uint64_t simd_ballot(bool v, EMU_LINE) { return simd_or(uint(v) << emu_lane(), line); }
}  // namespace metal
using namespace metal;
// Metal has no double; the name does not exist, so that its use does not compile.
#define double no_double_in_metal
