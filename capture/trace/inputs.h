// Example inputs: what is usable, and private copies for the forward that is recorded.
#pragma once

#include <monograph/program.h>

#include <optional>
#include <string>
#include <vector>

namespace monograph::trace {

/// Throws Error(kInvalidArgument) that names the input (by name if it has one), what was expected
/// and what came: an undefined tensor, one that requires grad, is sparse, nested or quantised, has
/// an element type that the graph doesn't know, or lives neither on cpu nor cuda.
void check_inputs(const Module& module, const std::vector<at::Tensor>& inputs);

/// The refusal of inputs that overlap each other in memory: forward may take notice of it, and a
/// replay on tensors that don't wouldn't be the same. Tensors that overlap themselves (expand) are
/// fine: inputs are only read.
std::optional<Rejection> overlapping_inputs(const Module& module,
                                            const std::vector<at::Tensor>& inputs);

/// The module's input names, completed by "in_0", "in_1", ... Error(kInvalidArgument) for names
/// that are too many, empty or used twice.
std::vector<std::string> input_names(const Module& module, std::size_t count);

/// Error(kInvalidArgument) for a missing forward and for two weights of one name.
void check_module(const Module& module);

/// Copies with the same values, sizes and strides in memory of their own. The recorded forward gets
/// these, so the caller's tensors can't be written whatever forward does, and a tensor that forward
/// captured isn't mistaken for an input even if the caller passes it as one.
std::vector<at::Tensor> private_copies(const std::vector<at::Tensor>& inputs);

/// All elements of the memory that `tensor` spans, in memory order: a view of it.
at::Tensor flat_memory(const at::Tensor& tensor);

}  // namespace monograph::trace
