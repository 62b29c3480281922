#include "runtime/cuda/graph/capture_scope.h"

#include <monograph/error.h>

#include <exception>
#include <mutex>

namespace monograph::cuda {
namespace {

/// One capture at a time in the process: libraries share handles and workspaces across threads.
std::mutex& capture_lock() {
  static std::mutex mutex;
  return mutex;
}

[[noreturn]] void fail(const std::string& why, const std::string& node,
                       const std::string& driver_text = {}) {
  throw Error(Code::kDeviceCaptureFailed, why, node, driver_text);
}

/// before_capture / after_capture in pairs.
class Bracket {
 public:
  Bracket(LibraryCall& call, CUstream stream) : call_(call), stream_(stream) {
    call_.before_capture(stream_);
  }
  ~Bracket() { call_.after_capture(stream_); }
  Bracket(const Bracket&) = delete;
  Bracket& operator=(const Bracket&) = delete;

 private:
  LibraryCall& call_;
  CUstream stream_;
};

/// Captures into `graph`. The driver's refusal of the capture wins over what `enqueue` threw
/// because of it only if enqueue threw nothing.
void capture(LibraryCall& call, CUstream stream, Graph& graph, const std::string& node) {
  graph.begin_capture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  std::exception_ptr thrown;
  try {
    call.enqueue(stream);
  } catch (...) {
    thrown = std::current_exception();
  }
  try {
    graph.end_capture();
  } catch (const Error& e) {
    if (!thrown) {
      fail(
          "the library call did something that can't be captured (synchronised, allocated or "
          "freed memory, or left work on another stream unjoined)",
          node, e.driver_text());
    }
  }
  if (thrown) std::rethrow_exception(thrown);
}

/// Memory that neither a device nor the driver's pointer table knows is the host's.
bool on_host(CUmemorytype type, CUdeviceptr address, const Driver& driver) {
  if (type != CU_MEMORYTYPE_UNIFIED) return type == CU_MEMORYTYPE_HOST;
  unsigned where = CU_MEMORYTYPE_HOST;
  const CUresult known =
      driver.PointerGetAttribute.raw(&where, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address);
  return known != CUDA_SUCCESS || where == CU_MEMORYTYPE_HOST;
}

/// Memory of the host that a call has passed to the driver is free again after the call: a replay
/// would read what others have put there since, or write over it.
void check_copy(const Graph& graph, CUgraphNode copy, const std::string& node) {
  const CUDA_MEMCPY3D p = graph.copy_params(copy);
  const Driver& driver = graph.context()->driver();
  if (on_host(p.srcMemoryType, p.srcDevice, driver) ||
      on_host(p.dstMemoryType, p.dstDevice, driver)) {
    fail(
        "the library call copies from or to the host's memory inside the graph, which is somebody "
        "else's when it is replayed",
        node);
  }
}

void inspect(CapturedCall& captured, const std::string& node) {
  for (const CUgraphNode n : captured.graph.nodes()) {
    switch (captured.graph.type(n)) {
      case CU_GRAPH_NODE_TYPE_KERNEL:
        ++captured.kernel_nodes;
        break;
      case CU_GRAPH_NODE_TYPE_MEMCPY:
        check_copy(captured.graph, n, node);
        ++captured.other_nodes;
        break;
      case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      case CU_GRAPH_NODE_TYPE_MEM_FREE:
        fail("the library call allocates device memory inside the graph", node);
      case CU_GRAPH_NODE_TYPE_HOST:
        fail("the library call runs host code inside the graph", node);
      default:
        ++captured.other_nodes;
    }
  }
  if (captured.kernel_nodes + captured.other_nodes == 0) {
    fail(
        "the library call enqueued nothing on the capturing stream (host tensors, another device "
        "or another stream?)",
        node);
  }
}

}  // namespace

CapturedCall capture_call(LibraryCall& call, CUstream stream, const ContextRef& context,
                          const std::string& node) {
  const NodeScope scope(node);
  const std::lock_guard lock(capture_lock());
  CapturedCall captured{Graph::create(context), 0, 0};
  {
    const Bracket bracket(call, stream);
    capture(call, stream, captured.graph, node);
  }
  inspect(captured, node);
  return captured;
}

CUresult synchronize_between_captures(const Context& context) noexcept {
  const std::lock_guard lock(capture_lock());
  return context.driver().CtxSynchronize.raw();
}

}  // namespace monograph::cuda
