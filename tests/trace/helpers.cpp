#include "tests/trace/helpers.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <c10/core/InferenceMode.h>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/trace/interpreter.h"
#ifdef MONOGRAPH_TEST_ON_DEVICE
#include "tests/cuda/virtual_device.h"
#endif

namespace monograph::test {

Module function(ForwardFn forward) {
  Module module;
  module.forward = std::move(forward);
  return module;
}

Tensors eager(const Module& module, const Tensors& inputs) {
  const c10::InferenceMode inference;
  return module.forward(inputs);
}

void expect_close(const Tensors& got, const Tensors& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("output " + std::to_string(i));
    ASSERT_EQ(got[i].sizes(), want[i].sizes());
    ASSERT_EQ(got[i].scalar_type(), want[i].scalar_type());
    if (want[i].is_floating_point()) {
      ASSERT_TRUE(want[i].isfinite().all().item<bool>()) << "eager's own answer isn't finite";
      ASSERT_TRUE(got[i].isfinite().all().item<bool>());
    }
    if (tolerance == 0) {
      EXPECT_TRUE(at::equal(got[i], want[i]));
    } else {
      EXPECT_TRUE(at::allclose(got[i], want[i], tolerance, tolerance));
    }
  }
}

trace::Recording record_or_fail(const Module& module, const Tensors& inputs) {
  auto outcome = trace::record(module, inputs, "model");
  if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
    throw std::runtime_error("refused: " + rejection->to_string());
  }
  return std::move(std::get<trace::Recording>(outcome));
}

Program trace_or_fail(const Module& module, const Tensors& inputs, const Options& options) {
  auto outcome = Program::trace(module, inputs, options);
  if (const auto* rejection = std::get_if<Rejection>(&outcome)) {
    throw std::runtime_error("refused: " + rejection->to_string());
  }
  return std::get<Program>(outcome);
}

Rejection refusal(const Module& module, const Tensors& inputs) {
  auto outcome = trace::record(module, inputs, "model");
  if (const auto* recording = std::get_if<trace::Recording>(&outcome)) {
    throw std::runtime_error("captured: " + ir::text(recording->graph));
  }
  return std::get<Rejection>(outcome);
}

std::map<std::string, at::Tensor> weights_of(const Program& program) {
  std::map<std::string, at::Tensor> weights;
  for (const NamedTensor& weight : program.weights()) weights[weight.name] = weight.tensor;
  return weights;
}

std::vector<std::string> targets(const ir::Graph& graph) {
  std::vector<std::string> names;
  for (const auto& node : graph.nodes()) {
    if (node->kind() != ir::NodeKind::kCallFunction) continue;
    std::string name = node->target();
    if (name.starts_with("aten.")) name.erase(0, 5);
    if (name.ends_with(".default")) name.resize(name.size() - 8);
    names.push_back(name);
  }
  return names;
}

int count(const ir::Graph& graph, const std::string& target) {
  int n = 0;
  for (const auto& node : graph.nodes()) n += node->is_call(target) ? 1 : 0;
  return n;
}

void expect_captured(const Module& module, const Tensors& example,
                     const std::vector<Tensors>& fresh) {
  const trace::Recording recording = record_or_fail(module, example);
  const std::string text = ir::text(recording.graph);
  SCOPED_TRACE(text);
  ir::verify(recording.graph);
  EXPECT_EQ(text, ir::text(record_or_fail(module, example).graph));
  const ir::Graph parsed = ir::parse(text);
  std::string why;
  EXPECT_TRUE(ir::same(recording.graph, parsed, &why)) << why;

  const Program program = trace_or_fail(module, example);
  SCOPED_TRACE("optimised: " + program.text());
  ASSERT_GE(fresh.size(), 2U);
  for (const Tensors& inputs : fresh) {
    const Tensors want = eager(module, inputs);
    expect_close(trace::interpret(recording.graph, recording.weights, inputs), want, 0);
    expect_close(trace::interpret(parsed, recording.weights, inputs), want, 0);
    expect_close(trace::interpret(program.graph(), weights_of(program), inputs), want, 1e-5);
  }
#ifdef MONOGRAPH_TEST_ON_DEVICE
  // The same suite serves the CUDA back end, where a driver for it is named.
  if (!driver_under_test().empty()) expect_same_in_all_orders(program, fresh);
#endif
}

}  // namespace monograph::test
