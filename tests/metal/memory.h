// Guarded buffers, and the check of one memory access: bounds, initialisation, races.
#pragma once
#include "fibers.h"

namespace {
Record record(Kind kind) {
  const int k = kind == THREADGROUP;
  return Record(group_index + 1) << 40 | Record(me->index) << 30 | Record(epoch[k]) << 15 |
         simd_epoch[me->index / LANES][k];
}

bool ordered(Record past, Record now) {
  if (past == 0 || past == HOST || past >> 30 == now >> 30) return true;
  if (past >> 40 != now >> 40) return false;
  if ((past >> 15 & 0x7fff) < (now >> 15 & 0x7fff)) return true;
  return (past >> 35 & 31) == (now >> 35 & 31) && (past & 0x7fff) < (now & 0x7fff);
}

void race(const Region& r, size_t at, const char* what, Record past, void* pc) {
  stop("race", pc, 0, "%s byte %zu of '%s' without a barrier for that memory between it and thread %u of "
       "threadgroup number %u", what, at, r.name, unsigned(past >> 30 & 1023), unsigned(past >> 40) - 1);
}

void access(void* p, size_t n, bool write, void* pc) {
  char* a = static_cast<char*>(p);
  if (!me) return;  // static initialisers
  if (size_t(a - me->stack) < STACK) return;
  const char* verb = write ? "write" : "read";
  const size_t slot = size_t(a - arena) / SLOT;
  if (slot >= regions.size()) {
    if (size_t(a - stacks) < THREADS * STACK)
      stop("out of bounds", pc, 0, "%s of %zu bytes in another thread's private memory", verb, n);
    if (a >= image_begin && a < image_end) {
      if (write) stop("write to constant", pc, 0, "write to program-scope memory");
      return;
    }
    stop("out of bounds", pc, 0, "%s of %zu bytes at %p, far outside every buffer", verb, n, p);
  }
  Region& r = regions[slot];
  const std::ptrdiff_t at = a - r.base;
  if (at < 0 || size_t(at) + n > r.size)
    stop("out of bounds", pc, 0, "%s of %zu bytes at byte %td of '%s', which has %zu bytes", verb, n, at,
         r.name, r.size);
  if (r.kind == READ_ONLY) {
    if (write) stop("write to constant", pc, 0, "write to byte %td of input '%s'", at, r.name);
    return;
  }
  const Record now = record(r.kind);
  for (size_t i = size_t(at); i < size_t(at) + n; ++i) {
    Shadow& s = r.shadow[i];
    if (!ordered(s.write, now)) race(r, i, write ? "writes again" : "reads", s.write, pc);
    if (write) {
      for (Record past : s.read)
        if (!ordered(past, now)) race(r, i, "overwrites", past, pc);
      s.write = now;
    } else {
      if (s.write == 0) stop("uninitialised", pc, 0, "reads byte %zu of '%s', never written", i, r.name);
      if (s.read[0] >> 30 != now >> 30) s.read[1] = s.read[0];
      s.read[0] = now;
    }
  }
}

size_t add_region(const char* name, size_t bytes, Kind kind) {
  const size_t slot = regions.size();
  if (slot >= SLOTS) stop("launch", nullptr, 0, "more than %zu buffers", SLOTS);
  char* base = arena + slot * SLOT + SLOT / 2;
  const size_t pages = (bytes + PAGE) & ~(PAGE - 1);
  if (mprotect(base, pages, PROT_READ | PROT_WRITE)) stop("launch", nullptr, 0, "no memory for '%s'", name);
  memset(base, 0xfe, bytes);
  regions.push_back({name, base, bytes, kind, {}});
  if (kind != READ_ONLY) regions[slot].shadow.resize(bytes, {kind == FILLED_OUTPUT ? HOST : 0, {0, 0}});
  return slot;
}

void reserve() {
  if (arena) return;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* a = mmap(nullptr, SLOTS * SLOT, PROT_NONE, flags, -1, 0);
  void* s = mmap(nullptr, THREADS * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (a == MAP_FAILED || s == MAP_FAILED) abort();
  arena = static_cast<char*>(a);
  stacks = static_cast<char*>(s);
  for (size_t i = 0; i < THREADS; ++i) mprotect(stacks + i * STACK, PAGE, PROT_NONE);
}

void release() {
  for (const Region& r : regions)
    mmap(r.base, (r.size + PAGE) & ~(PAGE - 1), PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  regions.clear();
}
}  // namespace
