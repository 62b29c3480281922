#include "capture/import/pt2_check.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "capture/import/scalar_ops.h"
#include "capture/trace/convert.h"
#include "capture/trace/state_names.h"

namespace monograph::importer {
namespace {

constexpr std::string_view kOpsPrefix = "torch.ops.";
constexpr std::string_view kHigherOrder = "torch.ops.higher_order.";

/// Operators that read or write files, take over memory by address or otherwise reach beyond the
/// tensors they are given.
constexpr auto kForbidden = std::to_array<std::string_view>({
    "aten._cuda_getCurrentRawStream",
    "aten._pin_memory",
    "aten.from_file",
    "aten.pin_memory",
    "aten.save",
    "aten.set_",
    "aten.set_data",
    "aten.warn",
});

/// Control flow that branches or loops on values.
constexpr auto kControlFlow = std::to_array<std::string_view>({
    "associative_scan",
    "cond",
    "map_impl",
    "scan",
    "while_loop",
});

bool forbidden(std::string_view target) {
  return std::ranges::any_of(kForbidden, [target](std::string_view row) {
    return target.starts_with(row) && target.size() > row.size() && target[row.size()] == '.';
  });
}

class Checker {
 public:
  explicit Checker(const std::vector<std::string>& namespaces) : namespaces_(namespaces) {}

  std::optional<Rejection> check(const Pt2Graph& graph) {
    for (const Pt2Node& node : graph.nodes) {
      if (auto rejection = check(node)) return rejection;
    }
    return std::nullopt;
  }

 private:
  std::optional<Rejection> check(const Pt2Node& node) {
    for (const auto& [name, argument] : node.inputs) {
      if (const auto* foreign = argument.get_if<Pt2Foreign>()) {
        return refuse(node, Code::kRejectedUnsupportedOp,
                      fmt::format("argument '{}' is a {}, which has no place in a graph of tensors",
                                  name, foreign->what),
                      "rewrite it with operators on tensors and export again");
      }
    }
    if (node.target.starts_with(kHigherOrder)) return check_higher_order(node);
    if (is_number_op(node.target)) return std::nullopt;
    const auto target = operator_target(node.target);
    if (!target) {
      return refuse(node, Code::kRejectedUnsupportedOp, "it is no operator that is known",
                    "export with PyTorch 2.9 to 2.15 and run_decompositions()");
    }
    return check_operator(node, *target);
  }

  std::optional<Rejection> check_operator(const Pt2Node& node, const std::string& target) const {
    const std::string space = target.substr(0, target.find('.'));
    if (std::ranges::find(namespaces_, space) == namespaces_.end()) {
      return refuse(node, Code::kRejectedUnsupportedOp,
                    fmt::format("operators of namespace '{}' aren't allowed", space),
                    "if you trust and have registered them, add the namespace to "
                    "Options::op_namespaces; otherwise export with run_decompositions()");
    }
    const auto name = trace::operator_name_of(target);
    if (!name || !c10::Dispatcher::singleton().findSchema(*name)) {
      return refuse(node, Code::kRejectedUnsupportedOp,
                    "no operator of that name is registered in this LibTorch",
                    "load the library that registers it, or export with an older PyTorch");
    }
    if (forbidden(target)) {
      return refuse(node, Code::kRejectedUnsupportedOp,
                    "it reaches beyond the tensors it is given, which an archive may not do",
                    "leave it out of forward");
    }
    return std::nullopt;
  }

  std::optional<Rejection> check_higher_order(const Pt2Node& node) {
    const std::string_view kind = std::string_view(node.target).substr(kHigherOrder.size());
    if (std::ranges::find(kControlFlow, kind) != kControlFlow.end()) {
      return refuse(node, Code::kRejectedDataDependence,
                    "it branches or loops on the values of tensors, and a replay would freeze what "
                    "was seen while importing",
                    "compute all branches and select with where, or unroll the loop");
    }
    const bool known = node.target == kSetGradEnabled || node.target == kWithAutocast;
    const std::size_t at = known ? wrapped_graph_index(node.target) : 0;
    const auto* graph = known && at < node.inputs.size()
                            ? node.inputs[at].second.get_if<std::shared_ptr<const Pt2Graph>>()
                            : nullptr;
    if (graph == nullptr) {
      return refuse(node, Code::kRejectedUnsupportedOp, "a higher-order operator that isn't known",
                    "export with run_decompositions(), or leave it out of forward");
    }
    constexpr std::size_t kEnabled = 2;  // the graph's index, checked above, is greater
    const auto* enabled =
        node.target == kWithAutocast ? node.inputs[kEnabled].second.get_if<bool>() : nullptr;
    if (node.target == kWithAutocast && (enabled == nullptr || *enabled)) {
      return refuse(node, Code::kRejectedUnsupportedOp,
                    "autocast chooses types by rules that the archive doesn't hold",
                    "export with run_decompositions(), which writes the casts out, or convert the "
                    "model with .half() or .bfloat16()");
    }
    return check(**graph);
  }

  static Rejection refuse(const Pt2Node& node, Code code, const std::string& reason,
                          std::string remedy) {
    Rejection rejection;
    rejection.code = code;
    rejection.op = operator_target(node.target).value_or(node.target);
    rejection.node = node.name;
    rejection.module_path = node.module_path;
    rejection.reason = rejection.op + ": " + reason;
    rejection.remedy = std::move(remedy);
    rejection.excerpt = node.stack_trace;
    return rejection;
  }

  const std::vector<std::string>& namespaces_;
};

std::optional<Rejection> refuse_mutations(const Pt2Model& model, const Options& options) {
  using Kind = Pt2OutputSpec::Kind;
  for (const Pt2OutputSpec& spec : model.output_specs) {
    if (spec.kind == Kind::kUser || spec.kind == Kind::kOther) continue;
    const bool declared =
        options.graph_mode == GraphMode::kNone || trace::names_state(options, spec.target);
    if (updates_weight(spec) && declared) continue;
    const char* what = spec.kind == Kind::kBufferMutation      ? "buffer"
                       : spec.kind == Kind::kParameterMutation ? "parameter"
                                                               : "input";
    Rejection rejection;
    rejection.code = Code::kRejectedMutation;
    rejection.subject = spec.target;
    rejection.reason = fmt::format(
        "forward writes the {} '{}' (the signature of the archive says so): a replay would write "
        "it again, or not at all",
        what, spec.target);
    rejection.remedy = "return the new value as an output instead of writing it";
    if (updates_weight(spec)) rejection.remedy += ", or declare it in Options::mutable_state";
    return rejection;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> operator_target(std::string_view target) {
  if (!target.starts_with(kOpsPrefix) || target.starts_with(kHigherOrder)) return std::nullopt;
  return std::string(target.substr(kOpsPrefix.size()));
}

std::size_t wrapped_graph_index(std::string_view target) {
  // (enabled, graph, ...) and (device_type, dtype, enabled, cache_enabled, graph, ...)
  return target == kSetGradEnabled ? 1 : 4;
}

bool updates_weight(const Pt2OutputSpec& spec) noexcept {
  using Kind = Pt2OutputSpec::Kind;
  return spec.kind == Kind::kBufferMutation || spec.kind == Kind::kParameterMutation;
}

std::optional<Rejection> refuse_model(const Pt2Model& model, const Options& options) {
  if (auto rejection = refuse_mutations(model, options)) return rejection;
  return Checker(options.op_namespaces).check(model.graph);
}

}  // namespace monograph::importer
