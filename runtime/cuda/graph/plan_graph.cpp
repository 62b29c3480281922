#include "runtime/cuda/graph/plan_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "runtime/cuda/graph/params.h"

namespace monograph::cuda {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

bool is_programmatic(const Work& work) {
  const auto* kernel = std::get_if<KernelWork>(&work.what);
  return kernel != nullptr && kernel->programmatic;
}

bool moves(const Work& work) {
  if (const auto* k = std::get_if<KernelWork>(&work.what)) {
    return std::ranges::any_of(k->params, [](const ParamValue& p) {
      const auto* a = std::get_if<Address>(&p);
      return a != nullptr && a->moves();
    });
  }
  if (const auto* c = std::get_if<CopyWork>(&work.what)) return c->from.moves() || c->to.moves();
  if (const auto* f = std::get_if<FillWork>(&work.what)) return f->to.moves();
  return false;
}

/// Ports that a work touches, as (is_output, slot).
std::vector<std::pair<bool, std::int32_t>> ports_of(const Work& work) {
  std::vector<std::pair<bool, std::int32_t>> out;
  const auto add = [&out](const Address& a) {
    if (a.moves()) out.emplace_back(a.base == Address::Base::kOutput, a.slot);
  };
  if (const auto* k = std::get_if<KernelWork>(&work.what)) {
    for (const ParamValue& p : k->params) {
      if (const auto* a = std::get_if<Address>(&p)) add(*a);
    }
  } else if (const auto* c = std::get_if<CopyWork>(&work.what)) {
    add(c->from);
    add(c->to);
  } else if (const auto* f = std::get_if<FillWork>(&work.what)) {
    add(f->to);
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

class GraphRunner final : public PlanRunner {
 public:
  GraphRunner(ContextRef context, std::vector<Work> works, const std::vector<plan::Edge>& edges,
              const Ports& ports, CUstream stream)
      : context_(std::move(context)), works_(std::move(works)), ports_(ports) {
    const auto start = std::chrono::steady_clock::now();
    graph_ = Graph::create(context_);
    add_nodes(edges, stream);
    index_movers();
    report_.build_ms = milliseconds_since(start);
    const auto built = std::chrono::steady_clock::now();
    exec_ = graph_.instantiate();
    exec_.upload(stream);
    context_->driver().StreamSynchronize(stream);
    report_.instantiate_ms = milliseconds_since(built);
  }

  void launch(const Ports& ports, CUstream stream) override {
    patched_ = 0;
    patch_moved(ports);
    exec_.launch(stream);
  }

  const GraphReport& report() const noexcept override { return report_; }
  std::size_t patched() const noexcept override { return patched_; }
  std::string text() const override;

 private:
  void add_nodes(const std::vector<plan::Edge>& edges, CUstream stream);
  CUgraphNode add_node(Work& work, const std::vector<CUgraphNode>& after,
                       const std::vector<CUgraphEdgeData>& edge_data, CUstream stream);
  void index_movers();
  void patch_moved(const Ports& ports);
  void patch(std::size_t index);

  ContextRef context_;
  std::vector<Work> works_;
  Ports ports_;
  // Child graphs of library calls: the driver clones them when they are added.
  std::vector<ParamBlock> blocks_;      // by block_of_
  std::vector<std::int32_t> block_of_;  // by work; -1 if it isn't a kernel
  std::vector<CUgraphNode> nodes_;      // by work
  std::vector<plan::Edge> edges_;
  std::vector<std::vector<std::size_t>> readers_;  // works by input slot
  std::vector<std::vector<std::size_t>> writers_;  // works by output slot
  std::vector<std::size_t> dirty_;                 // scratch of patch_moved
  Graph graph_;
  GraphExec exec_;  // destroyed before the graph
  GraphReport report_;
  std::size_t patched_ = 0;
};

CUgraphNode GraphRunner::add_node(Work& work, const std::vector<CUgraphNode>& after,
                                  const std::vector<CUgraphEdgeData>& edge_data, CUstream stream) {
  const NodeScope scope(work.node);
  CUgraphNodeParams params{};
  if (auto* k = std::get_if<KernelWork>(&work.what)) {
    ParamBlock& block = blocks_.emplace_back(*k);
    block.resolve(*k, ports_);
    const CUDA_KERNEL_NODE_PARAMS_v2 p = kernel_node_params(*k, block);
    params.type = CU_GRAPH_NODE_TYPE_KERNEL;
    params.kernel.func = p.func;
    params.kernel.gridDimX = p.gridDimX;
    params.kernel.gridDimY = p.gridDimY;
    params.kernel.gridDimZ = p.gridDimZ;
    params.kernel.blockDimX = p.blockDimX;
    params.kernel.blockDimY = p.blockDimY;
    params.kernel.blockDimZ = p.blockDimZ;
    params.kernel.sharedMemBytes = p.sharedMemBytes;
    params.kernel.kernelParams = p.kernelParams;
    ++report_.kernel_nodes;
  } else if (const auto* c = std::get_if<CopyWork>(&work.what)) {
    params.type = CU_GRAPH_NODE_TYPE_MEMCPY;
    params.memcpy.copyParams = copy_params(*c, ports_);
    params.memcpy.copyCtx = context_->get();
    ++report_.copy_nodes;
  } else if (const auto* f = std::get_if<FillWork>(&work.what)) {
    const CUDA_MEMSET_NODE_PARAMS p = fill_params(*f, ports_);
    params.type = CU_GRAPH_NODE_TYPE_MEMSET;
    params.memset.dst = p.dst;
    params.memset.value = p.value;
    params.memset.elementSize = p.elementSize;
    params.memset.width = p.width;
    params.memset.height = p.height;
    params.memset.ctx = context_->get();
    ++report_.fill_nodes;
  } else if (auto* l = std::get_if<LibraryWork>(&work.what)) {
    const CapturedCall captured = capture_call(*l->call, stream, context_, work.node);
    report_.captured_kernels += captured.kernel_nodes;
    ++report_.child_graphs;
    params.type = CU_GRAPH_NODE_TYPE_GRAPH;
    params.graph.graph = captured.graph.get();
    return graph_.add_node(params, after, edge_data);
  } else {
    params.type = CU_GRAPH_NODE_TYPE_EMPTY;
    ++report_.empty_nodes;
  }
  return graph_.add_node(params, after, edge_data);
}

void GraphRunner::add_nodes(const std::vector<plan::Edge>& edges, CUstream stream) {
  edges_ = edges;
  nodes_.resize(works_.size(), nullptr);
  block_of_.resize(works_.size(), -1);
  blocks_.reserve(works_.size());  // parameter pointers point into the blocks
  std::size_t next = 0;            // edges are sorted by (to, from)
  std::vector<CUgraphNode> after;
  std::vector<CUgraphEdgeData> data;
  for (std::size_t i = 0; i < works_.size(); ++i) {
    after.clear();
    data.clear();
    bool special = false;
    for (; next < edges.size() && static_cast<std::size_t>(edges[next].to) == i; ++next) {
      const auto from = static_cast<std::size_t>(edges[next].from);
      after.push_back(nodes_[from]);
      CUgraphEdgeData d{};
      if (is_programmatic(works_[from]) && is_programmatic(works_[i])) {
        d.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
        d.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
        special = true;
        ++report_.programmatic_edges;
      }
      data.push_back(d);
      ++report_.edges;
    }
    if (!special) data.clear();
    if (std::holds_alternative<KernelWork>(works_[i].what)) {
      block_of_[i] = static_cast<std::int32_t>(blocks_.size());
    }
    nodes_[i] = add_node(works_[i], after, data, stream);
  }
}

void GraphRunner::index_movers() {
  readers_.resize(ports_.inputs.size());
  writers_.resize(ports_.outputs.size());
  for (std::size_t i = 0; i < works_.size(); ++i) {
    if (!moves(works_[i])) continue;
    for (const auto& [is_output, slot] : ports_of(works_[i])) {
      auto& list = is_output ? writers_ : readers_;
      list[static_cast<std::size_t>(slot)].push_back(i);
    }
  }
}

void GraphRunner::patch_moved(const Ports& ports) {
  dirty_.clear();
  for (std::size_t s = 0; s < ports_.inputs.size(); ++s) {
    if (ports.inputs[s] == ports_.inputs[s]) continue;
    ports_.inputs[s] = ports.inputs[s];
    dirty_.insert(dirty_.end(), readers_[s].begin(), readers_[s].end());
  }
  for (std::size_t s = 0; s < ports_.outputs.size(); ++s) {
    if (ports.outputs[s] == ports_.outputs[s]) continue;
    ports_.outputs[s] = ports.outputs[s];
    dirty_.insert(dirty_.end(), writers_[s].begin(), writers_[s].end());
  }
  if (dirty_.empty()) return;
  std::ranges::sort(dirty_);
  dirty_.erase(std::ranges::unique(dirty_).begin(), dirty_.end());
  for (const std::size_t i : dirty_) patch(i);
}

void GraphRunner::patch(std::size_t index) {
  Work& work = works_[index];
  const NodeScope scope(work.node);
  if (auto* k = std::get_if<KernelWork>(&work.what)) {
    ParamBlock& block = blocks_[static_cast<std::size_t>(block_of_[index])];
    block.resolve(*k, ports_);
    exec_.set_params(nodes_[index], kernel_node_params(*k, block));
  } else if (const auto* c = std::get_if<CopyWork>(&work.what)) {
    exec_.set_params(nodes_[index], copy_params(*c, ports_));
  } else if (const auto* f = std::get_if<FillWork>(&work.what)) {
    exec_.set_params(nodes_[index], fill_params(*f, ports_));
  }
  ++patched_;
}

std::string describe(const Work& work) {
  if (const auto* k = std::get_if<KernelWork>(&work.what)) {
    return fmt::format("kernel {} grid=({},{},{}) block=({},{},{}) shared={}{}", k->kernel.name(),
                       k->grid[0], k->grid[1], k->grid[2], k->block[0], k->block[1], k->block[2],
                       k->dynamic_shared_bytes, k->programmatic ? " programmatic" : "");
  }
  if (const auto* c = std::get_if<CopyWork>(&work.what)) {
    return fmt::format("memcpy {} bytes", c->bytes);
  }
  if (const auto* f = std::get_if<FillWork>(&work.what)) {
    return fmt::format("memset {} bytes to {:#04x}", f->bytes, f->value);
  }
  if (std::holds_alternative<LibraryWork>(work.what)) return "child graph";
  return "empty";
}

std::string GraphRunner::text() const {
  std::string s;
  for (std::size_t i = 0; i < works_.size(); ++i) {
    s += fmt::format("node {} %{}: {}\n", i, works_[i].node, describe(works_[i]));
  }
  for (const plan::Edge& e : edges_) {
    const bool programmatic = is_programmatic(works_[static_cast<std::size_t>(e.from)]) &&
                              is_programmatic(works_[static_cast<std::size_t>(e.to)]);
    s += fmt::format("edge {} -> {}{}\n", e.from, e.to, programmatic ? " programmatic" : "");
  }
  return s;
}

}  // namespace

std::unique_ptr<PlanRunner> build_plan_graph(const ContextRef& context, std::vector<Work> works,
                                             const std::vector<plan::Edge>& edges,
                                             const Ports& ports, CUstream stream) {
  return std::make_unique<GraphRunner>(context, std::move(works), edges, ports, stream);
}

}  // namespace monograph::cuda
