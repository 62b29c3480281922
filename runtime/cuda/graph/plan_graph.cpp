#include "runtime/cuda/graph/plan_graph.h"

#include <fmt/format.h>
#include <monograph/error.h>

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

/// False for an edge that leads out of the plan, which building refuses.
bool can_be_programmatic(const std::vector<Work>& works, const plan::Edge& e) {
  const auto from = static_cast<std::size_t>(e.from);
  const auto to = static_cast<std::size_t>(e.to);
  return from < works.size() && to < works.size() && is_programmatic(works[from]) &&
         is_programmatic(works[to]);
}

/// Ports that a work touches.
std::vector<std::pair<Address::Base, std::int32_t>> ports_of(const Work& work) {
  std::vector<std::pair<Address::Base, std::int32_t>> out;
  const auto add = [&out](const Address& a) {
    if (a.moves()) out.emplace_back(a.base, a.slot);
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
              const Ports& ports, CUstream stream, EdgeKind kind,
              const std::function<void()>& prepare)
      : context_(std::move(context)),
        works_(std::move(works)),
        ports_(ports),
        edges_(edges),
        kind_(kind) {
    make_blocks();
    warm_up(stream, prepare);
    assemble(stream, nullptr);
  }
  /// The graph of `other` with edges of `kind`.
  GraphRunner(const GraphRunner& other, EdgeKind kind, CUstream stream)
      : context_(other.context_),
        works_(other.works_),
        ports_(other.ports_),
        edges_(other.edges_),
        kind_(kind) {
    make_blocks();
    assemble(stream, &other);
  }
  GraphRunner(const GraphRunner&) = delete;
  GraphRunner& operator=(const GraphRunner&) = delete;

  void launch(const Ports& ports, CUstream stream) override {
    patched_ = 0;
    find_moved(ports_.inputs, ports.inputs, readers_);
    find_moved(ports_.outputs, ports.outputs, writers_);
    patch_dirty();
    exec_.launch(stream);
  }

  void rebind(const std::vector<CUdeviceptr>& weights) override {
    patched_ = 0;
    find_moved(ports_.weights, weights, weight_readers_);
    patch_dirty();
  }

  std::unique_ptr<PlanRunner> with_edges(EdgeKind kind, CUstream stream) const override {
    return std::make_unique<GraphRunner>(*this, kind, stream);
  }

  const GraphReport& report() const noexcept override { return report_; }
  std::size_t patched() const noexcept override { return patched_; }
  std::string text() const override { return graph_text(works_, edges_, kind_); }

 private:
  using Users = std::vector<std::vector<std::uint32_t>>;  // works by slot

  void make_blocks();
  void warm_up(CUstream stream, const std::function<void()>& prepare);
  /// `like`: takes library calls' nodes from there instead of capturing; null: captures.
  void assemble(CUstream stream, const GraphRunner* like);
  void add_nodes(CUstream stream, const GraphRunner* like);
  CUgraphNode add_node(std::size_t index, const std::vector<CUgraphNode>& after,
                       const std::vector<CUgraphEdgeData>& edge_data, CUstream stream,
                       const GraphRunner* like);
  CUgraphNode add_child(CUgraph child, const std::vector<CUgraphNode>& after,
                        const std::vector<CUgraphEdgeData>& edge_data);
  CUgraphNodeParams node_params(std::size_t index);
  void index_movers();
  void find_moved(std::vector<CUdeviceptr>& old, const std::vector<CUdeviceptr>& now,
                  const Users& users);
  void patch_dirty();
  void patch(std::size_t index);
  ParamBlock* block(std::size_t index) {
    return block_of_[index] < 0 ? nullptr : &blocks_[static_cast<std::size_t>(block_of_[index])];
  }

  ContextRef context_;
  std::vector<Work> works_;
  Ports ports_;
  std::vector<ParamBlock> blocks_;                             // by block_of_
  std::vector<std::int32_t> block_of_;                         // by work; -1 if it isn't a kernel
  std::vector<CUgraphNode> nodes_;                             // by work
  std::vector<std::shared_ptr<const CapturedCall>> captured_;  // by work
  std::vector<plan::Edge> edges_;
  EdgeKind kind_;
  Users readers_, writers_, weight_readers_;
  std::vector<std::uint32_t> dirty_;  // works to patch; kept when patching fails
  Graph graph_;
  GraphExec exec_;  // destroyed before the graph
  GraphReport report_;
  std::size_t patched_ = 0;
};

void GraphRunner::make_blocks() {
  block_of_.resize(works_.size(), -1);
  std::size_t kernels = 0;
  for (const Work& w : works_) kernels += std::holds_alternative<KernelWork>(w.what) ? 1 : 0;
  blocks_.reserve(kernels);  // parameter pointers point into the blocks
  for (std::size_t i = 0; i < works_.size(); ++i) {
    const auto* k = std::get_if<KernelWork>(&works_[i].what);
    if (k == nullptr) continue;
    block_of_[i] = static_cast<std::int32_t>(blocks_.size());
    blocks_.emplace_back(*k).resolve(*k, ports_);
  }
}

/// Libraries make handles, plans and workspaces at their first calls, which a capture can't hold.
/// The whole plan runs, so that they see data as they will: memory that nothing has written holds
/// anything, and an index out of it may lie anywhere.
void GraphRunner::warm_up(CUstream stream, const std::function<void()>& prepare) {
  int runs = 0;
  for (const Work& w : works_) {
    if (const auto* l = std::get_if<LibraryWork>(&w.what)) {
      runs = std::max(runs, l->call->warm_up_runs());
    }
  }
  if (runs == 0) return;
  const Driver& driver = context_->driver();
  try {
    for (int r = 0; r < runs; ++r) {
      if (prepare) prepare();
      for (std::size_t i = 0; i < works_.size(); ++i) {
        enqueue(driver, works_[i], block(i), ports_, stream);
      }
    }
    driver.StreamSynchronize(stream);
  } catch (...) {
    (void)driver.StreamSynchronize.raw(stream);  // what is enqueued mustn't outlive the calls
    throw;
  }
}

CUgraphNodeParams GraphRunner::node_params(std::size_t index) {
  const Work& work = works_[index];
  CUgraphNodeParams params{};
  params.type = CU_GRAPH_NODE_TYPE_EMPTY;
  if (const auto* k = std::get_if<KernelWork>(&work.what)) {
    const CUDA_KERNEL_NODE_PARAMS_v2 p = kernel_node_params(*k, *block(index));
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
  } else {
    ++report_.empty_nodes;
  }
  return params;
}

void GraphRunner::assemble(CUstream stream, const GraphRunner* like) {
  const auto start = std::chrono::steady_clock::now();
  graph_ = Graph::create(context_);
  add_nodes(stream, like);
  index_movers();
  report_.build_ms = milliseconds_since(start);
  const auto built = std::chrono::steady_clock::now();
  exec_ = graph_.instantiate();
  exec_.upload(stream);
  context_->driver().StreamSynchronize(stream);
  report_.instantiate_ms = milliseconds_since(built);
}

CUgraphNode GraphRunner::add_node(std::size_t index, const std::vector<CUgraphNode>& after,
                                  const std::vector<CUgraphEdgeData>& edge_data, CUstream stream,
                                  const GraphRunner* like) {
  const Work& work = works_[index];
  const NodeScope scope(work.node);
  const auto* library = std::get_if<LibraryWork>(&work.what);
  if (library == nullptr) {
    CUgraphNodeParams params = node_params(index);
    return graph_.add_node(params, after, edge_data);
  }
  ++report_.child_graphs;
  std::shared_ptr<const CapturedCall>& captured = captured_[index];
  // What a node embeds can't be added a second time: the driver refuses it.
  captured = like != nullptr ? like->captured_[index]
                             : std::make_shared<const CapturedCall>(
                                   capture_call(*library->call, stream, context_, work.node));
  report_.captured_kernels += captured->kernel_nodes;
  return add_child(captured->graph.get(), after, edge_data);
}

/// The driver clones a child graph when it is added.
CUgraphNode GraphRunner::add_child(CUgraph child, const std::vector<CUgraphNode>& after,
                                   const std::vector<CUgraphEdgeData>& edge_data) {
  CUgraphNodeParams params{};
  params.type = CU_GRAPH_NODE_TYPE_GRAPH;
  params.graph.graph = child;
  return graph_.add_node(params, after, edge_data);
}

void GraphRunner::add_nodes(CUstream stream, const GraphRunner* like) {
  nodes_.resize(works_.size(), nullptr);
  captured_.resize(works_.size());
  std::size_t next = 0;
  std::vector<CUgraphNode> after;
  std::vector<CUgraphEdgeData> data;
  for (std::size_t i = 0; i < works_.size(); ++i) {
    after.clear();
    data.clear();
    bool special = false;
    for (; next < edges_.size() && static_cast<std::size_t>(edges_[next].to) == i; ++next) {
      const auto from = static_cast<std::size_t>(edges_[next].from);
      if (from >= i) {
        throw Error(Code::kInternal, "an edge of a plan leads backwards", works_[i].node);
      }
      after.push_back(nodes_[from]);
      CUgraphEdgeData d{};
      if (kind_ == EdgeKind::kProgrammatic && can_be_programmatic(works_, edges_[next])) {
        d.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
        d.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
        special = true;
        ++report_.programmatic_edges;
      }
      data.push_back(d);
      ++report_.edges;
    }
    if (!special) data.clear();
    nodes_[i] = add_node(i, after, data, stream, like);
  }
  if (next != edges_.size()) {
    throw Error(Code::kInternal, "edges of a plan aren't sorted, or lead out of it");
  }
}

void GraphRunner::index_movers() {
  readers_.resize(ports_.inputs.size());
  writers_.resize(ports_.outputs.size());
  weight_readers_.resize(ports_.weights.size());
  for (std::size_t i = 0; i < works_.size(); ++i) {
    for (const auto& [base, slot] : ports_of(works_[i])) {
      Users& users = base == Address::Base::kInput    ? readers_
                     : base == Address::Base::kOutput ? writers_
                                                      : weight_readers_;
      users[static_cast<std::size_t>(slot)].push_back(static_cast<std::uint32_t>(i));
    }
  }
}

void GraphRunner::find_moved(std::vector<CUdeviceptr>& old, const std::vector<CUdeviceptr>& now,
                             const Users& users) {
  for (std::size_t s = 0; s < old.size(); ++s) {
    if (now[s] == old[s]) continue;
    old[s] = now[s];
    dirty_.insert(dirty_.end(), users[s].begin(), users[s].end());
  }
}

void GraphRunner::patch_dirty() {
  if (dirty_.empty()) return;
  std::ranges::sort(dirty_);
  dirty_.erase(std::ranges::unique(dirty_).begin(), dirty_.end());
  for (const std::uint32_t i : dirty_) patch(i);
  dirty_.clear();
}

void GraphRunner::patch(std::size_t index) {
  Work& work = works_[index];
  const NodeScope scope(work.node);
  if (auto* k = std::get_if<KernelWork>(&work.what)) {
    ParamBlock& values = *block(index);
    values.resolve(*k, ports_);
    exec_.set_params(nodes_[index], kernel_node_params(*k, values));
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

}  // namespace

std::size_t count_programmatic(const std::vector<Work>& works,
                               const std::vector<plan::Edge>& edges) {
  return static_cast<std::size_t>(std::ranges::count_if(
      edges, [&works](const plan::Edge& e) { return can_be_programmatic(works, e); }));
}

std::string graph_text(const std::vector<Work>& works, const std::vector<plan::Edge>& edges,
                       EdgeKind kind) {
  std::string s;
  for (std::size_t i = 0; i < works.size(); ++i) {
    s += fmt::format("node {} %{}: {}\n", i, works[i].node, describe(works[i]));
  }
  for (const plan::Edge& e : edges) {
    const bool programmatic = kind == EdgeKind::kProgrammatic && can_be_programmatic(works, e);
    s += fmt::format("edge {} -> {}{}\n", e.from, e.to, programmatic ? " programmatic" : "");
  }
  return s;
}

std::unique_ptr<PlanRunner> build_plan_graph(const ContextRef& context, std::vector<Work> works,
                                             const std::vector<plan::Edge>& edges,
                                             const Ports& ports, CUstream stream, EdgeKind kind,
                                             const std::function<void()>& prepare) {
  return std::make_unique<GraphRunner>(context, std::move(works), edges, ports, stream, kind,
                                       prepare);
}

}  // namespace monograph::cuda
