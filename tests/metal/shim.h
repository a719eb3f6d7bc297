// The subset of the Metal shading language that our kernels use, as C++ for a host compiler.
// Included before a kernel's text. Memory accesses are checked by the runtime through sanitiser
// callbacks, so whatever touches a kernel's buffers is inlined into it (`EMU`): g++ does not report
// aggregates that are arguments of a real call. No standard headers, which would cost most of the
// time of a compilation.
#pragma once
#include <stddef.h>
#include <stdint.h>

extern "C" {
const char* emu_exchange(const void* value, unsigned size, const char* op, int line, uint32_t* active);
unsigned emu_lane();
void emu_barrier(unsigned flags, int line);
void emu_simd_barrier(unsigned flags, int line);
void* emu_threadgroup(unsigned id, size_t size, const char* name);
[[noreturn]] void emu_fail(const char* kind, const char* text, int line);
}

#define EMU static inline __attribute__((always_inline))
#define EMU_MEMBER inline __attribute__((always_inline))
#define EMU_RAW static __attribute__((noinline, no_sanitize("thread"), no_sanitize("undefined")))
#define EMU_LINE int line = __builtin_LINE()

#define device
#define constant
#define threadgroup
#define thread
#define kernel gnu::noinline
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define FLT_MAX __FLT_MAX__
#define M_PI_F 3.14159265358979323846f

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

template <class To, class From>
EMU To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

// half (FORMAT 0) and bfloat (FORMAT 1): every operation rounds to nearest, ties to even.
template <int FORMAT>
EMU uint16_t emu_round(float value) {
  uint32_t u = as_type<uint32_t>(value);
  const uint32_t sign = (u >> 16) & 0x8000u;
  u &= 0x7fffffffu;
  if (FORMAT == 1) {
    if (u > 0x7f800000u) return uint16_t(sign | 0x7fc0u);
    return uint16_t(sign | ((u + 0x7fffu + ((u >> 16) & 1u)) >> 16));
  }
  if (u >= 0x7f800000u) return uint16_t(sign | (u > 0x7f800000u ? 0x7e00u : 0x7c00u));
  if (u >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  // One unit in the last place of 0.5 is the step of half's subnormals: the addition rounds.
  if (u < 0x38800000u)
    return uint16_t(sign | (as_type<uint32_t>(as_type<float>(u) + 0.5f) - 0x3f000000u));
  return uint16_t(sign | ((u + 0xfffu + ((u >> 13) & 1u) - 0x38000000u) >> 13));
}

template <int FORMAT>
EMU float emu_widen(uint16_t bits) {
  if (FORMAT == 1) return as_type<float>(uint32_t(bits) << 16);
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, m = bits & 0x7fffu;
  if (m >= 0x7c00u) return as_type<float>(sign | 0x7f800000u | ((m & 0x3ffu) << 13));
  if (m < 0x400u) return as_type<float>(sign | as_type<uint32_t>(float(m) * 0x1p-24f));
  return as_type<float>(sign | ((m << 13) + 0x38000000u));
}

template <class T> struct emu_number { static const bool real = false, whole = false, wide = false; };
#define EMU_NUMBER(T, R, W) \
  template <> struct emu_number<T> { \
    static const bool real = R, whole = W, wide = sizeof(T) > 4 || __is_same(T, bool); \
  };
EMU_NUMBER(float, true, false) EMU_NUMBER(bool, false, true) EMU_NUMBER(char, false, true)
EMU_NUMBER(signed char, false, true) EMU_NUMBER(unsigned char, false, true)
EMU_NUMBER(short, false, true) EMU_NUMBER(unsigned short, false, true)
EMU_NUMBER(int, false, true) EMU_NUMBER(unsigned int, false, true)
EMU_NUMBER(long, false, true) EMU_NUMBER(unsigned long, false, true)
EMU_NUMBER(long long, false, true) EMU_NUMBER(unsigned long long, false, true)
template <bool C, class T> struct emu_if {};
template <class T> struct emu_if<true, T> { typedef T type; };
template <class T> struct emu_same { typedef T type; };

template <int FORMAT>
struct emu16 {
  uint16_t bits;
  emu16() = default;
  template <class A, class = typename emu_if<emu_number<A>::real || emu_number<A>::whole, int>::type>
  EMU_MEMBER emu16(A value) : bits(emu_round<FORMAT>(float(value))) {}
  template <int F, class = typename emu_if<F != FORMAT, int>::type>
  EMU_MEMBER explicit emu16(emu16<F> value) : bits(emu_round<FORMAT>(float(value))) {}
  EMU_MEMBER operator float() const { return emu_widen<FORMAT>(bits); }
  EMU_MEMBER emu16 operator-() const { emu16 r; r.bits = uint16_t(bits ^ 0x8000u); return r; }
};
#define EMU_OP16(op) \
  template <int F> EMU emu16<F> operator op(emu16<F> a, emu16<F> b) { return float(a) op float(b); } \
  template <int F, class A> EMU typename emu_if<emu_number<A>::whole, emu16<F>>::type \
  operator op(emu16<F> a, A b) { return float(a) op float(emu16<F>(b)); } \
  template <int F, class A> EMU typename emu_if<emu_number<A>::whole, emu16<F>>::type \
  operator op(A a, emu16<F> b) { return float(emu16<F>(a)) op float(b); } \
  template <int F, class A> EMU emu16<F>& operator op##=(emu16<F>& a, A b) { return a = emu16<F>(a op b); }
EMU_OP16(+) EMU_OP16(-) EMU_OP16(*) EMU_OP16(/)
typedef emu16<0> half;
typedef emu16<1> bfloat;
typedef half float16_t;
typedef bfloat bfloat16_t;

// Vectors. Swizzles are not here: name the components.
template <class T, int N> struct vec;
#define EMU_VEC_BODY(N) \
  vec() = default; \
  template <class U> EMU_MEMBER explicit vec(vec<U, N> v) { for (int i = 0; i < N; ++i) (*this)[i] = T(v[i]); } \
  EMU_MEMBER vec(T s) { for (int i = 0; i < N; ++i) (*this)[i] = s; } \
  EMU_MEMBER T& operator[](int i) { return (&x)[i]; } \
  EMU_MEMBER const T& operator[](int i) const { return (&x)[i]; }
template <class T> struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y; EMU_VEC_BODY(2)
  EMU_MEMBER vec(T a, T b) : x(a), y(b) {}
};
template <class T> struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z; EMU_VEC_BODY(3)
  EMU_MEMBER vec(T a, T b, T c) : x(a), y(b), z(c) {}
};
template <class T> struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w; EMU_VEC_BODY(4)
  EMU_MEMBER vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
};
#define EMU_VEC_OP(op) \
  template <class T, int N> EMU vec<T, N> operator op(vec<T, N> a, vec<T, N> b) { \
    vec<T, N> r; for (int i = 0; i < N; ++i) r[i] = a[i] op b[i]; return r; } \
  template <class T, int N> EMU vec<T, N> operator op(vec<T, N> a, typename emu_same<T>::type b) { \
    return a op vec<T, N>(b); } \
  template <class T, int N> EMU vec<T, N> operator op(typename emu_same<T>::type a, vec<T, N> b) { \
    return vec<T, N>(a) op b; } \
  template <class T, int N, class B> EMU vec<T, N>& operator op##=(vec<T, N>& a, B b) { return a = a op b; }
EMU_VEC_OP(+) EMU_VEC_OP(-) EMU_VEC_OP(*) EMU_VEC_OP(/)
#define EMU_VECS(T) typedef vec<T, 2> T##2; typedef vec<T, 3> T##3; typedef vec<T, 4> T##4;
EMU_VECS(float) EMU_VECS(half) EMU_VECS(bfloat) EMU_VECS(char) EMU_VECS(uchar) EMU_VECS(short)
EMU_VECS(ushort) EMU_VECS(int) EMU_VECS(uint)

#include "shim_functions.h"
// A kernel's helpers are inlined as Metal inlines them, so that g++ sees what their arguments read.
#define inline inline __attribute__((always_inline))
