// What can be said against importing a graph before running it.
#pragma once

#include <monograph/error.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/import/pt2_graph.h"

namespace monograph::importer {

/// Why `model` is refused: operators that LibTorch doesn't know, that lie outside `namespaces` or
/// reach outside of the process, control flow on values, arguments that are no values, and
/// mutations that the signature declares. Nothing if it may be run.
std::optional<Rejection> refuse_model(const Pt2Model& model,
                                      const std::vector<std::string>& namespaces);

/// "aten.add.Tensor" of "torch.ops.aten.add.Tensor"; nothing for other targets.
std::optional<std::string> operator_target(std::string_view target);

/// Higher-order operators whose graph is simply run, for their arguments behind the graph.
inline constexpr std::string_view kSetGradEnabled =
    "torch.ops.higher_order.wrap_with_set_grad_enabled";
inline constexpr std::string_view kWithAutocast = "torch.ops.higher_order.wrap_with_autocast";

/// Arguments before the graph in a call of `kSetGradEnabled` or `kWithAutocast`.
std::size_t wrapped_graph_index(std::string_view target);

}  // namespace monograph::importer
