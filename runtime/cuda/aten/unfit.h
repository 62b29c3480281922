// What a replay of LibTorch's kernels would get wrong.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

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

/// Throws Error(kDeviceCaptureFailed) naming `node` if no capture of `op` can succeed, whatever its
/// arguments are: cuSOLVER waits for the device there. The attempt would do harm, since it leaves
/// LibTorch's cuSOLVER handle unusable for eager calls, too (seen with LibTorch 2.11, CUDA 13.0).
inline void check_capturable(const c10::OperatorHandle& op, const std::string& node) {
  constexpr std::array<std::string_view, 6> kWaiting{
      "aten::_linalg_eigh", "aten::_linalg_eigvals",      "aten::_linalg_svd",
      "aten::linalg_eig",   "aten::linalg_ldl_factor_ex", "aten::linalg_pinv"};
  const std::string& name = op.schema().name();
  if (std::ranges::find(kWaiting, name) == kWaiting.end()) return;
  throw Error(Code::kDeviceCaptureFailed, name + " waits for the device, inside cuSOLVER", node);
}

}  // namespace monograph::cuda
