// The state of a launch, its report, and the switch between the fibers that are its threads.
#pragma once
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace {
constexpr size_t STACK = 256 << 10, SLOT = size_t(1) << 36, PAGE = 4096;
constexpr size_t THREADS = 1024, LANES = 32, SLOTS = 48, THREADGROUP_BYTES = 32 << 10;

enum Kind : int32_t { READ_ONLY, OUTPUT, FILLED_OUTPUT, THREADGROUP };
enum State { RUN, SIMD, SIMD_BARRIER, BARRIER, DONE };
// Accesses as records: threadgroup + 1 (24 bits), thread (10), barriers passed by the threadgroup (15)
// and by the SIMD-group (15) that order this kind of memory. 0: never; HOST: filled before the launch.
typedef uint64_t Record;
constexpr Record HOST = 1;
struct Shadow { Record write, read[2]; };

struct Buffer { const char* name; void* data; uint64_t size; Kind kind; };  // as emulator.py lays it out
struct Report { char kind[32], text[480]; void* pc; int32_t line; uint32_t thread[3], group[3]; };
typedef void (*Entry)(void* const* buffers, const uint32_t* attributes);

struct Region { const char* name; char* base; size_t size; Kind kind; std::vector<Shadow> shadow; };
struct Fiber {
  void* sp; char* stack; State state; int line; const char* op; unsigned flags, index;
  uint32_t active; int turn; uint32_t attributes[60];
  ucontext_t context;
};

Fiber fibers[THREADS], *me;
std::vector<Region> regions;
std::vector<void*> addresses;
char *arena, *stacks, *image_begin, *image_end;

sigjmp_buf stopped;
Report* report;
Entry entry;
char slots[LANES][2][LANES][16];
uint32_t grid[3], size[3], groups[3], local[3], group[3], group_index, threads;
uint32_t epoch[2], simd_epoch[LANES][2];  // of device and of threadgroup memory
size_t threadgroup_bytes;
int threadgroup_regions[SLOTS];
uint64_t steps, budget;

[[noreturn]] void stop(const char* kind, void* pc, int line, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(report->text, sizeof report->text, format, args);
  va_end(args);
  snprintf(report->kind, sizeof report->kind, "%s", kind);
  report->pc = pc;
  report->line = line;
  for (int i = 0; i < 3; ++i) {
    report->thread[i] = me ? me->attributes[3 * 14 + i] : 0;
    report->group[i] = group[i];
  }
  siglongjmp(stopped, 1);
}

#if defined(__x86_64__) && !defined(EMU_UCONTEXT)
extern "C" void emu_switch(void** from, void* to);
void* scheduler_sp;
asm(R"(
.text
emu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
void yield() { emu_switch(&me->sp, scheduler_sp); }
void resume(Fiber& f) { me = &f; emu_switch(&scheduler_sp, f.sp); me = nullptr; }
void prepare(Fiber& f, void (*start)()) {
  char* top = f.stack + STACK - 16;  // as after a call: 8 bytes off the alignment of 16
  *reinterpret_cast<void (**)()>(top) = start;
  f.sp = static_cast<char*>(memset(top - 48, 0, 48));
}
#else
ucontext_t scheduler_context;
void yield() { swapcontext(&me->context, &scheduler_context); }
void resume(Fiber& f) { me = &f; swapcontext(&scheduler_context, &f.context); me = nullptr; }
void prepare(Fiber& f, void (*start)()) {
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack + PAGE;
  f.context.uc_stack.ss_size = STACK - PAGE;
  makecontext(&f.context, start, 0);
}
#endif

void run_thread() {
  entry(addresses.data(), me->attributes);
  me->state = DONE;
  yield();
}

void wait(State state, const char* op, int line, unsigned flags) {
  me->state = state; me->op = op; me->line = line; me->flags = flags;
  yield();
}
}  // namespace
