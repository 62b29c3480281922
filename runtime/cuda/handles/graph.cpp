#include "runtime/cuda/handles/graph.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <utility>

namespace monograph::cuda {
namespace {

const char* spell(Graph::State state) {
  switch (state) {
    case Graph::State::kBuilding:
      return "building";
    case Graph::State::kCapturing:
      return "capturing";
    case Graph::State::kBroken:
      return "broken by a failed capture";
  }
  return "unknown";
}

const char* reason_of(CUgraphInstantiateResult result) {
  switch (result) {
    case CUDA_GRAPH_INSTANTIATE_SUCCESS:
      return "no reason given";
    case CUDA_GRAPH_INSTANTIATE_ERROR:
      return "invalid parameters or an unexpected error";
    case CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE:
      return "invalid structure, such as a cycle";
    case CUDA_GRAPH_INSTANTIATE_NODE_OPERATION_NOT_SUPPORTED:
      return "an unsupported operation";
    case CUDA_GRAPH_INSTANTIATE_MULTIPLE_CTXS_NOT_SUPPORTED:
      return "more than one context";
    default:
      return "another reason";
  }
}

const char* reason_of(CUgraphExecUpdateResult result) {
  switch (result) {
    case CU_GRAPH_EXEC_UPDATE_SUCCESS:
      return "no reason given";
    case CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED:
      return "the topology changed";
    case CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED:
      return "the type of a node changed";
    case CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED:
      return "the function of a node changed";
    case CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED:
      return "parameters changed in an unsupported way";
    case CU_GRAPH_EXEC_UPDATE_ERROR_NOT_SUPPORTED:
      return "a node is unsupported";
    case CU_GRAPH_EXEC_UPDATE_ERROR_UNSUPPORTED_FUNCTION_CHANGE:
      return "the function of a node changed in an unsupported way";
    case CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED:
      return "attributes changed in an unsupported way";
    default:
      return "an error";
  }
}

}  // namespace

Graph Graph::create(ContextRef context) {
  const CurrentContext current(*context);
  CUgraph raw = nullptr;
  context->driver().GraphCreate(&raw, 0);
  return Graph(std::move(context), raw);
}

Graph& Graph::operator=(Graph&& other) noexcept {
  if (this != &other) {
    abandon_capture();
    Handle::operator=(std::move(other));
    state_ = std::exchange(other.state_, State::kBuilding);
    capturing_ = std::exchange(other.capturing_, nullptr);
  }
  return *this;
}

Graph::Graph(Graph&& other) noexcept
    : Handle(std::move(other)),
      state_(std::exchange(other.state_, State::kBuilding)),
      capturing_(std::exchange(other.capturing_, nullptr)) {}

Graph::~Graph() {
  abandon_capture();
}

void Graph::destroy(const Driver& driver, CUgraph raw) noexcept {
  report_release(driver, driver.GraphDestroy.name(), driver.GraphDestroy.raw(raw));
}

void Graph::need(State state, const char* operation) const {
  if (!*this && state_ != State::kBroken) fail_empty(kName);
  if (state_ == state) return;
  throw Error(Code::kInvalidState,
              fmt::format("{} on a graph that is {}", operation, spell(state_)),
              std::string(NodeScope::current()));
}

CUgraphNode Graph::add_node(CUgraphNodeParams& params, std::span<const CUgraphNode> dependencies,
                            std::span<const CUgraphEdgeData> edges) {
  need(State::kBuilding, "add_node");
  if (!edges.empty() && edges.size() != dependencies.size()) {
    throw Error(Code::kInvalidArgument, "add_node needs edge data for all dependencies or none");
  }
  CUgraphNode node = nullptr;
  driver().GraphAddNode(&node, get(), dependencies.data(), edges.empty() ? nullptr : edges.data(),
                        dependencies.size(), &params);
  return node;
}

void Graph::add_dependencies(std::span<const CUgraphNode> from, std::span<const CUgraphNode> to,
                             std::span<const CUgraphEdgeData> edges) {
  need(State::kBuilding, "add_dependencies");
  if (from.size() != to.size() || (!edges.empty() && edges.size() != from.size())) {
    throw Error(Code::kInvalidArgument, "add_dependencies needs lists of equal length");
  }
  driver().GraphAddDependencies(get(), from.data(), to.data(),
                                edges.empty() ? nullptr : edges.data(), from.size());
}

std::vector<CUgraphNode> Graph::nodes() const {
  need(State::kBuilding, "nodes");
  std::size_t count = 0;
  driver().GraphGetNodes(get(), nullptr, &count);
  std::vector<CUgraphNode> all(count);
  if (count != 0) driver().GraphGetNodes(get(), all.data(), &count);
  return all;
}

std::vector<GraphEdge> Graph::edges() const {
  need(State::kBuilding, "edges");
  std::size_t count = 0;
  driver().GraphGetEdges(get(), nullptr, nullptr, nullptr, &count);
  std::vector<GraphEdge> all(count);
  if (count == 0) return all;
  std::vector<CUgraphNode> from(count);
  std::vector<CUgraphNode> to(count);
  std::vector<CUgraphEdgeData> data(count);
  driver().GraphGetEdges(get(), from.data(), to.data(), data.data(), &count);
  for (std::size_t i = 0; i < count; ++i) all[i] = {from[i], to[i], data[i]};
  return all;
}

CUgraph Graph::child(CUgraphNode node) const {
  need(State::kBuilding, "child");
  CUgraph graph = nullptr;
  driver().GraphChildGraphNodeGetGraph(node, &graph);
  return graph;
}

CUgraphNodeType Graph::type(CUgraphNode node) const {
  need(State::kBuilding, "type");
  CUgraphNodeType kind{};
  driver().GraphNodeGetType(node, &kind);
  return kind;
}

CUDA_MEMCPY3D Graph::copy_params(CUgraphNode node) const {
  need(State::kBuilding, "copy_params");
  CUDA_MEMCPY3D params{};
  driver().GraphMemcpyNodeGetParams(node, &params);
  return params;
}

void Graph::write_dot(const std::string& path, unsigned flags) const {
  need(State::kBuilding, "write_dot");
  driver().require(Feature::kGraphDot, "the driver's dot print");
  driver().GraphDebugDotPrint(get(), path.c_str(), flags);
}

void Graph::begin_capture(CUstream stream, CUstreamCaptureMode mode,
                          std::span<const CUgraphNode> dependencies) {
  need(State::kBuilding, "begin_capture");
  driver().StreamBeginCaptureToGraph(stream, get(), dependencies.data(), nullptr,
                                     dependencies.size(), mode);
  state_ = State::kCapturing;
  capturing_ = stream;
}

void Graph::end_capture() {
  need(State::kCapturing, "end_capture");
  CUgraph same = nullptr;
  const CUresult result = driver().StreamEndCapture.raw(std::exchange(capturing_, nullptr), &same);
  if (result != CUDA_SUCCESS) {
    state_ = State::kBroken;
    const Driver& cu = driver();
    forget();
    cu.fail(cu.StreamEndCapture.name(), result);
  }
  state_ = State::kBuilding;
}

void Graph::abandon_capture() noexcept {
  if (capturing_ == nullptr) return;
  CUgraph same = nullptr;
  // The graph is on its way out, so any result is as good as any other.
  const CUresult result =
      context()->driver().StreamEndCapture.raw(std::exchange(capturing_, nullptr), &same);
  if (result != CUDA_SUCCESS) forget();
}

GraphExec Graph::instantiate(unsigned long long flags) const {
  need(State::kBuilding, "instantiate");
  const Driver& cu = driver();
  const CurrentContext current(*context());
  CUDA_GRAPH_INSTANTIATE_PARAMS params{};
  params.flags = flags;
  CUgraphExec raw = nullptr;
  const CUresult result = cu.GraphInstantiateWithParams.raw(&raw, get(), &params);
  if (result != CUDA_SUCCESS) {
    const std::string call =
        fmt::format("{} ({})", cu.GraphInstantiateWithParams.name(), reason_of(params.result_out));
    cu.fail(call.c_str(), result);
  }
  return GraphExec(context(), raw);
}

void GraphExec::destroy(const Driver& driver, CUgraphExec raw) noexcept {
  report_release(driver, driver.GraphExecDestroy.name(), driver.GraphExecDestroy.raw(raw));
}

void GraphExec::need_live(const char* operation) const {
  if (!*this) fail_empty(kName);
  if (state_ != State::kStale) return;
  throw Error(
      Code::kInvalidState,
      fmt::format("{} on an executable graph whose update failed; instantiate again", operation),
      std::string(NodeScope::current()));
}

void GraphExec::upload(CUstream stream) {
  need_live("upload");
  driver().GraphUpload(get(), stream);
  if (state_ == State::kReady) state_ = State::kUploaded;
}

void GraphExec::launch(CUstream stream) {
  need_live("launch");
  driver().GraphLaunch(get(), stream);
  state_ = State::kLaunched;
}

void GraphExec::set_params(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v2& params) {
  need_live("set_params");
  driver().GraphExecKernelNodeSetParams(get(), node, &params);
}

void GraphExec::set_params(CUgraphNode node, const CUDA_MEMCPY3D& params) {
  need_live("set_params");
  driver().GraphExecMemcpyNodeSetParams(get(), node, &params, context()->get());
}

void GraphExec::set_params(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS& params) {
  need_live("set_params");
  driver().GraphExecMemsetNodeSetParams(get(), node, &params, context()->get());
}

bool GraphExec::update(const Graph& graph, std::string* reason) {
  need_live("update");
  const Driver& cu = driver();
  cu.require(Feature::kGraphUpdate, "the update of an executable graph");
  CUgraphExecUpdateResultInfo info{};
  const CUresult result = cu.GraphExecUpdate.raw(get(), graph.get(), &info);
  if (result == CUDA_SUCCESS) return true;
  if (result != CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE) cu.fail(cu.GraphExecUpdate.name(), result);
  if (reason != nullptr) *reason = reason_of(info.result);
  state_ = State::kStale;
  return false;
}

void GraphExec::set_enabled(CUgraphNode node, bool enabled) {
  need_live("set_enabled");
  driver().require(Feature::kNodeEnable, "switching a node on or off");
  driver().GraphNodeSetEnabled(get(), node, enabled ? 1 : 0);
}

bool GraphExec::enabled(CUgraphNode node) const {
  need_live("enabled");
  driver().require(Feature::kNodeEnable, "switching a node on or off");
  unsigned on = 0;
  driver().GraphNodeGetEnabled(get(), node, &on);
  return on != 0;
}

}  // namespace monograph::cuda
