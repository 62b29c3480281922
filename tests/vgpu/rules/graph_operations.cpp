// Calls on graphs, executable graphs, kernels and contexts.
#include <stdexcept>

#include "tests/vgpu/rules/vocabulary.h"

namespace vgpu_rules {
namespace {

using O = Objects;
using W = Words;
using V = std::string;

CUgraphEdgeData edge_of(const std::string& word) {
  CUgraphEdgeData edge{};
  if (word == "programmatic" || word == "launch_order" || word == "programmatic_default_port") {
    edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
  }
  if (word == "programmatic" || word == "default_programmatic_port") {
    edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
  }
  if (word == "launch_order" || word == "default_launch_order_port") {
    edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_LAUNCH_ORDER;
  }
  if (word == "bad_from_port") edge.from_port = 9;
  if (word == "bad_to_port") edge.to_port = 1;
  if (word == "reserved") edge.reserved[0] = 1;
  return edge;
}

CUgraphNodeParams params_of(Objects& o, const std::string& kind) {
  CUgraphNodeParams p{};
  if (kind == "kernel" || kind == "kernel_big_block" || kind == "kernel_no_grid") {
    p.type = CU_GRAPH_NODE_TYPE_KERNEL;
    p.kernel.kern = o.kernel;
    p.kernel.gridDimX = kind == "kernel_no_grid" ? 0 : 1;
    p.kernel.gridDimY = p.kernel.gridDimZ = p.kernel.blockDimY = p.kernel.blockDimZ = 1;
    p.kernel.blockDimX = kind == "kernel_big_block" ? 2048 : 64;
    p.kernel.kernelParams = o.params;
  } else if (kind == "memset" || kind == "memset_bad_size" || kind == "memset_empty") {
    p.type = CU_GRAPH_NODE_TYPE_MEMSET;
    p.memset.dst = o.get(o.memory, "p");
    p.memset.elementSize = kind == "memset_bad_size" ? 3 : 4;
    p.memset.width = kind == "memset_empty" ? 0 : 16;
    p.memset.height = 1;
    p.memset.pitch = 64;
  } else if (kind.rfind("memcpy", 0) == 0) {
    p.type = CU_GRAPH_NODE_TYPE_MEMCPY;
    CUDA_MEMCPY3D& c = p.memcpy.copyParams;
    c.srcMemoryType = c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    c.srcDevice = o.get(o.memory, "q");
    c.dstDevice = o.get(o.memory, "p");
    c.WidthInBytes = kind == "memcpy_beyond"  ? std::size_t(1) << 40
                     : kind == "memcpy_empty" ? 0
                                              : 64;
    c.Height = c.Depth = 1;
    if (kind == "memcpy_pinned" || kind == "memcpy_pageable") {
      c.srcMemoryType = CU_MEMORYTYPE_HOST;
      c.srcHost = kind == "memcpy_pinned" ? o.get(o.pinned, "m") : o.host.data();
    }
  } else if (kind == "host") {
    p.type = CU_GRAPH_NODE_TYPE_HOST;
    p.host.fn = [](void*) {};
  } else if (kind == "empty" || kind == "reserved") {
    p.type = CU_GRAPH_NODE_TYPE_EMPTY;
    if (kind == "reserved") p.reserved0[0] = 1;
  } else if (kind.rfind("child:", 0) == 0) {
    p.type = CU_GRAPH_NODE_TYPE_GRAPH;
    p.graph.graph = o.get(o.graphs, kind.substr(6));
  } else if (kind.rfind("childof:", 0) == 0) {  // what another node embeds
    p.type = CU_GRAPH_NODE_TYPE_GRAPH;
    o.cu.GraphChildGraphNodeGetGraph(o.get(o.nodes, kind.substr(8)), &p.graph.graph);
  } else {
    throw std::runtime_error("no node kind " + kind);
  }
  return p;
}

CUDA_KERNEL_NODE_PARAMS kernel_params(Objects& o, const std::string& kind) {
  const CUgraphNodeParams p = params_of(o, kind);
  CUDA_KERNEL_NODE_PARAMS k{};
  k.kern = p.kernel.kern;
  k.gridDimX = p.kernel.gridDimX;
  k.gridDimY = k.gridDimZ = k.blockDimY = k.blockDimZ = 1;
  k.blockDimX = p.kernel.blockDimX;
  k.kernelParams = o.params;
  return k;
}
CUDA_MEMSET_NODE_PARAMS memset_params(Objects& o, const std::string& kind) {
  const CUgraphNodeParams p = params_of(o, kind == "memset_2d" ? "memset" : kind);
  CUDA_MEMSET_NODE_PARAMS m{p.memset.dst,         p.memset.pitch, p.memset.value,
                            p.memset.elementSize, p.memset.width, p.memset.height};
  if (kind == "memset_2d") m.height = 2;
  return m;
}

CUresult launch(Objects& o, const Words& a) {
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  const std::string variant = a.size() > 1 ? a[1] : "";
  CUlaunchConfig c{};
  c.gridDimX = variant == "no_grid" ? 0 : 1;
  c.gridDimY = variant == "tall_grid" ? 65536 : 1;
  c.gridDimZ = c.blockDimY = c.blockDimZ = 1;
  c.blockDimX = variant == "big_block" ? 2048 : variant == "no_block" ? 0 : 64;
  c.sharedMemBytes = variant == "much_shared" ? 100 << 10 : 0;
  c.hStream = o.get(o.streams, a.at(0));
  c.attrs = &attribute;
  c.numAttrs = variant == "programmatic" ? 1 : 0;
  return o.cu.LaunchKernelEx.raw(&c, reinterpret_cast<CUfunction>(o.kernel),
                                 variant == "no_params" ? nullptr : o.params, nullptr);
}

CUresult add_node(Objects& o, const Words& a) {
  CUgraphNodeParams p = params_of(o, a.at(2));
  std::vector<CUgraphNode> after;
  for (std::size_t i = 3; i < a.size(); ++i) after.push_back(o.get(o.nodes, a[i]));
  CUgraphNode node = nullptr;
  const CUresult r = o.cu.GraphAddNode.raw(&node, o.get(o.graphs, a.at(1)), after.data(), nullptr,
                                           after.size(), &p);
  if (r == CUDA_SUCCESS) o.nodes[a[0]] = node;
  return r;
}

CUresult instantiate(Objects& o, const Words& a, std::string* value) {
  CUDA_GRAPH_INSTANTIATE_PARAMS params{};
  if (a.size() > 2 && a[2] == "auto_free")
    params.flags = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
  if (a.size() > 2 && a[2] == "priority")
    params.flags = CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  if (a.size() > 2 && a[2] == "unknown_flag") params.flags = 1u << 20;
  CUgraphExec exec = nullptr;
  const CUresult r = o.cu.GraphInstantiateWithParams.raw(&exec, o.get(o.graphs, a.at(1)), &params);
  if (r == CUDA_SUCCESS) o.execs[a[0]] = exec;
  *value = std::to_string(static_cast<int>(params.result_out));
  return r;
}

const Named kGraphOperations[] = {
    {"launch", [](O& o, const W& a, V*) { return launch(o, a); }},
    {"hostfn",
     [](O& o, const W& a, V*) {
       return o.cu.LaunchHostFunc.raw(
           o.get(o.streams, a.at(0)), [](void*) {}, nullptr);
     }},
    {"hostfn_calls",
     [](O& o, const W& a, V*) {
       const auto call = [](void* user) {
         auto* const objects = static_cast<O*>(user);
         std::size_t free = 0, total = 0;
         objects->inside = objects->cu.MemGetInfo.raw(&free, &total);
       };
       return o.cu.LaunchHostFunc.raw(o.get(o.streams, a.at(0)), call, &o);
     }},
    {"hostfn_result", [](O& o, const W&, V*) { return o.inside; }},
    {"occupancy",
     [](O& o, const W& a, V* value) {
       int blocks = 0;
       CUfunction f = nullptr;
       CUresult r = o.cu.KernelGetFunction.raw(&f, o.kernel);
       if (r == CUDA_SUCCESS) {
         r = o.cu.OccupancyMaxActiveBlocksPerMultiprocessor.raw(&blocks, f, std::stoi(a.at(0)),
                                                                std::stoull(a.at(1)));
       }
       *value = std::to_string(blocks);
       return r;
     }},
    {"gcreate",
     [](O& o, const W& a, V*) {
       CUgraph g = nullptr;
       const unsigned flags = a.size() > 1 ? static_cast<unsigned>(std::stoul(a[1])) : 0;
       const CUresult r = o.cu.GraphCreate.raw(&g, flags);
       if (r == CUDA_SUCCESS) o.graphs[a.at(0)] = g;
       return r;
     }},
    {"gdestroy",
     [](O& o, const W& a, V*) {
       return forget(o.graphs, a.at(0), o.cu.GraphDestroy.raw(o.get(o.graphs, a[0])));
     }},
    {"node", [](O& o, const W& a, V*) { return add_node(o, a); }},
    {"ndestroy",
     [](O& o, const W& a, V*) { return o.cu.GraphDestroyNode.raw(o.get(o.nodes, a.at(0))); }},
    {"edge",
     [](O& o, const W& a, V*) {
       const CUgraphEdgeData edge = edge_of(a.size() > 3 ? a[3] : "");
       return o.cu.GraphAddDependencies.raw(o.get(o.graphs, a.at(0)), &o.get(o.nodes, a.at(1)),
                                            &o.get(o.nodes, a.at(2)),
                                            a.size() > 3 ? &edge : nullptr, 1);
     }},
    {"unedge",
     [](O& o, const W& a, V*) {
       const CUgraphEdgeData edge = edge_of(a.size() > 3 ? a[3] : "");
       return o.cu.GraphRemoveDependencies.raw(o.get(o.graphs, a.at(0)), &o.get(o.nodes, a.at(1)),
                                               &o.get(o.nodes, a.at(2)),
                                               a.size() > 3 ? &edge : nullptr, 1);
     }},
    {"nodes",
     [](O& o, const W& a, V* value) {
       std::size_t n = 0;
       const CUresult r = o.cu.GraphGetNodes.raw(o.get(o.graphs, a.at(0)), nullptr, &n);
       *value = std::to_string(n);
       return r;
     }},
    {"edges",
     [](O& o, const W& a, V* value) {  // count, and how many carry data
       std::vector<CUgraphNode> from(64), to(64);
       std::vector<CUgraphEdgeData> data(64);
       std::size_t n = 64, special = 0;
       const bool lossy = a.size() > 1 && a[1] == "lossy";
       const CUresult r = o.cu.GraphGetEdges.raw(o.get(o.graphs, a.at(0)), from.data(), to.data(),
                                                 lossy ? nullptr : data.data(), &n);
       for (std::size_t i = 0; i < n && i < data.size(); ++i) special += data[i].type != 0;
       *value = std::to_string(n) + ":" + std::to_string(special);
       return r;
     }},
    {"type",
     [](O& o, const W& a, V* value) {  // of the first node of a graph
       CUgraphNode node = nullptr;
       std::size_t n = 1;
       CUresult r = o.cu.GraphGetNodes.raw(o.get(o.graphs, a.at(0)), &node, &n);
       CUgraphNodeType type{};
       if (r == CUDA_SUCCESS) r = o.cu.GraphNodeGetType.raw(node, &type);
       *value = std::to_string(static_cast<int>(type));
       return r;
     }},
    {"clone",
     [](O& o, const W& a, V*) {
       CUgraph copy = nullptr;
       const CUresult r = o.cu.GraphClone.raw(&copy, o.get(o.graphs, a.at(1)));
       if (r == CUDA_SUCCESS) o.graphs[a.at(0)] = copy;
       return r;
     }},
    {"find",
     [](O& o, const W& a, V*) {
       CUgraphNode node = nullptr;
       return o.cu.GraphNodeFindInClone.raw(&node, o.get(o.nodes, a.at(0)),
                                            o.get(o.graphs, a.at(1)));
     }},
    {"childnodes",
     [](O& o, const W& a, V* value) {
       CUgraph child = nullptr;
       CUresult r = o.cu.GraphChildGraphNodeGetGraph.raw(o.get(o.nodes, a.at(0)), &child);
       std::size_t n = 0;
       if (r == CUDA_SUCCESS) r = o.cu.GraphGetNodes.raw(child, nullptr, &n);
       *value = std::to_string(n);
       return r;
     }},
    {"childdestroy",
     [](O& o, const W& a, V*) {
       CUgraph child = nullptr;
       const CUresult r = o.cu.GraphChildGraphNodeGetGraph.raw(o.get(o.nodes, a.at(0)), &child);
       return r != CUDA_SUCCESS ? r : o.cu.GraphDestroy.raw(child);
     }},
    {"instantiate", instantiate},
    {"xdestroy",
     [](O& o, const W& a, V*) {
       return forget(o.execs, a.at(0), o.cu.GraphExecDestroy.raw(o.get(o.execs, a[0])));
     }},
    {"upload",
     [](O& o, const W& a, V*) {
       return o.cu.GraphUpload.raw(o.get(o.execs, a.at(0)), o.get(o.streams, a.at(1)));
     }},
    {"glaunch",
     [](O& o, const W& a, V*) {
       return o.cu.GraphLaunch.raw(o.get(o.execs, a.at(0)), o.get(o.streams, a.at(1)));
     }},
    {"setkernel",
     [](O& o, const W& a, V*) {
       const auto p = kernel_params(o, a.size() > 2 ? a[2] : "kernel");
       return o.cu.GraphExecKernelNodeSetParams.raw(o.get(o.execs, a.at(0)),
                                                    o.get(o.nodes, a.at(1)), &p);
     }},
    {"setmemset",
     [](O& o, const W& a, V*) {
       const auto p = memset_params(o, a.size() > 2 ? a[2] : "memset");
       return o.cu.GraphExecMemsetNodeSetParams.raw(o.get(o.execs, a.at(0)),
                                                    o.get(o.nodes, a.at(1)), &p, o.context);
     }},
    {"setmemcpy",
     [](O& o, const W& a, V*) {
       const auto p = params_of(o, a.size() > 2 ? a[2] : "memcpy").memcpy.copyParams;
       return o.cu.GraphExecMemcpyNodeSetParams.raw(o.get(o.execs, a.at(0)),
                                                    o.get(o.nodes, a.at(1)), &p, o.context);
     }},
    {"update",
     [](O& o, const W& a, V* value) {
       CUgraphExecUpdateResultInfo info{};
       const CUresult r =
           o.cu.GraphExecUpdate.raw(o.get(o.execs, a.at(0)), o.get(o.graphs, a.at(1)), &info);
       *value = std::to_string(static_cast<int>(info.result));
       return r;
     }},
    {"enable",
     [](O& o, const W& a, V*) {
       return o.cu.GraphNodeSetEnabled.raw(o.get(o.execs, a.at(0)), o.get(o.nodes, a.at(1)),
                                           static_cast<unsigned>(std::stoul(a.at(2))));
     }},
    {"enabled",
     [](O& o, const W& a, V* value) {
       unsigned on = 0;
       const CUresult r =
           o.cu.GraphNodeGetEnabled.raw(o.get(o.execs, a.at(0)), o.get(o.nodes, a.at(1)), &on);
       *value = std::to_string(on);
       return r;
     }},
    {"loadlib",
     [](O& o, const W&, V*) {
       static const char rubbish[64] = "this is no image at all";
       CUlibrary library = nullptr;
       return o.cu.LibraryLoadData.raw(&library, rubbish, nullptr, nullptr, 0, nullptr, nullptr, 0);
     }},
    {"paraminfo",
     [](O& o, const W& a, V* value) {
       std::size_t offset = 0, size = 0;
       const CUresult r =
           o.cu.KernelGetParamInfo.raw(o.kernel, std::stoull(a.at(0)), &offset, &size);
       *value = std::to_string(offset) + ":" + std::to_string(size);
       return r;
     }},
    {"shared",
     [](O& o, const W& a, V*) {
       return o.cu.KernelSetAttribute.raw(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                          std::stoi(a.at(0)), o.kernel, 0);
     }},
    {"getfunction",
     [](O& o, const W&, V*) {
       CUfunction f = nullptr;
       return o.cu.KernelGetFunction.raw(&f, o.kernel);
     }},
    {"current",
     [](O& o, const W&, V* value) {
       CUcontext c = nullptr;
       const CUresult r = o.cu.CtxGetCurrent.raw(&c);
       *value = c ? "context" : "none";
       return r;
     }},
    {"push", [](O& o, const W&, V*) { return o.cu.CtxPushCurrent.raw(o.context); }},
    {"pop",
     [](O& o, const W&, V*) {
       CUcontext c = nullptr;
       return o.cu.CtxPopCurrent.raw(&c);
     }},
};

}  // namespace

std::span<const Named> graph_operations() {
  return kGraphOperations;
}

}  // namespace vgpu_rules
