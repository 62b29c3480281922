#include <monograph/program.h>

#include <algorithm>
#include <map>

#include "capture/ir/python.h"
#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/pass.h"
#include "capture/trace/constant_evaluator.h"
#include "capture/trace/convert.h"
#include "capture/trace/inputs.h"
#include "capture/trace/pipeline.h"
#include "capture/trace/program_impl.h"
#include "capture/trace/tracer.h"

namespace monograph {
namespace {

void collect_targets(const ir::Graph& graph, std::map<std::string, const ir::Node*>& targets) {
  for (const auto& node : graph.nodes()) {
    if (node->kind() == ir::NodeKind::kGetAttr) targets.try_emplace(node->target(), node.get());
  }
  for (const auto& [name, body] : graph.subgraphs()) collect_targets(*body, targets);
}

TensorSpec spec_of(std::string name, const ir::TensorType& type) {
  return {std::move(name), trace::scalar_type_of(type.dtype), type.sizes,
          type.strides,    trace::torch_device(type.device),  {}};
}

void set_paths(std::vector<TensorSpec>& specs, const std::vector<std::string>& paths) {
  for (std::size_t i = 0; i < std::min(specs.size(), paths.size()); ++i) specs[i].path = paths[i];
}

/// A tensor of its own on the same memory, so that giving the original other memory later doesn't
/// move what executables read.
at::Tensor own_alias(const at::Tensor& tensor) {
  return tensor.detach();
}

void check_weight(const ir::Node& node, const at::Tensor& tensor) {
  const ir::TensorType& wanted = node.type();
  std::string got = trace::describe(tensor);
  if (tensor.defined() && trace::unsupported_reason(tensor).empty()) {
    ir::TensorType type = trace::type_of(tensor);
    type.offset = wanted.offset;
    if (type == wanted) return;
    got = ir::text(type);
  }
  throw Error(Code::kInvalidArgument,
              "weight '" + node.target() + "': expected " + ir::text(wanted) + ", got " + got);
}

void optimise(Program::Impl& impl, std::map<std::string, at::Tensor>& weights,
              const std::vector<std::string>& pipeline, const Options& options) {
  trace::TorchConstantEvaluator evaluator(weights, options.fold_limit_bytes);
  passes::PassContext context;
  if (options.fold_constants) context.constants = &evaluator;
  const auto reports = passes::run_passes(
      impl.graph, pipeline, context, [&impl](const ir::Graph& graph, const passes::PassReport& r) {
        impl.stages.emplace_back(r.pass.empty() ? "trace" : r.pass, ir::text(graph));
      });
  for (const auto& r : reports) {
    impl.passes.push_back({r.pass, r.changes, r.nodes_before, r.nodes_after, r.milliseconds});
    impl.passes_ms += r.milliseconds;
  }
}

}  // namespace

void trace::complete(Program::Impl& impl, const std::map<std::string, at::Tensor>& weights) {
  for (const ir::Node* node : impl.graph.placeholders()) {
    impl.inputs.push_back(spec_of(node->target(), node->type()));
  }
  if (impl.graph.output_node() == nullptr) {
    throw Error(Code::kInvalidGraph, "graph '" + impl.graph.name() + "' has no output");
  }
  auto add_output = [&impl](const ir::Node* node) {
    for (const ir::Value& v : node->values()) {
      impl.outputs.push_back(spec_of("out_" + std::to_string(impl.outputs.size()), v.type));
    }
  };
  for (const ir::Arg& arg : impl.graph.output_node()->args()) ir::for_each_node(arg, add_output);

  std::map<std::string, const ir::Node*> targets;
  collect_targets(impl.graph, targets);
  for (const auto& [target, node] : targets) {
    const auto weight = weights.find(target);
    if (weight == weights.end()) {
      throw Error(Code::kInvalidArgument, "no weight named '" + target + "'", node->name());
    }
    check_weight(*node, weight->second);
    const bool buffer = node->graph().storage(node->storage()).kind == ir::StorageKind::kBuffer;
    impl.weights.push_back({target, own_alias(weight->second), buffer});
  }
}

std::vector<at::Tensor> trace::examples_of(const std::vector<at::Tensor>& inputs) {
  constexpr std::int64_t kMostElements = std::int64_t{1} << 20;
  std::vector<at::Tensor> examples(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor& t = inputs[i];
    if (!at::isIntegralType(t.scalar_type(), /*includeBool=*/false) || t.numel() == 0) continue;
    const at::Tensor memory = flat_memory(t);
    if (memory.numel() > kMostElements) continue;
    examples[i] = memory.to(at::kCPU, memory.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  return examples;
}

std::string TensorSpec::to_string() const {
  const auto dtype_name = trace::dtype_of(dtype);
  std::string text(dtype_name ? ir::dtype_name(*dtype_name) : c10::toString(dtype));
  text += '[';
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    text += (i == 0 ? "" : ",") + std::to_string(sizes[i]);
  }
  return text + ']';
}

std::variant<Program, Rejection> Program::trace(const Module& module,
                                                const std::vector<at::Tensor>& inputs,
                                                const Options& options) {
  trace::check_passes(options);
  auto outcome = trace::checked_record(module, inputs, options);
  if (auto* rejection = std::get_if<Rejection>(&outcome)) return std::move(*rejection);
  auto& recording = std::get<trace::Recording>(outcome);
  auto impl = std::make_shared<Impl>();
  impl->graph = std::move(recording.graph);
  impl->nodes_traced = impl->graph.size();
  impl->trace_ms = recording.milliseconds;
  impl->owner = module.owner;
  try {
    ir::verify(impl->graph);
  } catch (const Error& e) {
    throw Error(Code::kInternal, "the trace left an invalid graph: " + e.message(), e.node());
  }
  optimise(*impl, recording.weights, trace::pipeline_of(options, impl->graph), options);
  trace::complete(*impl, recording.weights);
  set_paths(impl->inputs, module.input_paths);
  set_paths(impl->outputs, module.output_paths);
  if (inputs.size() == impl->inputs.size()) impl->examples = trace::examples_of(inputs);
  return Program(std::move(impl));
}

Program Program::parse(std::string_view text, std::vector<NamedTensor> weights,
                       const std::vector<at::Tensor>& examples) {
  auto impl = std::make_shared<Impl>();
  impl->graph = ir::parse(text);
  ir::verify(impl->graph);
  impl->nodes_traced = impl->graph.size();
  impl->stages.emplace_back("parse", std::string(text));
  std::map<std::string, at::Tensor> named;
  for (NamedTensor& weight : weights) {
    if (!named.try_emplace(weight.name, weight.tensor).second) {
      throw Error(Code::kInvalidArgument, "two weights are called '" + weight.name + "'");
    }
  }
  trace::complete(*impl, named);
  if (examples.size() == impl->inputs.size()) impl->examples = trace::examples_of(examples);
  return Program(std::move(impl));
}

Program::Program(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

const ir::Graph& Program::graph() const {
  return impl_->graph;
}
std::string Program::text() const {
  return ir::text(impl_->graph);
}
std::string Program::python() const {
  return ir::python(impl_->graph);
}
const std::vector<TensorSpec>& Program::inputs() const {
  return impl_->inputs;
}
const std::vector<TensorSpec>& Program::outputs() const {
  return impl_->outputs;
}
const std::vector<NamedTensor>& Program::weights() const {
  return impl_->weights;
}
std::size_t Program::nodes_traced() const {
  return impl_->nodes_traced;
}
const std::vector<PassSummary>& Program::passes() const {
  return impl_->passes;
}
double Program::trace_ms() const {
  return impl_->trace_ms;
}
double Program::passes_ms() const {
  return impl_->passes_ms;
}
const std::vector<std::pair<std::string, std::string>>& Program::stages() const {
  return impl_->stages;
}

}  // namespace monograph
