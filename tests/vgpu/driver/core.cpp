// The one device: start of every entry point, object registry, work queue.
#include <algorithm>
#include <cstring>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

constexpr const char* kNames[] = {
#define MONOGRAPH_CU_ENTRY(name, version, feature) "cu" #name,
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
};

// Ops whose kernel has the turn, innermost last: a kernel in its early part may wait for another.
std::vector<OpRef> running;

bool ready(const Op& op, bool early) {
  return std::all_of(op.deps.begin(), op.deps.end(), [&](const Dep& d) {
    if (d.op->done) return true;
    if (!early || !d.programmatic || d.op->started) return false;
    // The producer itself must be able to run, since the dependent may ask for it half-way.
    return ready(*d.op, false);
  });
}

void finish(const OpRef& op) {
  Device& d = device();
  op->started = true;
  running.push_back(op);
  const CUresult result = d.sticky || !op->run ? CUDA_SUCCESS : op->run();
  running.pop_back();
  if (result) d.sticky = result;
  op->done = true;
  op->run = nullptr;
  op->deps.clear();
}

void take_and_finish(const OpRef& op) {
  auto& queue = device().queue;
  queue.erase(std::find(queue.begin(), queue.end(), op));
  finish(op);
}

// Captures that keep this thread from a potentially unsafe call
// (cuThreadExchangeStreamCaptureMode).
bool prohibited(bool* any) {
  const CUstreamCaptureMode mode = thread_mode();
  if (mode == CU_STREAM_CAPTURE_MODE_RELAXED) return false;
  bool stop = false;
  for (const CaptureRef& c : device().captures) {
    const bool own = c->thread == std::this_thread::get_id();
    const bool hit =
        own ? c->mode != CU_STREAM_CAPTURE_MODE_RELAXED
            : mode == CU_STREAM_CAPTURE_MODE_GLOBAL && c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (hit) c->invalid = stop = true;
  }
  *any = stop;
  return stop;
}

}  // namespace

Device& device() {
  static auto* const instance = new Device;  // outlives every static of the client
  return *instance;
}

uint64_t draw() {
  uint64_t z = (device().rng += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void bury(std::shared_ptr<void> object) {
  auto& dead = device().graveyard;
  dead.push_back(std::move(object));
  if (dead.size() > 1024) dead.pop_front();
}

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kContext:
      return "context";
    case Kind::kStream:
      return "stream";
    case Kind::kEvent:
      return "event";
    case Kind::kLibrary:
      return "library";
    case Kind::kGraph:
      return "graph";
    case Kind::kExec:
      return "executable graph";
    case Kind::kKernel:
    case Kind::kNode:
    case Kind::kNone:
      break;
  }
  return nullptr;  // owned by another object
}

CUresult enter(Call call, Safety safety, Needs needs) {
  Device& d = device();
  const auto index = static_cast<size_t>(call);
  d.calls[index].fetch_add(1, std::memory_order_relaxed);
  d.total_calls.fetch_add(1, std::memory_order_relaxed);
  if (d.fail_nth && (d.fail_name.empty() || d.fail_name == kNames[index]) && --d.fail_nth == 0) {
    return d.fail_code;
  }
  if (d.host_depth) return CUDA_ERROR_NOT_PERMITTED;  // host functions must not call the driver
  if (needs == kNothing) return CUDA_SUCCESS;
  if (!d.initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (needs == kInit) return CUDA_SUCCESS;
  if (d.sticky) return d.sticky;
  if (d.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (needs == kCurrent && !current_context()) return CUDA_ERROR_INVALID_CONTEXT;
  bool any = false;
  if (safety == kUnsafe && !d.captures.empty() && prohibited(&any)) {
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return CUDA_SUCCESS;
}

CUstreamCaptureMode& thread_mode() {
  thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  return mode;
}

OpRef enqueue(std::vector<Dep> deps, std::function<CUresult()> run) {
  std::erase_if(deps, [](const Dep& d) { return !d.op || d.op->done; });
  auto op = std::make_shared<Op>();
  op->run = std::move(run);
  op->deps = std::move(deps);
  if (device().seed) op->rank = draw();
  return device().queue.emplace_back(std::move(op));
}

bool step() {
  Device& d = device();
  if (d.queue.empty()) return false;
  if (!d.seed) {  // submission order is a topological order
    take_and_finish(OpRef(d.queue.front()));
    return true;
  }
  const bool early = d.options.early_start && draw() % 2;
  std::vector<OpRef> choice;
  for (const OpRef& op : d.queue) {
    if (ready(*op, early)) choice.push_back(op);
  }
  if (choice.empty()) return false;
  // Even seeds choose anew each time. A short branch beside a long one would hardly ever be last
  // then, so odd seeds go by ranks, which hold some work back for as long as anything else is
  // ready.
  take_and_finish(d.seed % 2 == 0 ? choice[draw() % choice.size()]
                                  : *std::min_element(choice.begin(), choice.end(),
                                                      [](const OpRef& a, const OpRef& b) {
                                                        return a->rank < b->rank;
                                                      }));
  return true;
}

void grid_wait_current() {
  const OpRef op = running.back();
  for (const Dep& d : std::vector<Dep>(op->deps)) {
    if (!d.op->done && !d.op->started) take_and_finish(d.op);
  }
}

CUresult run_until(const OpRef& target) {
  const Open open;
  while (target && !target->done && step()) {
  }
  return device().sticky;
}

CUresult run_all() {
  const Open open;
  while (step()) {
  }
  return device().sticky;
}

CUresult fault(CUresult code, std::string message) {
  device().message = std::move(message);
  return code;
}

}  // namespace vgpu

void CUgraph_st::retire() {
  for (const auto& node : nodes) {
    vgpu::device().live.erase(node.get());
    if (node->child) node->child->retire();
    node->work.memory_owner.reset();
  }
  vgpu::device().live.erase(this);
}
CUgraph_st::~CUgraph_st() {
  retire();
}

// ---- test controls ----
namespace {

void report_at_exit() {
  char text[512];
  if (vgpu_leaks(text, sizeof text) == 0) return;
  std::fprintf(stderr, "vgpu: left at exit: %s\n", text);
  if (const int status = vgpu::device().options.leak_exit) {
    std::fflush(nullptr);
    _Exit(status);
  }
}
__attribute__((destructor)) void at_exit() {
  report_at_exit();
}

}  // namespace

extern "C" {
#define VGPU_EXPORT __attribute__((visibility("default")))

VGPU_EXPORT void vgpu_seed(uint64_t seed) {
  const std::lock_guard lock(vgpu::device().mutex);
  vgpu::device().seed = vgpu::device().rng = seed;
}

VGPU_EXPORT void vgpu_fail(const char* entry, uint64_t nth, CUresult code) {
  const std::lock_guard lock(vgpu::device().mutex);
  auto& d = vgpu::device();
  d.fail_name = entry ? entry : "";
  d.fail_nth = nth;
  d.fail_code = code;
}

VGPU_EXPORT uint64_t vgpu_calls(const char* entry) {
  auto& d = vgpu::device();
  if (!entry) return d.total_calls;
  for (size_t i = 0; i < d.calls.size(); ++i) {
    if (!std::strcmp(vgpu::kNames[i], entry)) return d.calls[i];
  }
  return 0;
}

VGPU_EXPORT int vgpu_set(const char* option, uint64_t value) {
  const std::lock_guard lock(vgpu::device().mutex);
  auto& o = vgpu::device().options;
  const std::string name = option;
  if (name == "memory_bytes")
    o.memory_bytes = value;
  else if (name == "null_device")
    o.null_device = value != 0;
  else if (name == "protect")
    o.protect = value != 0;
  else if (name == "early_start")
    o.early_start = value != 0;
  else if (name == "leak_exit")
    o.leak_exit = static_cast<int>(value);
  else if (name == "poison")
    o.poison = static_cast<int>(value & 0xff);
  else
    return -1;
  return 0;
}

VGPU_EXPORT size_t vgpu_leaks(char* text, size_t text_size) {
  const std::lock_guard lock(vgpu::device().mutex);
  auto& d = vgpu::device();
  std::map<std::string, size_t> kinds;
  for (const auto& [object, kind] : d.live) {
    if (const char* name = vgpu::kind_name(kind)) ++kinds[name];
  }
  vgpu::describe_memory(&kinds);
  if (d.retained) kinds["retained primary context"] = static_cast<size_t>(d.retained);
  if (!d.queue.empty()) kinds["unfinished piece of work"] = d.queue.size();
  if (!d.captures.empty()) kinds["open capture"] = d.captures.size();
  std::string all;
  size_t count = 0;
  for (const auto& [name, n] : kinds) {
    all += (all.empty() ? "" : ", ") + std::to_string(n) + " " + name;
    count += n;
  }
  if (text && text_size) std::snprintf(text, text_size, "%s", all.c_str());
  return count;
}

VGPU_EXPORT const char* vgpu_message() {
  return vgpu::device().message.c_str();
}

VGPU_EXPORT void vgpu_reset() {
  const std::lock_guard lock(vgpu::device().mutex);
  auto& d = vgpu::device();
  d.sticky = CUDA_SUCCESS;
  d.message.clear();
  d.fail_nth = 0;
  for (const auto& op : d.queue) op->done = true, op->run = nullptr, op->deps.clear();
  d.queue.clear();
  for (const auto& capture : d.captures) {
    capture->invalid = true;
    if (vgpu::alive(capture->graph)) capture->graph->capture = nullptr;
    for (CUstream s : capture->streams) {
      if (vgpu::alive(s) && s->capture == capture) s->capture = nullptr, s->front.clear();
    }
  }
  d.captures.clear();
}

VGPU_EXPORT uint64_t vgpu_peak_bytes() {
  const std::lock_guard lock(vgpu::device().mutex);
  return vgpu::take_peak_bytes();
}

VGPU_EXPORT uint64_t vgpu_kernels_run() {
  const std::lock_guard lock(vgpu::device().mutex);
  return vgpu::device().kernels_run;
}

}  // extern "C"
