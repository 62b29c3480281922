// What can be said against importing a graph before running it.
#pragma once

#include <monograph/error.h>
#include <monograph/options.h>

#include <optional>
#include <string>
#include <string_view>

#include "capture/import/pt2_graph.h"

namespace monograph::importer {

/// Why `model` is refused: operators that LibTorch doesn't know, that lie outside of the options'
/// namespaces or reach outside of the process, control flow on values, arguments that are no
/// values, and mutations that the signature has and the options don't declare. Nothing if it may be
/// run.
std::optional<Rejection> refuse_model(const Pt2Model& model, const Options& options);

/// True for an output that is the new value of a weight instead of a result.
bool updates_weight(const Pt2OutputSpec& spec) noexcept;

/// "aten.add.Tensor" of "torch.ops.aten.add.Tensor"; nothing for other targets.
std::optional<std::string> operator_target(std::string_view target);

/// Higher-order operators whose graph is simply run, for their arguments behind the graph.
inline constexpr std::string_view kSetGradEnabled =
    "torch.ops.higher_order.wrap_with_set_grad_enabled";
inline constexpr std::string_view kWithAutocast = "torch.ops.higher_order.wrap_with_autocast";

/// Arguments before the graph in a call of `kSetGradEnabled` or `kWithAutocast`.
std::size_t wrapped_graph_index(std::string_view target);

}  // namespace monograph::importer
