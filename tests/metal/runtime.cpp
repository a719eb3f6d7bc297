// Runs a compiled kernel as a grid of threads and checks every memory access it makes.
//
// Each thread is a fiber. Threads run one at a time, in an order shuffled by a seed, up to their next
// SIMD function or barrier; the lanes of a SIMD-group pass it together or not at all. The kernel was
// compiled with -fsanitize=thread and -fsanitize=undefined checks but is linked with neither library:
// this file defines their callbacks, which come before the access and can stop the launch.
#include "callbacks.h"

#include <algorithm>
#include <numeric>
#include <pthread.h>
#include <random>
#include <sys/time.h>

namespace {
std::vector<uint32_t> group_order, simd_order;
pthread_t launcher;
int seconds;

const char* waits(const Fiber& f, char (&text)[96]) {
  if (f.state == DONE) return "has ended";
  snprintf(text, sizeof text, "waits in %s at line %d", f.op, f.line);
  return text;
}

[[noreturn]] void diverged(const char* kind, Fiber& a, Fiber& b) {
  char ta[96], tb[96];
  me = &a;
  stop(kind, nullptr, a.line, "thread %u %s while thread %u %s", a.index, waits(a, ta), b.index, waits(b, tb));
}

void count_barrier(uint32_t& count, const Fiber& at, int kind) {
  count += at.flags >> kind & 1;
  if (count > 0x7fff) stop("launch", nullptr, at.line, "more than 32767 barriers");
}

// Runs the lanes of a SIMD-group to their next wait; true if they may go on, having met there.
bool step(Fiber* lanes, size_t count, std::minstd_rand& random) {
  size_t order[LANES];
  for (size_t i = 0; i < count; ++i) order[i] = i;
  std::shuffle(order, order + count, random);
  for (size_t i = 0; i < count; ++i)
    if (lanes[order[i]].state == RUN) resume(lanes[order[i]]);
  Fiber* first = nullptr;
  uint32_t active = 0;
  for (size_t i = 0; i < count; ++i) {
    Fiber& f = lanes[i];
    if (f.state == DONE) continue;
    if (!first) first = &f;
    if (f.state != first->state || f.line != first->line || strcmp(f.op, first->op))
      diverged("divergence", *first, f);
    active |= 1u << i;
  }
  if (!first || first->state == BARRIER) return false;
  if (first->state == SIMD_BARRIER)
    for (int k = 0; k < 2; ++k) count_barrier(simd_epoch[first->index / LANES][k], *first, k);
  for (size_t i = 0; i < count; ++i)
    if (active >> i & 1) { lanes[i].state = RUN; lanes[i].active = active; }
  return true;
}

void attributes(Fiber& f, uint32_t x, uint32_t y, uint32_t z) {
  const uint32_t p[3] = {x, y, z}, simds = (threads + 31) / 32, i = f.index;
  const uint32_t full = local[0] * local[1] * local[2];
  uint32_t* a = f.attributes;  // in the alphabetical order of their names; positions as triples
  const uint32_t single[20] = {(full + 3) / 4, (full + 31) / 32, 0, 0, 0, i / 4, (threads + 3) / 4, i / 32,
                               simds, 32, i % 4, i % 32, i, 0, 0, 0, 0, 0, 32, 0};
  for (int k = 0; k < 20; ++k) a[3 * k] = single[k];
  for (int d = 0; d < 3; ++d) {
    a[3 * 2 + d] = local[d];
    a[3 * 3 + d] = 0;
    a[3 * 4 + d] = a[3 * 17 + d] = grid[d];
    a[3 * 13 + d] = group[d] * local[d] + p[d];
    a[3 * 14 + d] = p[d];
    a[3 * 15 + d] = group[d];
    a[3 * 16 + d] = groups[d];
    a[3 * 19 + d] = size[d];
  }
}

void run_group(std::minstd_rand& random) {
  threads = 1;
  for (int d = 0; d < 3; ++d) threads *= size[d] = std::min(local[d], grid[d] - group[d] * local[d]);
  memset(epoch, 0, sizeof epoch);
  memset(simd_epoch, 0, sizeof simd_epoch);
  for (Region& r : regions)
    if (r.kind == THREADGROUP) { memset(r.base, 0xfe, r.size); r.shadow.assign(r.size, {}); }
  for (uint32_t i = 0; i < threads; ++i) {
    Fiber& f = fibers[i];
    f.index = i; f.state = RUN; f.turn = 0; f.stack = stacks + i * STACK;
    attributes(f, i % size[0], i / size[0] % size[1], i / size[0] / size[1]);
    prepare(f, run_thread);
  }
  simd_order.resize((threads + 31) / 32);
  std::iota(simd_order.begin(), simd_order.end(), 0);
  for (;;) {
    std::shuffle(simd_order.begin(), simd_order.end(), random);
    for (size_t s : simd_order)
      while (step(fibers + s * LANES, std::min<size_t>(LANES, threads - s * LANES), random)) {}
    Fiber& first = fibers[0];
    for (uint32_t i = 1; i < threads; ++i)
      if (fibers[i].state != first.state || (first.state == BARRIER && fibers[i].line != first.line))
        diverged("barrier", first.state == BARRIER ? first : fibers[i], first.state == BARRIER ? fibers[i] : first);
    if (first.state == DONE) return;
    for (int k = 0; k < 2; ++k) count_barrier(epoch[k], first, k);
    for (uint32_t i = 0; i < threads; ++i) fibers[i].state = RUN;
  }
}

// The compiler gives an empty loop no callback that could count steps: time ends it.
void on_timer(int signal) {
  if (!pthread_equal(pthread_self(), launcher)) pthread_kill(launcher, signal);
  else stop("budget", nullptr, 0, "still running after %d s of processor time", seconds);
}

void on_fault(int signal, siginfo_t* info, void*) {
  stop("fault", nullptr, 0, "signal %d at address %p (private memory exhausted?)", signal, info->si_addr);
}

void run_grid(uint32_t seed) {
  std::minstd_rand random(seed);
  group_order.resize(groups[0] * groups[1] * groups[2]);
  std::iota(group_order.begin(), group_order.end(), 0);
  std::shuffle(group_order.begin(), group_order.end(), random);
  for (uint32_t i : group_order) {
    group_index = i;
    group[0] = i % groups[0]; group[1] = i / groups[0] % groups[1]; group[2] = i / groups[0] / groups[1];
    run_group(random);
  }
  for (Region& r : regions) {
    if (r.kind != OUTPUT) continue;
    size_t missing = 0, first = 0;
    for (size_t i = r.size; i-- > 0;)
      if (r.shadow[i].write == 0) { ++missing; first = i; }
    if (missing)
      stop("unwritten", nullptr, 0, "%zu of %zu bytes of output '%s' were never written, the first at byte %zu",
           missing, r.size, r.name, first);
  }
}
}  // namespace

extern "C" {
const char* emu_exchange(const void* value, unsigned bytes, const char* op, int line, uint32_t* active) {
  char(*row)[16] = slots[me->index / LANES][me->turn];  // a lane is at most one exchange ahead of another
  memcpy(row[me->index % LANES], value, bytes);
  me->turn ^= 1;
  wait(SIMD, op, line, 0);
  *active = me->active;
  return row[0];
}
unsigned emu_lane() { return me->index % LANES; }
void emu_barrier(unsigned flags, int line) { wait(BARRIER, "threadgroup_barrier", line, flags); }
void emu_simd_barrier(unsigned flags, int line) { wait(SIMD_BARRIER, "simdgroup_barrier", line, flags); }
void emu_fail(const char* kind, const char* text, int line) { stop(kind, nullptr, line, "%s", text); }
void* emu_threadgroup(unsigned id, size_t bytes, const char* name) {
  if (id >= SLOTS) stop("launch", PC, 0, "more than %zu threadgroup arrays", SLOTS);
  if (threadgroup_regions[id] < 0) {
    threadgroup_bytes += (bytes + 15) & ~size_t(15);
    if (threadgroup_bytes > THREADGROUP_BYTES)
      stop("threadgroup memory", PC, 0, "%zu bytes of threadgroup memory with '%s'; a threadgroup has %zu",
           threadgroup_bytes, name, THREADGROUP_BYTES);
    threadgroup_regions[id] = int(add_region(name, bytes, THREADGROUP));
  }
  return regions[size_t(threadgroup_regions[id])].base;
}

// Runs the whole grid; the outputs come back in `buffers`. Returns 0, or 1 with the reason in `out`.
int emu_launch(Entry kernel, char* begin, char* end, const Buffer* buffers, int count, const uint32_t* all,
               const uint32_t* per_group, uint32_t seed, uint64_t most_steps, int most_seconds, Report* out) {
  reserve();
  entry = kernel; image_begin = begin; image_end = end; report = out; budget = most_steps;
  steps = threadgroup_bytes = 0;
  me = nullptr;
  std::fill_n(threadgroup_regions, SLOTS, -1);
  addresses.clear();
  for (int d = 0; d < 3; ++d) {
    grid[d] = all[d];
    local[d] = std::min(per_group[d], all[d]);  // as MLX clips a threadgroup to the grid
    groups[d] = (grid[d] + local[d] - 1) / local[d];
  }
  static char signal_stack[64 << 10];
  stack_t alternative = {signal_stack, 0, sizeof signal_stack}, previous_stack;
  struct sigaction action = {}, alarm = {}, previous[3];
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  alarm.sa_handler = on_timer;
  alarm.sa_flags = SA_ONSTACK;
  sigaltstack(&alternative, &previous_stack);
  sigaction(SIGSEGV, &action, &previous[0]);
  sigaction(SIGBUS, &action, &previous[1]);
  sigaction(SIGVTALRM, &alarm, &previous[2]);
  launcher = pthread_self();
  seconds = most_seconds;
  const struct itimerval limit = {{0, 0}, {seconds, 0}}, off = {};
  setitimer(ITIMER_VIRTUAL, &limit, nullptr);
  volatile int failed = 1;
  if (!sigsetjmp(stopped, 1)) {
    for (int i = 0; i < count; ++i) {
      const Region& r = regions[add_region(buffers[i].name, buffers[i].size, buffers[i].kind)];
      if (r.kind != OUTPUT) memcpy(r.base, buffers[i].data, r.size);
      addresses.push_back(r.base);
    }
    run_grid(seed);
    for (int i = 0; i < count; ++i)
      if (buffers[i].kind != READ_ONLY) memcpy(buffers[i].data, regions[size_t(i)].base, buffers[i].size);
    failed = 0;
  }
  setitimer(ITIMER_VIRTUAL, &off, nullptr);
  me = nullptr;
  sigaction(SIGSEGV, &previous[0], nullptr);
  sigaction(SIGBUS, &previous[1], nullptr);
  sigaction(SIGVTALRM, &previous[2], nullptr);
  sigaltstack(&previous_stack, nullptr);
  release();
  return failed;
}
}
