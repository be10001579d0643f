// Runs the blocks of a launch on the host: one fiber a thread, in turns that end at barriers.
//
// A block's threads run in the order of their indices, or in the reverse order, each until it
// waits or returns. A missing barrier therefore leaves values unwritten, which start as NaN in
// shared memory, or gives other results in the other order.
//
// With CUDA_SHIM_RACES, ThreadSanitizer takes each thread of each block for a thread of a program,
// which only barriers and the ends of launches order: it then reports two accesses, to shared or to
// global memory, that a GPU may make in either order. Blocks share two sets of such threads, so of
// two blocks that race the half of the pairs is seen. This file must not be instrumented itself.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "cuda_runtime_api.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(CUDA_SHIM_RACES)
#include <sanitizer/tsan_interface.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

#if defined(__x86_64__)
// Save the registers that a call keeps on the stack, and go on where another stack left off.
// Unlike swapcontext it leaves the signal mask alone, which would take two system calls.
extern "C" void cuda_shim_switch(void** from, void* to);
asm(R"(
.text
.globl cuda_shim_switch
.type cuda_shim_switch, @function
cuda_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_shim_switch, .-cuda_shim_switch
)");
#endif

namespace cuda_shim {
namespace {

#if defined(CUDA_SHIM_RACES)
constexpr bool kRaces = true;
#else
constexpr bool kRaces = false;
#endif

constexpr size_t kStack = 256 * 1024, kGuard = 64 * 1024;  // bytes of a fiber
constexpr size_t kMostShared = 48 * 1024;                  // without an attribute of the kernel
constexpr unsigned kMostThreads = 1024, kMostRows = 65535, kWarp = 32;

enum class State { kReady, kBlock, kWarp, kDone, kFailed };

struct Thread {
  uint3 index;
  State state;
  Site site;  // of the barrier that it waits at
  unsigned mask;
  uint64_t value, result;
  int from;
  bool fence;  // the lanes' barrier orders memory
};

// A place to run on: the scheduler's own, or a fiber's
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t state;
#endif
  char* stack = nullptr;
  size_t bytes = 0;
  void* sanitized = nullptr;  // ThreadSanitizer's side of it
};

// A fiber that runs one thread after another; it is abandoned if a thread never returns
struct Fiber {
  Context context;

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
};

struct Delete {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t(16)); }
};

Context scheduler;
std::vector<std::unique_ptr<void, Delete>> memories;  // of blocks; shared is the last one
std::vector<std::unique_ptr<Fiber>> fibers[2];  // one set of them, or two with CUDA_SHIM_RACES
bool second = false;                            // the set of the running block
std::vector<Thread> threads;
size_t running;
const std::function<void()>* body;
void* shared = nullptr;
bool reverse = false;
int64_t launches = 0;
std::string failure;
std::recursive_mutex one_launch;

#if defined(__SANITIZE_ADDRESS__)
// Tell AddressSanitizer that `here` runs again; fibers learn from it where the scheduler's stack is
void arrive(void* fake, const Context& here) {
  const void* stack;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fake, &stack, &bytes);
  if (&here == &scheduler) return;
  scheduler.stack = static_cast<char*>(const_cast<void*>(stack));
  scheduler.bytes = bytes;
}
#endif

Context& context(size_t thread) { return fibers[second][thread]->context; }

#if defined(CUDA_SHIM_RACES)
std::deque<uint64_t> meetings;  // an address for each barrier of a launch
uint64_t started, ended;

void be(const Context& one) {
  __tsan_switch_to_fiber(one.sanitized, __tsan_switch_to_fiber_no_sync);
}

// What threads `from` to `end` whose bit of `mask` is set have done comes before all that these do
// from now on
void meet(size_t from, size_t end, uint32_t mask) {
  meetings.push_back(0);
  for (const auto sync : {__tsan_release, __tsan_acquire})
    for (size_t i = from; i < end; ++i)
      if (mask >> (i - from) % 32 & 1) {
        be(context(i));
        sync(&meetings.back());
      }
  be(scheduler);
}

// The running block comes after what the scheduler has done, but not after other blocks
void start_block() {
  scheduler.sanitized = __tsan_get_current_fiber();
  __tsan_release(&started);
  for (size_t i = 0; i < threads.size(); ++i) {
    if (!context(i).sanitized) context(i).sanitized = __tsan_create_fiber(0);
    be(context(i));
    __tsan_acquire(&started);
  }
  be(scheduler);
}

void end_launch() {
  for (const auto& set : fibers)
    for (const auto& fiber : set)
      if (fiber->context.sanitized) {
        be(fiber->context);
        __tsan_release(&ended);
      }
  be(scheduler);
  __tsan_acquire(&ended);
  meetings.clear();
}

void end_fiber(void* sanitized) {
  if (sanitized) __tsan_destroy_fiber(sanitized);
}
#else
void meet(size_t, size_t, uint32_t) {}
void start_block() {}
void end_launch() {}
void end_fiber(void*) {}
#endif

void switch_to(Context& from, Context& to) {
#if defined(CUDA_SHIM_RACES)
  be(to);
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, to.stack, to.bytes);
#endif
#if defined(__x86_64__)
  cuda_shim_switch(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.state, &to.state);
#endif
#if defined(__SANITIZE_ADDRESS__)
  arrive(fake, from);
#endif
}

// Run the scheduler until it resumes this thread
void give_way() { switch_to(context(running), scheduler); }

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  arrive(nullptr, context(running));
#endif
  for (;;) {
    (*body)();
    threads[running].state = State::kDone;
    give_way();
  }
}

Fiber::Fiber() {
  void* memory = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) throw std::bad_alloc();
  context.stack = static_cast<char*>(memory) + kGuard;
  context.bytes = kStack;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(context.stack, kStack);  // an abandoned fiber may have been here
#endif
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(context.stack + kStack);
  *--top = nullptr;  // keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
#else
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = context.stack;
  context.state.uc_stack.ss_size = kStack;
  makecontext(&context.state, fiber_main, 0);
#endif
}

Fiber::~Fiber() {
  end_fiber(context.sanitized);
  munmap(context.stack - kGuard, kStack + kGuard);
}

std::string describe(const Thread& thread) {
  const auto number = [](unsigned n) { return std::to_string(n); };
  return "thread (" + number(thread.index.x) + ", " + number(thread.index.y) + ", " +
         number(thread.index.z) + ") of block (" + number(blockIdx.x) + ", " +
         number(blockIdx.y) + ", " + number(blockIdx.z) + ")";
}

std::string describe(const Site& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::string_view(a.file_name()) == b.file_name();
}

// The first thread of the block that does not wait where `thread` waits, among `from` to `end`
const Thread* absent(const Thread& thread, size_t from, size_t end) {
  for (size_t i = from; i < end; ++i) {
    if (thread.state == State::kWarp && !(thread.mask >> (i - from) & 1)) continue;
    const Thread& other = threads[i];
    if (other.state != thread.state || !same(other.site, thread.site) ||
        other.mask != thread.mask)
      return &other;
  }
  return nullptr;
}

// Resume the lanes that exchange values with thread i; false if one of them is not there
bool release_warp(size_t i) {
  const size_t warp = i / kWarp * kWarp;
  const Thread& thread = threads[i];
  const size_t end = warp + 32 - std::countl_zero(thread.mask);
  if (end > threads.size() || absent(thread, warp, end)) return false;
  const unsigned mask = thread.mask;
  if (thread.fence) meet(warp, end, mask);
  for (unsigned lane = 0; lane < kWarp; ++lane)
    if (mask >> lane & 1) {
      Thread& one = threads[warp + lane];
      one.result = threads[warp + one.from].value;
      one.state = State::kReady;
    }
  return true;
}

// Resume those that have met. False if nobody has, which `failure` then explains.
bool release() {
  bool any = false;
  for (size_t i = 0; i < threads.size(); ++i)
    if (threads[i].state == State::kWarp) any = release_warp(i) || any;
  if (any) return true;
  for (const Thread& thread : threads) {
    if (thread.state == State::kDone) continue;
    const size_t at = &thread - threads.data(), warp = at / kWarp * kWarp;
    const bool block = thread.state == State::kBlock;
    const Thread* other = absent(thread, block ? 0 : warp,
                                 block ? threads.size() : std::min(warp + kWarp, threads.size()));
    if (block && !other) {
      meet(0, threads.size(), ~0u);
      for (Thread& one : threads) one.state = State::kReady;
      return true;
    }
    failure = describe(thread) + " waits at " + describe(thread.site) +
              (block ? " for its block" : " for lanes of its warp") +
              (!other ? ", which has fewer lanes"
               : other->state == State::kDone ? ", but " + describe(*other) + " has returned"
                                              : ", but " + describe(*other) + " waits at " +
                                                    describe(other->site));
    return false;
  }
  return false;
}

bool run_block(const cudaLaunchConfig_t& config) {
  const size_t bytes = config.dynamicSmemBytes;
  memories.emplace_back(bytes ? ::operator new(bytes, std::align_val_t(16)) : nullptr);
  shared = memories.back().get();
  if (bytes) std::memset(shared, 0xff, bytes);  // NaN, or -1
  size_t at = 0;
  for (unsigned z = 0; z < blockDim.z; ++z)
    for (unsigned y = 0; y < blockDim.y; ++y)
      for (unsigned x = 0; x < blockDim.x; ++x)
        threads[at++] = Thread{.index = {x, y, z}, .state = State::kReady, .site = {}, .mask = 0,
                               .value = 0, .result = 0, .from = 0, .fence = false};
  auto& set = fibers[second];
  while (set.size() < threads.size()) set.push_back(std::make_unique<Fiber>());
  start_block();
  for (;;) {
    bool ran = false;
    for (size_t i = 0; i < threads.size(); ++i) {
      running = reverse ? threads.size() - 1 - i : i;
      if (threads[running].state != State::kReady) continue;
      threadIdx = threads[running].index;
      switch_to(scheduler, context(running));
      if (threads[running].state == State::kFailed) return false;
      ran = true;
    }
    if (!ran) return true;
    bool done = true;
    for (const Thread& thread : threads) done = done && thread.state == State::kDone;
    if (!done && !release()) return false;
  }
}

bool valid(const cudaLaunchConfig_t& c) {
  const uint64_t count = uint64_t(c.blockDim.x) * c.blockDim.y * c.blockDim.z;
  return count > 0 && count <= kMostThreads && c.gridDim.x > 0 && c.gridDim.x <= 0x7fffffffu &&
         c.gridDim.y > 0 && c.gridDim.y <= kMostRows && c.gridDim.z > 0 &&
         c.gridDim.z <= kMostRows && c.dynamicSmemBytes <= kMostShared;
}

}  // namespace

void* shared_memory() { return shared; }

void wait_block(const Site& site) {
  Thread& thread = threads[running];
  thread.state = State::kBlock;
  thread.site = site;
  thread.mask = 0;
  give_way();
}

uint64_t exchange(unsigned mask, uint64_t value, int from, bool fence, const Site& site) {
  Thread& thread = threads[running];
  if (!(mask >> from & 1) || !(mask >> (running % kWarp) & 1)) {
    failure = describe(thread) + " exchanges a value at " + describe(site) +
              " with a lane outside its mask";
    thread.state = State::kFailed;
    give_way();
  }
  thread.state = State::kWarp;
  thread.site = site;
  thread.mask = mask;
  thread.value = value;
  thread.from = from;
  thread.fence = fence;
  give_way();
  return threads[running].result;
}

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const std::lock_guard guard(one_launch);
  if (!valid(config)) {
    failure = "invalid configuration";
    return cudaErrorInvalidConfiguration;
  }
  ++launches;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  body = &thread;
  threads.resize(size_t(blockDim.x) * blockDim.y * blockDim.z);
  bool ran = true;
  uint64_t blocks = 0;
  for (unsigned z = 0; z < gridDim.z && ran; ++z)
    for (unsigned y = 0; y < gridDim.y && ran; ++y)
      for (unsigned x = 0; x < gridDim.x && ran; ++x) {
        blockIdx = {x, y, z};
        second = kRaces && std::popcount(blocks++) % 2;  // in no step with a row of the grid
        ran = run_block(config);
        if (!kRaces) memories.clear();
      }
  end_launch();
  memories.clear();
  if (ran) return cudaSuccess;
  for (auto& set : fibers) set.clear();  // they wait in the middle of their threads
  return cudaErrorLaunchFailure;
}

}  // namespace cuda_shim

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : cuda_shim::failure.c_str();
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

// Whether the threads of a block run in the reverse order
extern "C" void cuda_shim_reverse(bool on) { cuda_shim::reverse = on; }

// The number of launches so far
extern "C" int64_t cuda_shim_launches() { return cuda_shim::launches; }
