// Launches carried out by LibTorch's own kernels, through the dispatcher.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "runtime/host/step.h"

namespace monograph::host {

/// The overload of `op` that computes the same into tensors given by the caller, with a CPU kernel
/// of its own. nullopt if there is none; overloads that LibTorch generates (call, then copy) don't
/// count, since they allocate.
std::optional<c10::OperatorHandle> find_out_variant(const c10::OperatorHandle& op);

struct AtenStep {
  std::unique_ptr<Step> step;
  bool allocates = false;  ///< the kernel makes its results itself; they are then copied
};
/// In-place ops and calls with an out-variant write where the plan says; others are called as they
/// are and their results copied there.
AtenStep bind_aten(const Call& call);

}  // namespace monograph::host
