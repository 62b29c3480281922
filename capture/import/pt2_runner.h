// Runs the graph of a `.pt2` file operator by operator, for the tracer to record.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <vector>

#include "capture/import/pt2_graph.h"

namespace monograph::importer {

/// Tensor outputs of `model` (whose graph `refuse_model` let pass), in order. `weights` by the
/// order of the input specs that aren't user inputs; `inputs` are the tensor inputs. Devices that
/// the graph names become `device`. Error(kInvalidGraph) naming the node for a call that LibTorch
/// refuses or that gives other results than the archive says; Error(kInvalidArgument) for an
/// assertion of the graph that doesn't hold.
struct Pt2Results {
  std::vector<at::Tensor> tensors;
  std::vector<std::size_t> places;  ///< which output of the graph each is
};
Pt2Results run_pt2(const Pt2Model& model, const std::vector<at::Tensor>& weights,
                   const std::vector<at::Tensor>& inputs, const at::Device& device);

}  // namespace monograph::importer
