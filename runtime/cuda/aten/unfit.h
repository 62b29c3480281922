// What a replay of LibTorch's kernels would get wrong.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string>

#include "capture/trace/op_policy.h"

namespace monograph::cuda {

/// Why a call of `op` with `arguments` can't be replayed, by the tracer's own rules; nothing if it
/// can. The tracer has refused such calls already; programs from text or files haven't met it.
inline std::optional<std::string> why_unfit(const c10::OperatorHandle& op,
                                            const torch::jit::Stack& arguments) {
  trace::OpPolicy policy;
  const trace::OpFacts& facts = policy.facts(op);
  const trace::CallArguments call(op.schema(), arguments);
  if (facts.random && trace::draws_random(call)) return "draws random numbers";
  if (facts.data_dependent && trace::reads_values(facts, call)) return "reads its data on the host";
  if (facts.dynamic_shape && trace::has_dynamic_shape(facts, call)) {
    return "has a result whose size depends on data";
  }
  return std::nullopt;
}

}  // namespace monograph::cuda
