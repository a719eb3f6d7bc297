// What the sanitisers' instrumentation calls, in place of their libraries: each access, each block, each
// operation that is undefined.
#pragma once
#include "memory.h"

#include <algorithm>

namespace {
// The callbacks not called "unaligned" are for addresses that the compiler took to be aligned, to 8 at most.
void aligned(void* p, size_t n, void* pc) {
  if (reinterpret_cast<uintptr_t>(p) % std::min<size_t>(n, 8)) stop("undefined", pc, 0, "misaligned access");
}
}  // namespace

extern "C" {
#define PC __builtin_return_address(0)
#define EMU_ACCESS(n) \
  void __tsan_read##n(void* p) { aligned(p, n, PC); access(p, n, false, PC); } \
  void __tsan_write##n(void* p) { aligned(p, n, PC); access(p, n, true, PC); } \
  void __tsan_unaligned_read##n(void* p) { access(p, n, false, PC); } \
  void __tsan_unaligned_write##n(void* p) { access(p, n, true, PC); } \
  void __tsan_volatile_read##n(void* p) { access(p, n, false, PC); } \
  void __tsan_volatile_write##n(void* p) { access(p, n, true, PC); }
EMU_ACCESS(1) EMU_ACCESS(2) EMU_ACCESS(4) EMU_ACCESS(8) EMU_ACCESS(16)
void __tsan_read_range(void* p, size_t n) { access(p, n, false, PC); }
void __tsan_write_range(void* p, size_t n) { access(p, n, true, PC); }
void* __tsan_memcpy(void* to, const void* from, size_t n) {
  access(const_cast<void*>(from), n, false, PC);
  access(to, n, true, PC);
  return memcpy(to, from, n);
}
void* __tsan_memset(void* to, int byte, size_t n) {
  access(to, n, true, PC);
  return memset(to, byte, n);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define EMU_UNDEFINED(name, text) \
  void __ubsan_handle_##name(void*) { stop("undefined", PC, 0, text); }
EMU_UNDEFINED(out_of_bounds, "index outside an array")
EMU_UNDEFINED(shift_out_of_bounds, "shift by more bits than the type has, or of a negative number")
EMU_UNDEFINED(add_overflow, "signed addition overflows")
EMU_UNDEFINED(sub_overflow, "signed subtraction overflows")
EMU_UNDEFINED(mul_overflow, "signed multiplication overflows")
EMU_UNDEFINED(negate_overflow, "signed negation overflows")
EMU_UNDEFINED(divrem_overflow, "integer division by zero, or of the least integer by -1")
EMU_UNDEFINED(float_cast_overflow, "a floating-point number does not fit the integer it is cast to")
EMU_UNDEFINED(type_mismatch_v1, "misaligned access")
EMU_UNDEFINED(load_invalid_value, "a bool that is neither 0 nor 1")
void __sanitizer_cov_trace_pc() {
  if (me && ++steps > budget) stop("budget", PC, 0, "still running after %llu steps", (unsigned long long)budget);
}
}  // extern "C"
