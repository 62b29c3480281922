// Stream capture: which streams belong to it, when it may begin and end, what spoils it.
#include <algorithm>
#include <unordered_set>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

using NodeSet = std::unordered_set<const CUgraphNode_st*>;

NodeSet upstream(const Deps& from) {
  NodeSet seen;
  std::vector<const CUgraphNode_st*> rest;
  for (const GraphDep& d : from) rest.push_back(d.node);
  while (!rest.empty()) {
    const CUgraphNode_st* const n = rest.back();
    rest.pop_back();
    if (!alive(n) || !seen.insert(n).second) continue;
    for (const GraphDep& d : n->deps) rest.push_back(d.node);
  }
  return seen;
}

CUresult begin(CUstream s, CUgraph graph, Deps front, CUstreamCaptureMode mode, bool owns) {
  auto c = std::make_shared<Capture>();
  c->graph = graph;
  c->origin = s;
  c->mode = mode;
  c->thread = std::this_thread::get_id();
  c->id = device().next_id++;
  c->owns_graph = owns;
  c->streams = {s};
  graph->capture = c.get();
  s->capture = c;
  s->front = std::move(front);
  device().captures.push_back(std::move(c));
  return CUDA_SUCCESS;
}

CUresult can_begin(CUstream s, CUstreamCaptureMode mode) {
  VGPU_NEED(s != &device().legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  VGPU_NEED(mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!s->capture, CUDA_ERROR_ILLEGAL_STATE);
  return CUDA_SUCCESS;
}

// Takes the capture off all its streams; whether all their work leads to the origin's.
bool dissolve(const CaptureRef& c) {
  const NodeSet joined = upstream(c->origin->front);
  bool all = true;
  for (const GraphDep& d : c->orphans) all = all && (!alive(d.node) || joined.count(d.node));
  for (CUstream t : c->streams) {
    if (!alive(t) || t->capture != c) continue;
    for (const GraphDep& d : t->front) all = all && (!alive(d.node) || joined.count(d.node));
    t->capture = nullptr;
    t->front.clear();
  }
  c->ended = true;
  c->graph->capture = nullptr;
  std::erase(device().captures, c);
  return all;
}

void drop_graph(const CaptureRef& c) {
  c->graph->retire();
  discard(c->graph);
}

}  // namespace

void abandon_capture(const CaptureRef& capture) {
  dissolve(capture);
  if (capture->owns_graph) drop_graph(capture);
}

}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  VGPU_API(StreamBeginCapture, kSafe, kCtx);
  VGPU_RESOLVE(s, stream);
  if (const CUresult r = can_begin(s, mode)) return r;
  return begin(s, enlist(new CUgraph_st), {}, mode, true);
}

CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode* nodes,
                                     const CUgraphEdgeData* edges, size_t count,
                                     CUstreamCaptureMode mode) {
  VGPU_API(StreamBeginCaptureToGraph, kSafe, kCtx);
  VGPU_RESOLVE(s, stream);
  if (const CUresult r = can_begin(s, mode)) return r;
  VGPU_NEED(alive(graph) && (nodes || !count), CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!graph->capture, CUDA_ERROR_ILLEGAL_STATE);
  Deps front;
  for (size_t i = 0; i < count; ++i) {
    VGPU_NEED(alive(nodes[i]) && nodes[i]->owner == graph, CUDA_ERROR_INVALID_VALUE);
    front.push_back({nodes[i], edges ? edges[i] : Edge{}});
  }
  return begin(s, graph, std::move(front), mode, false);
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph* out) {
  VGPU_ENTER(StreamEndCapture, kSafe, kCtx);  // an injected failure still ends the capture
  VGPU_RESOLVE(s, stream);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = nullptr;
  VGPU_NEED(s->capture, CUDA_ERROR_ILLEGAL_STATE);
  const CaptureRef c = s->capture;
  if (c->origin != s) return invalidate(c, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  const bool foreign =
      c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->thread != std::this_thread::get_id();
  const bool joined = dissolve(c);
  CUresult result = CUDA_SUCCESS;
  if (status)
    result = status;
  else if (foreign)  // refused, and the capture is over nevertheless (seen on a real driver)
    result = CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  else if (c->invalid)
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  else if (!joined)
    result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  if (result)
    drop_graph(c);  // the caller's too, if it was captured into (seen on a real driver)
  else
    *out = c->graph;
  return result;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* out) {
  VGPU_API(StreamIsCapturing, kSafe, kCtx);
  VGPU_RESOLVE(s, stream);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  if (s == &device().legacy) {
    for (const CaptureRef& c : device().captures) {
      for (CUstream t : c->streams) {
        // Documented: refused, but the blocking stream's capture is not invalidated.
        VGPU_NEED(!alive(t) || t->capture != c || (t->flags & CU_STREAM_NON_BLOCKING),
                  CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
      }
    }
  }
  *out = !s->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
         : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* state, cuuint64_t* id,
                                CUgraph* graph, const CUgraphNode** nodes,
                                const CUgraphEdgeData** edges, size_t* count) {
  VGPU_API(StreamGetCaptureInfo, kSafe, kCtx);
  VGPU_RESOLVE(s, stream);
  VGPU_NEED(state && (!edges || nodes), CUDA_ERROR_INVALID_VALUE);
  *state = !s->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
           : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                 : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (*state != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  s->front_nodes.clear();
  s->front_edges.clear();
  for (const GraphDep& d : s->front) {
    VGPU_NEED(!nodes || edges || is_default(d.edge), CUDA_ERROR_LOSSY_QUERY);
    s->front_nodes.push_back(d.node);
    s->front_edges.push_back(d.edge);
  }
  if (id) *id = s->capture->id;
  if (graph) *graph = s->capture->graph;
  if (nodes) *nodes = s->front_nodes.data();
  if (edges) *edges = s->front_edges.data();
  if (count) *count = s->front_nodes.size();
  return CUDA_SUCCESS;
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode* nodes,
                                           const CUgraphEdgeData* edges, size_t count,
                                           unsigned flags) {
  VGPU_API(StreamUpdateCaptureDependencies, kSafe, kCtx);
  VGPU_RESOLVE(s, stream);
  VGPU_NEED(s->capture, CUDA_ERROR_ILLEGAL_STATE);
  VGPU_NEED(!s->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  VGPU_NEED(flags <= CU_STREAM_SET_CAPTURE_DEPENDENCIES && (nodes || !count),
            CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) {
    VGPU_NEED(alive(nodes[i]) && nodes[i]->owner == s->capture->graph, CUDA_ERROR_INVALID_VALUE);
  }
  if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) s->front.clear();
  for (size_t i = 0; i < count; ++i) {
    s->front.push_back({nodes[i], edges ? edges[i] : Edge{}});
  }
  return CUDA_SUCCESS;
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  VGPU_API(ThreadExchangeStreamCaptureMode, kSafe, kNothing);
  VGPU_NEED(mode && *mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE);
  std::swap(*mode, thread_mode());
  return CUDA_SUCCESS;
}

}  // extern "C"
