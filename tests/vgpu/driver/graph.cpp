// Graphs: nodes, edges, their data, clones.
#include <algorithm>
#include <cstring>

#include "tests/vgpu/driver/device.h"

namespace vgpu {
namespace {

bool owns(CUgraph g, CUgraphNode n) {
  return alive(n) && n->owner == g;
}

Deps::iterator find_dep(CUgraphNode to, CUgraphNode from) {
  return std::find_if(to->deps.begin(), to->deps.end(),
                      [&](const GraphDep& d) { return d.node == from; });
}

CUresult read_deps(CUgraph g, const CUgraphNode* nodes, const CUgraphEdgeData* edges, size_t count,
                   CUgraphNodeType to, Deps* out) {
  VGPU_NEED(nodes || !count, CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) {
    VGPU_NEED(owns(g, nodes[i]), CUDA_ERROR_INVALID_VALUE);
    VGPU_NEED(std::find(nodes, nodes + i, nodes[i]) == nodes + i, CUDA_ERROR_INVALID_VALUE);
    const Edge edge = edges ? edges[i] : Edge{};
    if (const CUresult r = check_edge(nodes[i], to, edge)) return r;
    out->push_back({nodes[i], edge});
  }
  return CUDA_SUCCESS;
}

template <class T>
bool zero_after(const CUgraphNodeParams& p, const T& member) {
  const auto* const end = reinterpret_cast<const char*>(&p.reserved2);
  const auto* const from = reinterpret_cast<const char*>(&member) + sizeof(T);
  return std::all_of(from, end, [](char c) { return c == 0; });
}

template <class P>
CUresult read_kernel(const P& p, Work* w) {
  return make_launch(&w->launch, as_kernel(p.func, p.kern), {p.gridDimX, p.gridDimY, p.gridDimZ},
                     {p.blockDimX, p.blockDimY, p.blockDimZ}, p.sharedMemBytes, p.kernelParams,
                     p.extra);
}

CUresult read_params(CUgraph g, const CUgraphNodeParams& p, Work* w) {
  VGPU_NEED(!p.reserved0[0] && !p.reserved0[1] && !p.reserved0[2] && !p.reserved2,
            CUDA_ERROR_INVALID_VALUE);
  w->type = p.type;
  switch (p.type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      VGPU_NEED(zero_after(p, p.kernel), CUDA_ERROR_INVALID_VALUE);
      return read_kernel(p.kernel, w);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      VGPU_NEED(zero_after(p, p.memcpy), CUDA_ERROR_INVALID_VALUE);
      return check_copy(w->copy = p.memcpy.copyParams);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      VGPU_NEED(zero_after(p, p.memset), CUDA_ERROR_INVALID_VALUE);
      w->fill = {p.memset.dst,         p.memset.pitch, p.memset.value,
                 p.memset.elementSize, p.memset.width, p.memset.height};
      return check_fill(w->fill);
    case CU_GRAPH_NODE_TYPE_HOST:
      VGPU_NEED(p.host.fn, CUDA_ERROR_INVALID_VALUE);
      w->host = {p.host.fn, p.host.userData};
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_GRAPH:
      VGPU_NEED(alive(p.graph.graph) && p.graph.graph != g, CUDA_ERROR_INVALID_VALUE);
      VGPU_NEED(!has_memory_nodes(*p.graph.graph), CUDA_ERROR_NOT_SUPPORTED);
      VGPU_NEED(!p.graph.graph->embedded, CUDA_ERROR_NOT_SUPPORTED);
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

// A copy of the launch whose pointers into its own blob a client may read.
void give_params(CUgraphNode n, CUDA_KERNEL_NODE_PARAMS* out) {
  Launch& l = n->work.launch;
  l.pointers.clear();
  for (uint32_t i = 0; i < l.kernel->param_count(); ++i) {
    l.pointers.push_back(l.blob.data() + l.kernel->param(i).offset);
  }
  *out = {};
  out->func = reinterpret_cast<CUfunction>(l.kernel);
  out->gridDimX = l.grid.x;
  out->gridDimY = l.grid.y;
  out->gridDimZ = l.grid.z;
  out->blockDimX = l.block.x;
  out->blockDimY = l.block.y;
  out->blockDimZ = l.block.z;
  out->sharedMemBytes = l.shared_bytes;
  out->kernelParams = l.pointers.data();
}

#define VGPU_NODE(n, kind) \
  VGPU_NEED(alive(n) && n->work.type == CU_GRAPH_NODE_TYPE_##kind, CUDA_ERROR_INVALID_VALUE)

}  // namespace

CUgraphNode add_node(CUgraph graph, Deps deps, Work work) {
  auto& n = graph->nodes.emplace_back(std::make_unique<CUgraphNode_st>());
  n->owner = graph;
  n->id = device().next_id++;
  n->deps = std::move(deps);
  n->work = std::move(work);
  return enlist(n.get());
}

std::unique_ptr<CUgraph_st> clone(const CUgraph_st& graph, bool embedded) {
  auto copy = std::make_unique<CUgraph_st>();
  copy->embedded = embedded;
  if (embedded) enlist(copy.get());
  for (const auto& n : graph.nodes) {
    CUgraphNode const twin = add_node(copy.get(), {}, n->work);
    twin->attributes = n->attributes;
    if (n->child) twin->child = clone(*n->child, true);
    copy->clone_of[n.get()] = twin;
  }
  for (const auto& n : graph.nodes) {
    for (const GraphDep& d : n->deps) {
      copy->clone_of[n.get()]->deps.push_back({copy->clone_of[d.node], d.edge});
    }
  }
  return copy;
}

bool has_memory_nodes(const CUgraph_st& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const auto& n) {
    return n->work.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
           n->work.type == CU_GRAPH_NODE_TYPE_MEM_FREE;
  });
}

CUresult check_edge(const CUgraphNode_st* from, CUgraphNodeType to, const Edge& edge) {
  const bool zero = std::all_of(std::begin(edge.reserved), std::end(edge.reserved),
                                [](unsigned char c) { return c == 0; });
  VGPU_NEED(zero && edge.to_port == 0, CUDA_ERROR_INVALID_VALUE);
  if (edge.type == CU_GRAPH_DEPENDENCY_TYPE_DEFAULT) {
    // A real driver takes the launch-order port with the default type, between kernels.
    VGPU_NEED(edge.from_port == CU_GRAPH_KERNEL_NODE_PORT_DEFAULT ||
                  (edge.from_port == CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER &&
                   from->work.type == CU_GRAPH_NODE_TYPE_KERNEL && to == CU_GRAPH_NODE_TYPE_KERNEL),
              CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
  }
  // Documented: only between kernel nodes, with the programmatic or the launch-order port.
  VGPU_NEED(edge.type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(from->work.type == CU_GRAPH_NODE_TYPE_KERNEL && to == CU_GRAPH_NODE_TYPE_KERNEL,
            CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(edge.from_port == CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC ||
                edge.from_port == CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER,
            CUDA_ERROR_INVALID_VALUE);
  return CUDA_SUCCESS;
}

}  // namespace vgpu

using namespace vgpu;
extern "C" {

CUresult cuGraphCreate(CUgraph* out, unsigned flags) {
  VGPU_API(GraphCreate, kSafe, kInit);
  VGPU_NEED(out && !flags, CUDA_ERROR_INVALID_VALUE);
  *out = enlist(new CUgraph_st);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph g) {
  VGPU_ENTER(GraphDestroy, kSafe, kInit);
  VGPU_NEED(alive(g) && !g->embedded, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!g->capture, CUDA_ERROR_ILLEGAL_STATE);
  g->retire();
  discard(g);
  return status;
}

CUresult cuGraphAddNode(CUgraphNode* out, CUgraph g, const CUgraphNode* nodes,
                        const CUgraphEdgeData* edges, size_t count, CUgraphNodeParams* params) {
  VGPU_API(GraphAddNode, kSafe, kCtx);
  VGPU_NEED(out && alive(g) && params, CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(params->type != CU_GRAPH_NODE_TYPE_KERNEL || current_context(),
            CUDA_ERROR_INVALID_CONTEXT);
  Deps deps;
  if (const CUresult r = read_deps(g, nodes, edges, count, params->type, &deps)) return r;
  Work w;
  if (const CUresult r = read_params(g, *params, &w)) return r;
  *out = add_node(g, std::move(deps), std::move(w));
  if (params->type == CU_GRAPH_NODE_TYPE_GRAPH) (*out)->child = clone(*params->graph.graph, true);
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroyNode(CUgraphNode n) {
  VGPU_API(GraphDestroyNode, kSafe, kInit);
  VGPU_NEED(alive(n) && !has_memory_nodes(*n->owner), CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!n->owner->capture, CUDA_ERROR_ILLEGAL_STATE);
  for (const auto& other : n->owner->nodes) {
    std::erase_if(other->deps, [&](const GraphDep& d) { return d.node == n; });
  }
  device().live.erase(n);
  if (n->child) n->child->retire();
  auto& all = n->owner->nodes;
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& m) { return m.get() == n; });
  bury(std::shared_ptr<CUgraphNode_st>(std::move(*it)));
  all.erase(it);
  return CUDA_SUCCESS;
}

CUresult cuGraphAddDependencies(CUgraph g, const CUgraphNode* from, const CUgraphNode* to,
                                const CUgraphEdgeData* edges, size_t count) {
  VGPU_API(GraphAddDependencies, kSafe, kInit);
  VGPU_NEED(alive(g) && (!count || (from && to)), CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) {
    VGPU_NEED(owns(g, from[i]) && owns(g, to[i]) && from[i] != to[i], CUDA_ERROR_INVALID_VALUE);
    VGPU_NEED(find_dep(to[i], from[i]) == to[i]->deps.end(), CUDA_ERROR_INVALID_VALUE);
    if (edges) {
      if (const CUresult r = check_edge(from[i], to[i]->work.type, edges[i])) return r;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    to[i]->deps.push_back({from[i], edges ? edges[i] : Edge{}});
  }
  return CUDA_SUCCESS;
}

CUresult cuGraphRemoveDependencies(CUgraph g, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData* edges, size_t count) {
  VGPU_API(GraphRemoveDependencies, kSafe, kInit);
  VGPU_NEED(alive(g) && (!count || (from && to)), CUDA_ERROR_INVALID_VALUE);
  for (size_t i = 0; i < count; ++i) {
    VGPU_NEED(owns(g, from[i]) && owns(g, to[i]), CUDA_ERROR_INVALID_VALUE);
    const auto it = find_dep(to[i], from[i]);
    VGPU_NEED(it != to[i]->deps.end() && same(it->edge, edges ? edges[i] : Edge{}),
              CUDA_ERROR_INVALID_VALUE);
  }
  for (size_t i = 0; i < count; ++i) to[i]->deps.erase(find_dep(to[i], from[i]));
  return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph g, CUgraphNode* out, size_t* count) {
  VGPU_API(GraphGetNodes, kSafe, kInit);
  VGPU_NEED(alive(g) && count, CUDA_ERROR_INVALID_VALUE);
  const size_t room = *count, n = g->nodes.size();
  if (out) {
    for (size_t i = 0; i < room; ++i) out[i] = i < n ? g->nodes[i].get() : nullptr;
  }
  *count = out ? std::min(room, n) : n;
  return CUDA_SUCCESS;
}

CUresult cuGraphGetEdges(CUgraph g, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edges,
                         size_t* count) {
  VGPU_API(GraphGetEdges, kSafe, kInit);
  VGPU_NEED(alive(g) && count && !from == !to && (from || !edges), CUDA_ERROR_INVALID_VALUE);
  size_t n = 0;
  const size_t room = *count;
  for (const auto& node : g->nodes) {
    for (const GraphDep& d : node->deps) {
      VGPU_NEED(edges || !from || is_default(d.edge), CUDA_ERROR_LOSSY_QUERY);
      if (from && n < room) {
        from[n] = d.node;
        to[n] = node.get();
        if (edges) edges[n] = d.edge;
      }
      ++n;
    }
  }
  for (size_t i = n; from && i < room; ++i) from[i] = to[i] = nullptr;
  *count = from ? std::min(room, n) : n;
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeGetType(CUgraphNode n, CUgraphNodeType* out) {
  VGPU_API(GraphNodeGetType, kSafe, kInit);
  VGPU_NEED(alive(n) && out, CUDA_ERROR_INVALID_VALUE);
  *out = n->work.type;
  return CUDA_SUCCESS;
}

CUresult cuGraphClone(CUgraph* out, CUgraph g) {
  VGPU_API(GraphClone, kSafe, kInit);
  VGPU_NEED(out && alive(g), CUDA_ERROR_INVALID_VALUE);
  VGPU_NEED(!has_memory_nodes(*g), CUDA_ERROR_NOT_SUPPORTED);
  *out = enlist(clone(*g, false).release());
  return CUDA_SUCCESS;
}

CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode original, CUgraph copy) {
  VGPU_API(GraphNodeFindInClone, kSafe, kInit);
  VGPU_NEED(out && alive(copy), CUDA_ERROR_INVALID_VALUE);
  const auto found = copy->clone_of.find(original);
  VGPU_NEED(found != copy->clone_of.end() && alive(found->second), CUDA_ERROR_INVALID_VALUE);
  *out = found->second;
  return CUDA_SUCCESS;
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode n, CUgraph* out) {
  VGPU_API(GraphChildGraphNodeGetGraph, kSafe, kInit);
  VGPU_NODE(n, GRAPH);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = n->child.get();
  return CUDA_SUCCESS;
}

// ---- node parameters ----
CUresult cuGraphKernelNodeGetParams(CUgraphNode n, CUDA_KERNEL_NODE_PARAMS* out) {
  VGPU_API(GraphKernelNodeGetParams, kSafe, kInit);
  VGPU_NODE(n, KERNEL);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  give_params(n, out);
  return CUDA_SUCCESS;
}
CUresult cuGraphKernelNodeSetParams(CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS* p) {
  VGPU_API(GraphKernelNodeSetParams, kSafe, kCtx);
  VGPU_NODE(n, KERNEL);
  VGPU_NEED(p, CUDA_ERROR_INVALID_VALUE);
  Work w;
  w.type = CU_GRAPH_NODE_TYPE_KERNEL;
  if (const CUresult r = read_kernel(*p, &w)) return r;
  n->work = std::move(w);
  return CUDA_SUCCESS;
}
CUresult cuGraphKernelNodeGetAttribute(CUgraphNode n, CUkernelNodeAttrID which,
                                       CUkernelNodeAttrValue* out) {
  VGPU_API(GraphKernelNodeGetAttribute, kSafe, kInit);
  VGPU_NODE(n, KERNEL);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  const auto found = n->attributes.find(which);
  if (found != n->attributes.end())
    *out = found->second;
  else
    *out = {};
  return CUDA_SUCCESS;
}
CUresult cuGraphKernelNodeSetAttribute(CUgraphNode n, CUkernelNodeAttrID which,
                                       const CUkernelNodeAttrValue* value) {
  VGPU_API(GraphKernelNodeSetAttribute, kSafe, kInit);
  VGPU_NODE(n, KERNEL);
  VGPU_NEED(value, CUDA_ERROR_INVALID_VALUE);
  n->attributes[which] = *value;
  return CUDA_SUCCESS;
}
CUresult cuGraphMemcpyNodeGetParams(CUgraphNode n, CUDA_MEMCPY3D* out) {
  VGPU_API(GraphMemcpyNodeGetParams, kSafe, kInit);
  VGPU_NODE(n, MEMCPY);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = n->work.copy;
  return CUDA_SUCCESS;
}
CUresult cuGraphMemcpyNodeSetParams(CUgraphNode n, const CUDA_MEMCPY3D* p) {
  VGPU_API(GraphMemcpyNodeSetParams, kSafe, kInit);
  VGPU_NODE(n, MEMCPY);
  VGPU_NEED(p, CUDA_ERROR_INVALID_VALUE);
  if (const CUresult r = check_copy(*p)) return r;
  n->work.copy = *p;
  return CUDA_SUCCESS;
}
CUresult cuGraphMemsetNodeGetParams(CUgraphNode n, CUDA_MEMSET_NODE_PARAMS* out) {
  VGPU_API(GraphMemsetNodeGetParams, kSafe, kInit);
  VGPU_NODE(n, MEMSET);
  VGPU_NEED(out, CUDA_ERROR_INVALID_VALUE);
  *out = n->work.fill;
  return CUDA_SUCCESS;
}
CUresult cuGraphMemsetNodeSetParams(CUgraphNode n, const CUDA_MEMSET_NODE_PARAMS* p) {
  VGPU_API(GraphMemsetNodeSetParams, kSafe, kInit);
  VGPU_NODE(n, MEMSET);
  VGPU_NEED(p, CUDA_ERROR_INVALID_VALUE);
  if (const CUresult r = check_fill(*p)) return r;
  n->work.fill = *p;
  return CUDA_SUCCESS;
}

CUresult cuGraphDebugDotPrint(CUgraph g, const char* path, unsigned) {
  VGPU_API(GraphDebugDotPrint, kSafe, kInit);
  VGPU_NEED(alive(g) && path, CUDA_ERROR_INVALID_VALUE);
  std::FILE* const f = std::fopen(path, "w");
  VGPU_NEED(f, CUDA_ERROR_OPERATING_SYSTEM);
  std::map<const CUgraphNode_st*, size_t> number;
  std::fprintf(f, "digraph dot {\n");
  for (const auto& n : g->nodes) {
    const size_t i = number.emplace(n.get(), number.size()).first->second;
    const bool kernel = n->work.type == CU_GRAPH_NODE_TYPE_KERNEL;
    std::fprintf(f, "n%zu [label=\"%s\"];\n", i,
                 kernel ? n->work.launch.kernel->name()
                        : std::to_string(static_cast<int>(n->work.type)).c_str());
  }
  for (const auto& n : g->nodes) {
    for (const GraphDep& d : n->deps) {
      std::fprintf(f, "n%zu -> n%zu%s;\n", number[d.node], number[n.get()],
                   is_default(d.edge) ? "" : " [style=dashed]");
    }
  }
  std::fprintf(f, "}\n");
  return std::fclose(f) == 0 ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // extern "C"
