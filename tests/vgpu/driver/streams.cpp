// Streams and events.
#include <algorithm>
#include <chrono>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

bool blocking(CUstream s) {
  return (s->flags & CU_STREAM_NON_BLOCKING) == 0;
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// What work of `s` waits for besides the stream's own tail: the legacy stream and the blocking
// streams wait for each other.
void add_implicit(CUstream s, std::vector<Dep>* deps) {
  Device& d = device();
  if (s == &d.legacy) {
    for (CUstream other : d.streams) {
      if (blocking(other)) deps->push_back({other->tail});
    }
  } else if (blocking(s)) {
    deps->push_back({d.legacy.tail});
  }
}

}  // namespace

CUresult resolve(CUstream given, CUstream* out) {
  if (given == nullptr || given == CU_STREAM_LEGACY) {
    *out = &device().legacy;
    return current_context() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  }
  // The per-thread default stream is not offered: the product never uses it.
  VGPU_NEED(given != CU_STREAM_PER_THREAD && alive(given), CUDA_ERROR_INVALID_HANDLE);
  *out = given;
  return CUDA_SUCCESS;
}

CUresult spoil(CUstream stream, CUresult result) {
  if (result && stream->capture) stream->capture->invalid = true;
  return result;
}

CUresult use(CUstream stream) {
  if (stream != &device().legacy) return CUDA_SUCCESS;
  bool hit = false;
  for (const CaptureRef& c : device().captures) {
    if (std::any_of(c->streams.begin(), c->streams.end(),
                    [](CUstream s) { return alive(s) && s->capture && blocking(s); })) {
      c->invalid = hit = true;
    }
  }
  return hit ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult invalidate(const CaptureRef& capture, CUresult code) {
  capture->invalid = true;
  return code;
}

CUresult submit(CUstream s, Work work, Serialization serialization) {
  const bool kernel = work.type == CU_GRAPH_NODE_TYPE_KERNEL;
  if (s->capture) {
    VGPU_NEED(!s->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    Deps deps = s->front;
    for (GraphDep& d : deps) {
      if (serialization.programmatic && kernel && is_default(d.edge) &&
          d.node->work.type == CU_GRAPH_NODE_TYPE_KERNEL) {
        d.edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
        d.edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
      }
    }
    s->front = {{add_node(s->capture->graph, std::move(deps), std::move(work))}};
    return CUDA_SUCCESS;
  }
  if (const CUresult r = use(s)) return r;
  if (device().options.null_device) return CUDA_SUCCESS;
  std::vector<Dep> deps{{s->tail, serialization.programmatic && kernel && s->tail_is_kernel}};
  add_implicit(s, &deps);
  s->tail = enqueue(std::move(deps), [w = std::move(work)] { return run_work(w); });
  s->tail_is_kernel = kernel;
  return CUDA_SUCCESS;
}

CUresult submit_graph(CUgraphExec exec, CUstream s) {
  std::vector<OpRef> ops;
  ops.reserve(exec->nodes.size());
  std::vector<Dep> before{{s->tail}, {exec->last}};  // launches of one exec do not overlap
  add_implicit(s, &before);
  for (const auto& node : exec->nodes) {  // topological order
    std::vector<Dep> deps = before;
    for (const auto& [index, programmatic] : node.deps) deps.push_back({ops[index], programmatic});
    if (node.enabled) {
      ops.push_back(enqueue(std::move(deps), [w = node.work] { return run_work(*w); }));
    } else {
      ops.push_back(enqueue(std::move(deps), nullptr));
    }
  }
  std::vector<Dep> after = before;
  for (const OpRef& op : ops) after.push_back({op});
  exec->last = s->tail = enqueue(std::move(after), nullptr);
  s->tail_is_kernel = false;
  return CUDA_SUCCESS;
}

}  // namespace vgpu

using namespace vgpu;

#define VGPU_STREAM(s) \
  if (const CUresult vgpu_result = resolve(s, &s)) return vgpu_result
#define VGPU_EVENT(e) VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE)

extern "C" {

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  VGPU_API(CtxGetStreamPriorityRange, kSafe, kCurrent);
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority) {
  VGPU_API(StreamCreateWithPriority, kSafe, kCurrent);
  VGPU_NEED(out && flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
  auto* const s = new CUstream_st;
  s->flags = flags;
  s->priority = std::clamp(priority, -5, 0);
  device().streams.push_back(*out = enlist(s));
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* out, unsigned flags) {
  VGPU_API(StreamCreate, kSafe, kCurrent);
  VGPU_NEED(out && flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE);
  auto* const s = new CUstream_st;
  s->flags = flags;
  device().streams.push_back(*out = enlist(s));
  return CUDA_SUCCESS;
}

CUresult cuStreamGetPriority(CUstream s, int* out) {
  VGPU_API(StreamGetPriority, kSafe, kCtx);
  VGPU_STREAM(s);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = s->priority;
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream s) {
  VGPU_ENTER(StreamDestroy, kSafe, kCtx);
  VGPU_NEED(alive(s), CUDA_ERROR_INVALID_HANDLE);
  if (s->capture && s->capture->origin == s) abandon_capture(CaptureRef(s->capture));
  if (s->capture) {
    Deps& orphans = s->capture->orphans;
    orphans.insert(orphans.end(), s->front.begin(), s->front.end());
    std::erase(s->capture->streams, s);
  }
  std::erase(device().streams, s);
  discard(s);
  return status;
}

CUresult cuStreamSynchronize(CUstream s) {
  VGPU_API(StreamSynchronize, kUnsafe, kCtx);
  VGPU_STREAM(s);
  if (s->capture) return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (const CUresult r = use(s)) return r;
  if (s == &device().legacy) {
    std::vector<Dep> deps{{s->tail}};
    add_implicit(s, &deps);
    s->tail = enqueue(std::move(deps), nullptr);
  }
  return run_until(s->tail);
}

CUresult cuStreamQuery(CUstream s) {
  VGPU_API(StreamQuery, kUnsafe, kCtx);
  VGPU_STREAM(s);
  if (s->capture) return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (const CUresult r = use(s)) return r;
  if (s->tail && !s->tail->done) {  // a client that polls must see progress
    const Open open;
    step();
  }
  if (device().sticky) return device().sticky;
  return s->tail && !s->tail->done ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned flags) {
  VGPU_API(StreamWaitEvent, kSafe, kCtx);
  VGPU_STREAM(s);
  VGPU_EVENT(e);
  VGPU_NEED(flags == CU_EVENT_WAIT_DEFAULT, CUDA_ERROR_NOT_SUPPORTED);
  if (!e->capture) {
    // Work recorded outside can't be seen from within a capture; an event that was never recorded
    // names no work at all.
    if (s->capture) {
      VGPU_NEED(!s->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
      if (!e->recorded) return CUDA_SUCCESS;
      return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    }
    if (const CUresult r = use(s)) return r;
    std::vector<Dep> deps{{s->tail}, {e->op}};
    add_implicit(s, &deps);
    s->tail = enqueue(std::move(deps), nullptr);
    s->tail_is_kernel = false;
    return CUDA_SUCCESS;
  }
  VGPU_NEED(!e->capture->ended, CUDA_ERROR_INVALID_VALUE);
  if (s->capture && s->capture != e->capture) {
    e->capture->invalid = true;
    return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
  }
  VGPU_NEED(!e->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  VGPU_NEED(s != &device().legacy, invalidate(e->capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT));
  if (!s->capture) {
    s->capture = e->capture;
    s->capture->streams.push_back(s);
    s->front.clear();
  }
  for (const GraphDep& d : e->front) {
    if (std::none_of(s->front.begin(), s->front.end(),
                     [&](const GraphDep& have) { return have.node == d.node; })) {
      s->front.push_back(d);
    }
  }
  return CUDA_SUCCESS;
}

// ---- events ----
CUresult cuEventCreate(CUevent* out, unsigned flags) {
  VGPU_API(EventCreate, kSafe, kCurrent);
  VGPU_NEED(out && flags <= 7, CUDA_ERROR_INVALID_VALUE);
  auto* const e = new CUevent_st;
  e->flags = flags;
  *out = enlist(e);
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent e) {
  VGPU_ENTER(EventDestroy, kSafe, kCtx);
  VGPU_EVENT(e);
  discard(e);
  return status;
}

CUresult cuEventRecord(CUevent e, CUstream s) {
  VGPU_API(EventRecord, kSafe, kCtx);
  VGPU_STREAM(s);
  VGPU_EVENT(e);
  if (s->capture) {
    VGPU_NEED(!s->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    e->recorded = true;
    e->op = nullptr;
    e->time_ms = nullptr;
    e->capture = s->capture;
    e->front = s->front;
    return CUDA_SUCCESS;
  }
  if (const CUresult r = use(s)) return r;
  auto time = std::make_shared<double>(now_ms());
  std::vector<Dep> deps{{s->tail}};
  add_implicit(s, &deps);
  e->op = enqueue(std::move(deps), [time] {
    *time = now_ms();
    return CUDA_SUCCESS;
  });
  s->tail = e->op;
  s->tail_is_kernel = false;
  e->recorded = true;
  e->time_ms = std::move(time);
  e->capture = nullptr;
  e->front.clear();
  return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent e) {
  VGPU_API(EventQuery, kUnsafe, kCtx);
  VGPU_EVENT(e);
  VGPU_NEED(!e->capture || !e->capture->ended, CUDA_ERROR_INVALID_VALUE);
  if (e->capture) return invalidate(e->capture, CUDA_ERROR_CAPTURED_EVENT);
  if (e->op && !e->op->done) {
    const Open open;
    step();
  }
  if (device().sticky) return device().sticky;
  return e->op && !e->op->done ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent e) {
  VGPU_API(EventSynchronize, kUnsafe, kCtx);
  VGPU_EVENT(e);
  VGPU_NEED(!e->capture || !e->capture->ended, CUDA_ERROR_INVALID_VALUE);
  if (e->capture) return invalidate(e->capture, CUDA_ERROR_CAPTURED_EVENT);
  return run_until(e->op);
}

CUresult cuEventElapsedTime(float* out, CUevent start, CUevent end) {
  VGPU_API(EventElapsedTime, kSafe, kCtx);
  VGPU_EVENT(start);
  VGPU_EVENT(end);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  for (CUevent e : {start, end}) {
    VGPU_NEED(!(e->flags & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    VGPU_NEED(e->recorded && !e->capture, CUDA_ERROR_INVALID_HANDLE);
  }
  VGPU_NEED(start->op->done && end->op->done, CUDA_ERROR_NOT_READY);
  *out = static_cast<float>(*end->time_ms - *start->time_ms);
  return CUDA_SUCCESS;
}

}  // extern "C"
