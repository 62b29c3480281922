// Executable graphs: instantiation, launch, updates.
#include <algorithm>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

using Tail = std::vector<std::pair<size_t, bool>>;  // nodes to wait for; programmatic edges

// Appends the nodes of `g`, children opened up, in topological order to `exec`; false if there is
// a cycle. `ends` receives what has finished when the whole graph has.
bool flatten(const CUgraph_st& g, const Tail& entry, CUgraphExec exec, Tail* ends) {
  std::unordered_map<const CUgraphNode_st*, Tail> done;
  done.reserve(g.nodes.size());
  while (done.size() < g.nodes.size()) {
    const size_t before = done.size();
    for (const auto& n : g.nodes) {
      const auto finished = [&](const GraphDep& d) { return done.count(d.node) != 0; };
      if (done.count(n.get()) || !std::all_of(n->deps.begin(), n->deps.end(), finished)) continue;
      Tail deps = n->deps.empty() ? entry : Tail{};
      for (const GraphDep& d : n->deps) {
        for (const auto& [index, _] : done[d.node]) {
          deps.push_back({index, d.edge.from_port != CU_GRAPH_KERNEL_NODE_PORT_DEFAULT});
        }
      }
      Tail tail;
      if (n->child) {
        if (!flatten(*n->child, deps, exec, &tail)) return false;
        if (tail.empty()) tail = deps;  // an empty child only passes the order on
      } else {
        tail = {{exec->nodes.size(), false}};
        exec->index[n.get()] = exec->nodes.size();
        exec->nodes.push_back({n.get(), std::make_shared<const Work>(n->work), true, deps});
      }
      done[n.get()] = tail;
    }
    if (done.size() == before) return false;
  }
  for (const auto& n : g.nodes)
    ends->insert(ends->end(), done[n.get()].begin(), done[n.get()].end());
  return true;
}

constexpr unsigned long long kKnownFlags = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH |
                                           CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD |
                                           CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;

CUgraphExec_st::Node* find(CUgraphExec e, CUgraphNode n, CUgraphNodeType type) {
  const auto found = e->index.find(n);
  if (found == e->index.end() || !alive(n)) return nullptr;
  auto& node = e->nodes[found->second];
  return node.work->type == type ? &node : nullptr;
}

// Replaces the node's work; launches already queued keep the old one.
void replace(CUgraphExec_st::Node* node, Work work) {
  node->work = std::make_shared<const Work>(std::move(work));
}

bool same_shape(const CUDA_MEMCPY3D& a, const CUDA_MEMCPY3D& b) {
  return a.srcMemoryType == b.srcMemoryType && a.dstMemoryType == b.dstMemoryType &&
         a.Height == 1 && b.Height == 1;
}

CUgraphExecUpdateResult compare(CUgraphExec e, const CUgraph_st& g, CUgraphNode* blame,
                                CUgraphExec fresh) {
  Tail ends;
  if (!flatten(g, {}, fresh, &ends) || fresh->nodes.size() != e->nodes.size()) {
    return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  }
  for (size_t i = 0; i < e->nodes.size(); ++i) {
    *blame = fresh->nodes[i].key;
    const Work &old = *e->nodes[i].work, &now = *fresh->nodes[i].work;
    if (e->nodes[i].deps != fresh->nodes[i].deps)
      return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    if (old.type != now.type) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
    if (old.type == CU_GRAPH_NODE_TYPE_MEMCPY && !same_shape(old.copy, now.copy)) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED;
    }
  }
  *blame = nullptr;
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

}  // namespace
}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuGraphInstantiateWithParams(CUgraphExec* out, CUgraph g,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
  if (params) {
    params->hErrNode_out = nullptr;
    params->result_out = CUDA_GRAPH_INSTANTIATE_ERROR;
  }
  VGPU_API(GraphInstantiateWithParams, kUnsafe, kCurrent);
  VGPU_NEED(out && params && alive(g), CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED((params->flags & ~kKnownFlags) == 0, CUDA_ERROR_INVALID_VALUE);
  const bool memory = has_memory_nodes(*g);
  VGPU_NEED(!memory || g->memory_execs == 0, CUDA_ERROR_NOT_SUPPORTED);
  auto exec = std::make_unique<CUgraphExec_st>();
  Tail ends;
  if (!flatten(*g, {}, exec.get(), &ends)) {
    params->result_out = CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    return CUDA_ERROR_INVALID_VALUE;
  }
  exec->source = g;
  exec->flags = params->flags;
  exec->has_memory = memory;
  if (memory) ++g->memory_execs;
  params->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
  *out = enlist(exec.release());
  return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec e) {
  VGPU_ENTER(GraphExecDestroy, kSafe, kInit);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  if (e->has_memory && alive(e->source)) --e->source->memory_execs;
  e->nodes.clear();
  discard(e);  // work in flight has its own references
  return status;
}

CUresult cuGraphUpload(CUgraphExec e, CUstream given) {
  VGPU_API(GraphUpload, kSafe, kCtx);
  VGPU_RESOLVE(s, given);
  VGPU_NEED(s && alive(e), CUDA_ERROR_INVALID_HANDLE);
  if (s->capture) return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  return use(s);
}

CUresult cuGraphLaunch(CUgraphExec e, CUstream given) {
  VGPU_API(GraphLaunch, kSafe, kCtx);
  VGPU_RESOLVE(s, given);
  VGPU_NEED(s && alive(e), CUDA_ERROR_INVALID_HANDLE);
  if (s->capture) return invalidate(s->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  if (const CUresult r = use(s)) return r;
  if (device().options.null_device) return CUDA_SUCCESS;
  const bool frees = std::any_of(e->nodes.begin(), e->nodes.end(), [](const auto& n) {
    return n.work->type == CU_GRAPH_NODE_TYPE_MEM_FREE;
  });
  // Documented: allocations must be freed before the graph is launched again.
  VGPU_NEED(!e->has_memory || frees || !e->memory_live ||
                (e->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH),
            CUDA_ERROR_INVALID_VALUE);
  e->memory_live = e->has_memory;
  return submit_graph(e, s);
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode n,
                                        const CUDA_KERNEL_NODE_PARAMS* p) {
  VGPU_API(GraphExecKernelNodeSetParams, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  auto* const node = find(e, n, CU_GRAPH_NODE_TYPE_KERNEL);
  VGPU_NEED(node && p, CUDA_ERROR_INVALID_VALUE);
  Work w = *node->work;
  if (const CUresult r = make_launch(&w.launch, as_kernel(p->func, p->kern),
                                     {p->gridDimX, p->gridDimY, p->gridDimZ},
                                     {p->blockDimX, p->blockDimY, p->blockDimZ}, p->sharedMemBytes,
                                     p->kernelParams, p->extra)) {
    return r;
  }
  replace(node, std::move(w));
  return CUDA_SUCCESS;
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec e, CUgraphNode n, const CUDA_MEMCPY3D* p,
                                        CUcontext) {
  VGPU_API(GraphExecMemcpyNodeSetParams, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  auto* const node = find(e, n, CU_GRAPH_NODE_TYPE_MEMCPY);
  VGPU_NEED(node && p, CUDA_ERROR_INVALID_VALUE);
  if (const CUresult r = check_copy(*p)) return r;
  VGPU_NEED(same_shape(node->work->copy, *p), CUDA_ERROR_INVALID_VALUE);
  Work w = *node->work;
  w.copy = *p;
  replace(node, std::move(w));
  return CUDA_SUCCESS;
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec e, CUgraphNode n,
                                        const CUDA_MEMSET_NODE_PARAMS* p, CUcontext) {
  VGPU_API(GraphExecMemsetNodeSetParams, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  auto* const node = find(e, n, CU_GRAPH_NODE_TYPE_MEMSET);
  VGPU_NEED(node && p, CUDA_ERROR_INVALID_VALUE);
  if (const CUresult r = check_fill(*p)) return r;
  const auto& old = node->work->fill;
  VGPU_NEED(old.height == p->height &&
                (p->height == 1 || (old.width == p->width && old.elementSize == p->elementSize)),
            CUDA_ERROR_INVALID_VALUE);
  Work w = *node->work;
  w.fill = *p;
  replace(node, std::move(w));
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate(CUgraphExec e, CUgraph g, CUgraphExecUpdateResultInfo* info) {
  VGPU_API(GraphExecUpdate, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  VGPU_NEED(alive(g) && info && !g->capture, CUDA_ERROR_INVALID_VALUE);
  CUgraphExec_st fresh;
  *info = {};
  info->result = compare(e, *g, &info->errorNode, &fresh);
  VGPU_NEED(info->result == CU_GRAPH_EXEC_UPDATE_SUCCESS, CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  for (size_t i = 0; i < e->nodes.size(); ++i) replace(&e->nodes[i], Work(*fresh.nodes[i].work));
  return CUDA_SUCCESS;
}

static CUgraphExec_st::Node* switchable(CUgraphExec e, CUgraphNode n) {
  for (const auto type :
       {CU_GRAPH_NODE_TYPE_KERNEL, CU_GRAPH_NODE_TYPE_MEMCPY, CU_GRAPH_NODE_TYPE_MEMSET}) {
    if (auto* const node = find(e, n, type)) return node;
  }
  return nullptr;
}

CUresult cuGraphNodeSetEnabled(CUgraphExec e, CUgraphNode n, unsigned enabled) {
  VGPU_API(GraphNodeSetEnabled, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  auto* const node = switchable(e, n);
  VGPU_NEED(node, CUDA_ERROR_INVALID_VALUE);
  node->enabled = enabled != 0;
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetEnabled(CUgraphExec e, CUgraphNode n, unsigned* out) {
  VGPU_API(GraphNodeGetEnabled, kSafe, kCtx);
  VGPU_NEED(alive(e), CUDA_ERROR_INVALID_HANDLE);
  auto* const node = switchable(e, n);
  VGPU_NEED(node && out, CUDA_ERROR_INVALID_VALUE);
  *out = node->enabled ? 1 : 0;
  return CUDA_SUCCESS;
}

}  // extern "C"
