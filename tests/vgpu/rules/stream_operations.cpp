// Calls on streams, captures and events.
#include <stdexcept>

#include "tests/vgpu/rules/vocabulary.h"

namespace vgpu_rules {
namespace {

using O = Objects;
using W = Words;
using V = std::string;

CUstreamCaptureMode mode_of(const std::string& word) {
  if (word == "global") return CU_STREAM_CAPTURE_MODE_GLOBAL;
  if (word == "local") return CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  if (word == "relaxed") return CU_STREAM_CAPTURE_MODE_RELAXED;
  throw std::runtime_error("no capture mode " + word);
}
std::string mode_name(CUstreamCaptureMode mode) {
  return mode == CU_STREAM_CAPTURE_MODE_GLOBAL         ? "global"
         : mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ? "local"
                                                       : "relaxed";
}
std::string status_name(CUstreamCaptureStatus status) {
  return status == CU_STREAM_CAPTURE_STATUS_NONE     ? "none"
         : status == CU_STREAM_CAPTURE_STATUS_ACTIVE ? "active"
                                                     : "invalidated";
}

const Named kStreamOperations[] = {
    {"begin",
     [](O& o, const W& a, V*) {
       return o.cu.StreamBeginCapture.raw(o.get(o.streams, a.at(0)), mode_of(a.at(1)));
     }},
    {"beginto",
     [](O& o, const W& a, V*) {
       std::vector<CUgraphNode> after;
       for (std::size_t i = 3; i < a.size(); ++i) after.push_back(o.get(o.nodes, a[i]));
       return o.cu.StreamBeginCaptureToGraph.raw(o.get(o.streams, a.at(0)),
                                                 o.get(o.graphs, a.at(1)), after.data(), nullptr,
                                                 after.size(), mode_of(a.at(2)));
     }},
    {"end",
     [](O& o, const W& a, V* value) {
       CUgraph graph = reinterpret_cast<CUgraph>(1);
       const CUresult r = o.cu.StreamEndCapture.raw(o.get(o.streams, a.at(0)), &graph);
       *value = graph ? "graph" : "null";
       if (r == CUDA_SUCCESS) o.graphs[a.size() > 1 ? a[1] : "captured"] = graph;
       return r;
     }},
    {"status",
     [](O& o, const W& a, V* value) {
       CUstreamCaptureStatus status{};
       const CUresult r = o.cu.StreamIsCapturing.raw(o.get(o.streams, a.at(0)), &status);
       *value = status_name(status);
       return r;
     }},
    {"info",
     [](O& o, const W& a, V* value) {  // status:dependencies; "lossy": without edges
       CUstreamCaptureStatus status{};
       cuuint64_t id = 0;
       CUgraph graph = nullptr;
       const CUgraphNode* deps = nullptr;
       const CUgraphEdgeData* edges = nullptr;
       std::size_t n = 0;
       const bool lossy = a.size() > 1 && a[1] == "lossy";
       const CUresult r = o.cu.StreamGetCaptureInfo.raw(
           o.get(o.streams, a.at(0)), &status, &id, &graph, &deps, lossy ? nullptr : &edges, &n);
       *value = status_name(status) + ":" + std::to_string(n);
       return r;
     }},
    {"setdeps",
     [](O& o, const W& a, V*) {
       std::vector<CUgraphNode> deps;
       for (std::size_t i = 1; i < a.size(); ++i) deps.push_back(o.get(o.nodes, a[i]));
       return o.cu.StreamUpdateCaptureDependencies.raw(o.get(o.streams, a.at(0)), deps.data(),
                                                       nullptr, deps.size(),
                                                       CU_STREAM_SET_CAPTURE_DEPENDENCIES);
     }},
    {"exchange",
     [](O& o, const W& a, V* value) {
       CUstreamCaptureMode mode = mode_of(a.at(0));
       const CUresult r = o.cu.ThreadExchangeStreamCaptureMode.raw(&mode);
       *value = mode_name(mode);
       return r;
     }},
    {"sync",
     [](O& o, const W& a, V*) { return o.cu.StreamSynchronize.raw(o.get(o.streams, a.at(0))); }},
    {"query", [](O& o, const W& a, V*) { return o.cu.StreamQuery.raw(o.get(o.streams, a.at(0))); }},
    {"ctxsync", [](O& o, const W&, V*) { return o.cu.CtxSynchronize.raw(); }},
    {"priority",
     [](O& o, const W& a, V* value) {
       int priority = 0;
       const CUresult r = o.cu.StreamGetPriority.raw(o.get(o.streams, a.at(0)), &priority);
       *value = std::to_string(priority);
       return r;
     }},
    {"priorities",
     [](O& o, const W&, V* value) {
       int least = 1, greatest = 1;
       const CUresult r = o.cu.CtxGetStreamPriorityRange.raw(&least, &greatest);
       *value = std::to_string(least) + ":" + std::to_string(greatest);
       return r;
     }},
    {"screate",
     [](O& o, const W& a, V*) {
       CUstream s = nullptr;
       const CUresult r = o.cu.StreamCreate.raw(&s, static_cast<unsigned>(std::stoul(a.at(1))));
       if (r == CUDA_SUCCESS) o.streams[a[0]] = s;
       return r;
     }},
    {"sdestroy",
     [](O& o, const W& a, V*) {
       return forget(o.streams, a.at(0), o.cu.StreamDestroy.raw(o.get(o.streams, a[0])));
     }},
    {"stale_sdestroy",
     [](O& o, const W& a, V*) {  // destroys twice
       const CUstream s = o.get(o.streams, a.at(0));
       o.cu.StreamDestroy.raw(s);
       o.streams.erase(a[0]);
       return o.cu.StreamDestroy.raw(s);
     }},
    {"ecreate",
     [](O& o, const W& a, V*) {
       CUevent e = nullptr;
       const CUresult r = o.cu.EventCreate.raw(&e, static_cast<unsigned>(std::stoul(a.at(1))));
       if (r == CUDA_SUCCESS) o.events[a[0]] = e;
       return r;
     }},
    {"record",
     [](O& o, const W& a, V*) {
       return o.cu.EventRecord.raw(o.get(o.events, a.at(0)), o.get(o.streams, a.at(1)));
     }},
    {"wait",
     [](O& o, const W& a, V*) {
       return o.cu.StreamWaitEvent.raw(o.get(o.streams, a.at(0)), o.get(o.events, a.at(1)), 0);
     }},
    {"equery", [](O& o, const W& a, V*) { return o.cu.EventQuery.raw(o.get(o.events, a.at(0))); }},
    {"esync",
     [](O& o, const W& a, V*) { return o.cu.EventSynchronize.raw(o.get(o.events, a.at(0))); }},
    {"elapsed",
     [](O& o, const W& a, V*) {
       float ms = 0;
       return o.cu.EventElapsedTime.raw(&ms, o.get(o.events, a.at(0)), o.get(o.events, a.at(1)));
     }},
};

}  // namespace

std::span<const Named> stream_operations() {
  return kStreamOperations;
}

}  // namespace vgpu_rules
