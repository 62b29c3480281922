// Inputs of a model: from files, or drawn at random by signature.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <vector>

#include "runtime/cli/request.h"

namespace monograph::cli {

/// One tensor for each spec, on its device. What `request.inputs` names is read; the rest is drawn
/// from `seed`: normal floats, integers in their range (0:2 by default), fair bools. Sizes are
/// those of `request.shapes` where given, else the spec's. Error(kInvalidArgument) for names that
/// no input has, Error(kInvalidFile) for files.
std::vector<at::Tensor> make_inputs(const Request& request, const std::vector<TensorSpec>& specs,
                                    std::uint64_t seed);

/// Fresh values for the inputs of `like` that `request` doesn't read from files.
std::vector<at::Tensor> redraw(const Request& request, const std::vector<TensorSpec>& specs,
                               const std::vector<at::Tensor>& like, std::uint64_t seed);

}  // namespace monograph::cli
