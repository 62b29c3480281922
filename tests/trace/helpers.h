// What the trace tests share. Sees ATen, not torch/torch.h.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <monograph/program.h>

#include <map>
#include <string>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/trace/tracer.h"

namespace monograph::test {

using Tensors = std::vector<at::Tensor>;

/// A forward without weights.
Module function(ForwardFn forward);

/// The module's own answer, without gradients.
Tensors eager(const Module& module, const Tensors& inputs);

/// Same count, sizes, dtype; all finite; and equal bit by bit (tolerance 0) or within it.
void expect_close(const Tensors& got, const Tensors& want, double tolerance);

/// The recording of a forward that must be capturable.
trace::Recording record_or_fail(const Module& module, const Tensors& inputs);
/// The program of a forward that must be capturable.
Program trace_or_fail(const Module& module, const Tensors& inputs, const Options& options = {});
/// The refusal of a forward that must not be capturable.
Rejection refusal(const Module& module, const Tensors& inputs);

std::map<std::string, at::Tensor> weights_of(const Program& program);

/// Targets of the calls in order, without "aten." and ".default".
std::vector<std::string> targets(const ir::Graph& graph);
int count(const ir::Graph& graph, const std::string& target);

/// All that holds for every module that can be captured: two recordings have the same text; the
/// text parses back; the recorded graph gives eager's answer bit by bit on inputs that it was not
/// traced with, twice; and so does the optimised program within 1e-5.
void expect_captured(const Module& module, const Tensors& example,
                     const std::vector<Tensors>& fresh);

}  // namespace monograph::test
