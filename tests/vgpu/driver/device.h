// The virtual device: objects behind the driver's opaque handles, and the one state they share.
//
// Work is queued and runs only when the client waits for something, in a seeded random order that
// respects stream order, events and graph edges. One lock covers the device: client threads take
// turns, and whoever waits does the work.
#pragma once

#include <cuda.h>
#include <setjmp.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tests/vgpu/image.h"
#include "tests/vgpu/vgpu.h"

namespace vgpu {

enum class Call : unsigned {
#define MONOGRAPH_CU_ENTRY(name, version, feature) name,
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
  kCount
};

// ---- queued work ----
struct Op;
using OpRef = std::shared_ptr<Op>;
struct Dep {
  OpRef op;
  bool programmatic = false;  // may start before `op` has finished
};
struct Op {
  std::function<CUresult()> run;
  std::vector<Dep> deps;
  uint64_t rank = 0;  // the smaller, the earlier, with seeds that hold some work back
  bool done = false, started = false;
};

// ---- what a node or a stream operation does ----
struct HostKernel {
  std::string name;
  VgpuHostKernel run;
  void* user;
  std::vector<simt::Param> params;
};
struct Launch {  // a kernel launch with its own copy of the parameters
  CUkern_st* kernel = nullptr;
  simt::Dim grid, block;
  uint32_t shared_bytes = 0;
  std::vector<char> blob;
  std::vector<void*> pointers;  // into `blob`, for GetParams
};
struct Work {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  Launch launch;
  CUDA_MEMCPY3D copy{};
  CUDA_MEMSET_NODE_PARAMS fill{};
  CUDA_HOST_NODE_PARAMS host{};
  CUdeviceptr memory = 0;              // allocation and free nodes
  std::shared_ptr<void> memory_owner;  // of an allocation node: releases it with the last user
};
using WorkRef = std::shared_ptr<const Work>;

using Edge = CUgraphEdgeData;
inline bool is_default(const Edge& e) {
  return e.type == CU_GRAPH_DEPENDENCY_TYPE_DEFAULT && e.from_port == 0 && e.to_port == 0;
}
inline bool same(const Edge& a, const Edge& b) {
  return a.type == b.type && a.from_port == b.from_port && a.to_port == b.to_port;
}
struct GraphDep {
  CUgraphNode node;
  Edge edge{};
};
using Deps = std::vector<GraphDep>;

struct Capture {
  CUgraph graph = nullptr;
  CUstream origin = nullptr;
  CUstreamCaptureMode mode{};
  std::thread::id thread;
  cuuint64_t id = 0;
  bool invalid = false, owns_graph = false, ended = false;
  std::vector<CUstream> streams;
  Deps orphans;  // ends of work in joined streams that were destroyed since
};
using CaptureRef = std::shared_ptr<Capture>;

// Every kind of object that a handle can name; checked with each handle.
enum class Kind : uint8_t {
  kNone,
  kContext,
  kStream,
  kEvent,
  kLibrary,
  kKernel,
  kGraph,
  kNode,
  kExec
};
const char* kind_name(Kind kind);

}  // namespace vgpu

// ---- the objects themselves, in the global namespace that cuda.h declares them in ----
struct CUctx_st {};
struct CUkern_st {
  const simt::Kernel* code = nullptr;  // null for a host kernel
  const vgpu::HostKernel* host = nullptr;
  CUlibrary library = nullptr;
  const simt::Image* image = nullptr;
  int max_dynamic = 48 << 10;
  uint32_t param_count() const {
    return code ? code->param_count : static_cast<uint32_t>(host->params.size());
  }
  const simt::Param& param(size_t i) const { return code ? code->params[i] : host->params[i]; }
  const char* name() const { return code ? code->name : host->name.c_str(); }
};
struct CUlib_st {
  void* handle = nullptr;
  int file = -1;  // of an image loaded from memory: the loader knows it by this number
  std::unique_ptr<vgpu::HostKernel> host;
  std::vector<std::unique_ptr<CUkern_st>> kernels;
};
struct CUstream_st {
  unsigned flags = 0;
  int priority = 0;
  vgpu::OpRef tail;
  bool tail_is_kernel = false;
  vgpu::CaptureRef capture;
  vgpu::Deps front;
  std::vector<CUgraphNode> front_nodes;  // storage behind cuStreamGetCaptureInfo
  std::vector<CUgraphEdgeData> front_edges;
};
struct CUevent_st {
  unsigned flags = 0;
  bool recorded = false;
  vgpu::OpRef op;
  vgpu::CaptureRef capture;
  vgpu::Deps front;
  std::shared_ptr<double> time_ms;
};
struct CUgraphNode_st {
  CUgraph owner = nullptr;
  uint64_t id = 0;
  vgpu::Deps deps;
  vgpu::Work work;
  std::unique_ptr<CUgraph_st> child;
  std::map<int, CUlaunchAttributeValue> attributes;
};
struct CUgraph_st {
  std::vector<std::unique_ptr<CUgraphNode_st>> nodes;
  vgpu::Capture* capture = nullptr;
  bool embedded = false;  // inside a child-graph node: not destroyed on its own
  int memory_execs = 0;   // executable graphs made of it while it has memory nodes
  std::unordered_map<const CUgraphNode_st*, CUgraphNode> clone_of;  // original -> here
  CUgraph_st() = default;
  CUgraph_st(const CUgraph_st&) = delete;
  ~CUgraph_st();
  void retire();  // it and all in it are no longer valid handles
};
struct CUgraphExec_st {
  struct Node {
    CUgraphNode key;
    vgpu::WorkRef work;
    bool enabled = true;
    std::vector<std::pair<size_t, bool>> deps;  // index, programmatic
  };
  std::vector<Node> nodes;
  std::unordered_map<const CUgraphNode_st*, size_t> index;
  CUgraph source = nullptr;
  unsigned long long flags = 0;
  vgpu::OpRef last;
  bool has_memory = false, memory_live = false;
};

namespace vgpu {

struct Options {
  uint64_t memory_bytes = uint64_t(8) << 30;
  bool null_device = false, protect = true, early_start = true;
  int leak_exit = 0, poison = 0xff;
};

struct Device {
  std::recursive_mutex mutex;
  bool initialised = false;
  int retained = 0;
  CUctx_st context;
  CUresult sticky = CUDA_SUCCESS;
  std::string message;
  Options options;
  std::unordered_map<const void*, Kind> live;
  std::deque<std::shared_ptr<void>> graveyard;  // keeps addresses of the dead from coming back
  CUstream_st legacy;
  std::vector<CUstream> streams;
  std::vector<OpRef> queue;
  std::vector<CaptureRef> captures;
  uint64_t seed = 0, rng = 0, next_id = 1, kernels_run = 0;
  int host_depth = 0;  // inside a host function: the driver must not be called
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Call::kCount)> calls{};
  std::atomic<uint64_t> total_calls{0};
  std::string fail_name;
  std::atomic<uint64_t> fail_nth{0};
  CUresult fail_code = CUDA_SUCCESS;
};
Device& device();
uint64_t draw();  // next number of the seeded sequence

// ---- object registry ----
template <class T>
struct KindOf;
#define VGPU_KIND(type, kind)           \
  template <>                           \
  struct KindOf<type> {                 \
    static constexpr Kind value = kind; \
  };
VGPU_KIND(CUctx_st, Kind::kContext)
VGPU_KIND(CUstream_st, Kind::kStream)
VGPU_KIND(CUevent_st, Kind::kEvent)
VGPU_KIND(CUlib_st, Kind::kLibrary)
VGPU_KIND(CUkern_st, Kind::kKernel)
VGPU_KIND(CUgraph_st, Kind::kGraph)
VGPU_KIND(CUgraphNode_st, Kind::kNode)
VGPU_KIND(CUgraphExec_st, Kind::kExec)
#undef VGPU_KIND
template <class T>
bool alive(const T* object) {
  const auto found = device().live.find(object);
  return object && found != device().live.end() && found->second == KindOf<T>::value;
}
template <class T>
T* enlist(T* object) {
  device().live[object] = KindOf<T>::value;
  return object;
}
void bury(std::shared_ptr<void> object);
template <class T>
void discard(T* object) {
  device().live.erase(object);
  bury(std::shared_ptr<void>(object, [](void* p) { delete static_cast<T*>(p); }));
}

// ---- start of every entry point ----
enum Safety { kSafe, kUnsafe };  // unsafe: prohibited by captures under way (thread capture modes)
enum Needs { kNothing, kInit, kCtx, kCurrent };  // kCurrent: a context current on the thread
CUresult enter(Call call, Safety safety, Needs needs);
CUcontext current_context();
CUstreamCaptureMode& thread_mode();

// ---- queue ----
OpRef enqueue(std::vector<Dep> deps, std::function<CUresult()> run);
CUresult run_until(const OpRef& target);
CUresult run_all();
bool step();
void grid_wait_current();  // finishes what the running kernel depends on
CUresult fault(CUresult code, std::string message);

// ---- memory ----
struct Open {  // device memory is accessible while one of these exists
  Open();
  ~Open();
};
bool device_range(CUdeviceptr at, size_t bytes);  // readable and writable by the device
bool pinned_range(const void* at, size_t bytes);
CUresult allocate(CUdeviceptr* out, size_t bytes);
CUresult release(CUdeviceptr at);
bool is_allocation(CUdeviceptr at);
std::shared_ptr<void> own_allocation(
    CUdeviceptr at);  // released with the last reference, if still there
CUresult check_red_zones(const char* after);
void describe_memory(std::map<std::string, size_t>* kinds);
void register_fault_handler();
sigjmp_buf* exchange_fault_exit(sigjmp_buf* exit);  // where a fault of this thread jumps to
uint64_t take_peak_bytes();

// ---- work ----
CUresult check_copy(const CUDA_MEMCPY3D& copy);
CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& fill);
CUresult run_work(const Work& work);
CUresult run_launch(const Launch& launch);
CUresult make_launch(Launch* out, CUkern_st* kernel, simt::Dim grid, simt::Dim block,
                     uint32_t shared_bytes, void** params, void** extra);
CUkern_st* as_kernel(CUfunction function, CUkernel kernel);

// ---- streams, capture, graphs ----
// The object behind a stream handle; null names the legacy stream, which needs a current context.
CUresult resolve(CUstream given, CUstream* out);
CUresult use(CUstream stream);  // rules of implicit dependence on the legacy stream
struct Serialization {
  bool programmatic = false;
};
CUresult submit(CUstream stream, Work work, Serialization serialization = {});
CUresult invalidate(const CaptureRef& capture, CUresult code);
void abandon_capture(const CaptureRef& capture);  // its origin is being destroyed
CUresult spoil(
    CUstream stream,
    CUresult result);  // a failed launch ends the use of a capture, a failed copy does not
CUgraphNode add_node(CUgraph graph, Deps deps, Work work);
std::unique_ptr<CUgraph_st> clone(const CUgraph_st& graph, bool embedded);
bool has_memory_nodes(const CUgraph_st& graph);
CUresult check_edge(const CUgraphNode_st* from, CUgraphNodeType to, const Edge& edge);
CUresult submit_graph(CUgraphExec exec, CUstream stream);

#define VGPU_ENTER(name, safety, needs)                    \
  const std::lock_guard vgpu_lock(::vgpu::device().mutex); \
  [[maybe_unused]] const CUresult status =                 \
      ::vgpu::enter(::vgpu::Call::name, ::vgpu::safety, ::vgpu::needs)
#define VGPU_API(name, safety, needs) \
  VGPU_ENTER(name, safety, needs);    \
  if (status != CUDA_SUCCESS) return status
#define VGPU_RESOLVE(s, given) \
  CUstream s = nullptr;        \
  if (const CUresult vgpu_result = ::vgpu::resolve(given, &s)) return vgpu_result
#define VGPU_NEED(condition, code) \
  if (!(condition)) return code

}  // namespace vgpu
