#include "runtime/session/verification.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "capture/trace/convert.h"
#include "capture/trace/interpreter.h"
#include "capture/trace/program_impl.h"
#include "capture/trace/state_snapshot.h"
#include "capture/trace/tracer.h"

namespace monograph::session {
namespace {

using Tensors = std::vector<at::Tensor>;

bool close(const at::Tensor& got, const at::Tensor& want, const Options& options) {
  if (got.sizes() != want.sizes() || got.dtype() != want.dtype()) return false;
  if (!want.is_floating_point() && !want.is_complex()) return at::equal(got, want);
  return at::allclose(got.to(want.device()), want, options.verify_rtol, options.verify_atol,
                      /*equal_nan=*/true);
}

/// Index of the first that differs; the size if none does.
std::size_t first_difference(const Tensors& got, const Tensors& want, const Options& options) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (i >= got.size() || !close(got[i], want[i], options)) return i;
  }
  return want.size();
}

Tensors copies_of(const Tensors& tensors) {
  Tensors copies;
  for (const at::Tensor& t : tensors) copies.push_back(t.clone());
  return copies;
}

std::map<std::string, at::Tensor> weights_of(const Program& program) {
  std::map<std::string, at::Tensor> weights;
  for (const NamedTensor& weight : program.weights()) weights.emplace(weight.name, weight.tensor);
  return weights;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string node_in(const std::string& line) {
  const std::size_t begin = line.find('%');
  if (begin == std::string::npos) return {};
  return line.substr(begin + 1, line.find_first_of(" :,)", begin) - begin - 1);
}

/// Where forward, traced again on these inputs, does something else than the program recorded.
struct Parting {
  std::string node;
  std::string what;
};

Parting parted_trace(const Module& module, const Program& program, const Options& options,
                     const Tensors& inputs) {
  auto again = trace::record(module, inputs, options.name);
  if (const auto* rejection = std::get_if<Rejection>(&again)) {
    return {rejection->node, "forward can't be captured on these inputs: " + rejection->reason};
  }
  const auto& recording = std::get<trace::Recording>(again);
  const auto before = lines_of(program.stages().front().second);
  const auto now = lines_of(ir::text(recording.graph));
  for (std::size_t i = 0; i < std::max(before.size(), now.size()); ++i) {
    const std::string was = i < before.size() ? before[i] : "(nothing)";
    const std::string is = i < now.size() ? now[i] : "(nothing)";
    if (was == is) continue;
    return {node_in(was), fmt::format("forward does something else on these inputs: recorded was\n"
                                      "{}\nand it does\n{}",
                                      was, is)};
  }
  const auto weights = weights_of(program);
  for (const auto& [name, tensor] : recording.weights) {
    const auto kept = weights.find(name);
    if (!name.starts_with("_tensor_constant") || kept == weights.end()) continue;
    if (close(kept->second, tensor, options)) continue;
    for (const auto& node : recording.graph.nodes()) {
      if (node->kind() == ir::NodeKind::kGetAttr && node->target() == name) {
        return {node->name(), "constant '" + name + "' has other values on these inputs"};
      }
    }
  }
  return {};
}

/// `graph` with every node's result as an output, taken where it is made.
ir::Graph with_every_result(const ir::Graph& graph, std::vector<std::string>& names) {
  ir::Graph all = graph.clone();
  all.erase(all.output_node());
  std::vector<ir::Arg> results;
  for (ir::Node* node : all.node_vector()) {
    const bool tensor =
        node->kind() == ir::NodeKind::kCallFunction && node->has_tensor() && node->type().defined();
    if (!tensor) continue;
    const ir::Graph::InsertionGuard guard(all, all.next(node));
    ir::TensorType type =
        ir::TensorType::contiguous(node->type().dtype, node->type().sizes, node->type().device);
    results.emplace_back(all.call("aten.clone.default", {ir::Arg(node)},
                                  {{"memory_format", ir::MemoryFormat::kContiguous}},
                                  ir::Results::tensor(type)));
    names.push_back(node->name());
  }
  all.set_insertion_point(nullptr);
  all.output(std::move(results));
  return all;
}

/// The first node whose result by the back end differs from LibTorch's.
std::string parted_node(const Program& program, const Options& options, const Tensors& inputs) {
  std::vector<std::string> names;
  auto impl = std::make_shared<Program::Impl>();
  impl->graph = with_every_result(program.graph(), names);
  if (names.empty()) return {};
  const auto weights = weights_of(program);
  trace::complete(*impl, weights);
  impl->examples = trace::examples_of(inputs);
  const Program all(impl);
  trace::StateSnapshot state;
  for (const std::string& name : state_names(program)) state.save(weights.at(name));
  const Tensors want = copies_of(trace::interpret(all.graph(), weights, inputs));
  state.restore();
  for (const std::string& name : state_names(program)) state.save(weights.at(name));
  Options plain = options;
  plain.output_mode = OutputMode::kOwned;
  Executable executable = Executable::build(all, plain);
  const std::size_t at = first_difference(executable.replay(inputs), want, options);
  return at < names.size() ? names[at] : std::string();
}

[[noreturn]] void fail(const Module& module, const Program& program, const Options& options,
                       const Tensors& inputs, const std::string& what) {
  Parting parting;
  try {
    parting = parted_trace(module, program, options, inputs);
    if (parting.what.empty()) {
      parting.node = parted_node(program, options, inputs);
      parting.what = parting.node.empty()
                         ? "no single node differs when each is looked at"
                         : "this node is the first whose result differs from LibTorch's";
    }
  } catch (const std::exception& e) {
    parting.what = std::string("the place could not be found: ") + e.what();
  }
  throw Error(
      Code::kVerification,
      fmt::format("{} of a replay of '{}' differs from forward's own by more than rtol {} "
                  "and atol {}; {}",
                  what, options.name, options.verify_rtol, options.verify_atol, parting.what),
      parting.node);
}

}  // namespace

std::set<std::string> state_names(const Program& program) {
  std::set<std::string> names;
  const ir::Graph& graph = program.graph();
  for (const auto& node : graph.nodes()) {
    if (node->kind() == ir::NodeKind::kGetAttr &&
        graph.storage(node->storage()).kind == ir::StorageKind::kState) {
      names.insert(node->target());
    }
  }
  return names;
}

Tensors run_eager(const Module& module, const Tensors& inputs) {
  const c10::NoGradGuard no_grad;
  return module.forward(inputs);
}

void verify(const Module& module, const Program& program, const Options& options,
            const Tensors& inputs, const std::function<Tensors()>& replay) {
  const std::set<std::string> states = state_names(program);
  const auto weights = weights_of(program);
  Tensors state_by_forward;
  Tensors want;
  {
    trace::StateSnapshot before;
    for (const std::string& name : states) before.save(weights.at(name));
    want = copies_of(run_eager(module, inputs));
    for (const std::string& name : states) state_by_forward.push_back(weights.at(name).clone());
  }
  const Tensors got = replay();
  const std::size_t output = first_difference(got, want, options);
  if (output < want.size()) {
    fail(module, program, options, inputs, fmt::format("output {}", output));
  }
  std::size_t i = 0;
  for (const std::string& name : states) {
    if (!close(weights.at(name), state_by_forward[i++], options)) {
      fail(module, program, options, inputs, fmt::format("state '{}'", name));
    }
  }
}

}  // namespace monograph::session
