// Declarations for a check of types alone: clang's address spaces stand for Metal's, its own _Float16
// and __bf16 for half and bfloat. Nothing here can run.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
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
typedef _Float16 half;
typedef __bf16 bfloat;
typedef half float16_t;
typedef bfloat bfloat16_t;

template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));
#define AS_VECS(T) typedef vec<T, 2> T##2; typedef vec<T, 3> T##3; typedef vec<T, 4> T##4;
AS_VECS(float) AS_VECS(half) AS_VECS(bfloat) AS_VECS(char) AS_VECS(uchar) AS_VECS(short)
AS_VECS(ushort) AS_VECS(int) AS_VECS(uint)

template <class To, class From> To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type between types of different sizes");
  return To();
}

namespace metal {
#define AS_MATH1(name) float name(float); half name(half); bfloat name(bfloat);
AS_MATH1(exp) AS_MATH1(exp2) AS_MATH1(log) AS_MATH1(log2) AS_MATH1(log10) AS_MATH1(sin)
AS_MATH1(cos) AS_MATH1(tan) AS_MATH1(tanh) AS_MATH1(sqrt) AS_MATH1(floor) AS_MATH1(ceil)
AS_MATH1(rint) AS_MATH1(round) AS_MATH1(trunc) AS_MATH1(fabs) AS_MATH1(rsqrt)
#define AS_TEST(name) bool name(float); bool name(half); bool name(bfloat);
AS_TEST(isnan) AS_TEST(isinf) AS_TEST(isfinite)
float pow(float, float);
template <class T> T fma(T, T, T);
template <class T> T abs(T);
template <class T> T max(T, T);
template <class T> T min(T, T);
template <class T> T clamp(T, T, T);
template <class T> T select(T, T, bool);
template <class T, int N> T dot(vec<T, N>, vec<T, N>);
uint popcount(uint);
uint clz(uint);
uint ctz(uint);
namespace precise { using namespace metal; }
namespace fast { using namespace metal; }
template <class T> struct numeric_limits {
  static T lowest();
  static T max();
  static T infinity();
  static T quiet_NaN();
};

enum class mem_flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
mem_flags operator|(mem_flags, mem_flags);
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);
template <class T> T simd_sum(T);
template <class T> T simd_product(T);
template <class T> T simd_max(T);
template <class T> T simd_min(T);
template <class T> T simd_or(T);
template <class T> T simd_and(T);
template <class T> T simd_shuffle(T, ushort);
template <class T> T simd_broadcast(T, ushort);
template <class T> T simd_shuffle_xor(T, ushort);
template <class T> T simd_shuffle_up(T, ushort);
template <class T> T simd_shuffle_down(T, ushort);
template <class T> T simd_prefix_inclusive_sum(T);
template <class T> T simd_prefix_exclusive_sum(T);
bool simd_any(bool);
bool simd_all(bool);
uint64_t simd_ballot(bool);
}  // namespace metal
using namespace metal;
