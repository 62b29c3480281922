#include "capture/passes/fusion/op_class.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "capture/ir/analysis.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;

// One row per fact, in order of name: base names of aten operators, whatever the overload.
constexpr auto kPointwise = std::to_array<std::string_view>({
    "_to_copy",    "abs",         "acos",        "add",         "addcdiv",     "addcmul",
    "alias_copy",  "asin",        "atan",        "atan2",       "bitwise_and", "bitwise_not",
    "bitwise_or",  "bitwise_xor", "ceil",        "celu",        "clamp",       "clamp_max",
    "clamp_min",   "clone",       "contiguous",  "copysign",    "cos",         "cosh",
    "detach_copy", "div",         "elu",         "eq",          "erf",         "erfc",
    "exp",         "exp2",        "expm1",       "floor",       "fmod",        "ge",
    "gelu",        "gt",          "hardsigmoid", "hardswish",   "hardtanh",    "isinf",
    "isnan",       "le",          "leaky_relu",  "lerp",        "log",         "log10",
    "log1p",       "log2",        "log_sigmoid", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt",          "masked_fill", "maximum",     "minimum",     "mish",
    "mul",         "ne",          "neg",         "pow",         "reciprocal",  "relu",
    "relu6",       "remainder",   "round",       "rsqrt",       "rsub",        "sigmoid",
    "sign",        "silu",        "sin",         "sinh",        "softplus",    "softsign",
    "sqrt",        "square",      "sub",         "tan",         "tanh",        "threshold",
    "trunc",       "where",
});
// Fill everything with one number, from arguments that aren't read.
constexpr auto kFills = std::to_array<std::string_view>({
    "full_like",
    "ones_like",
    "zeros_like",
});
constexpr auto kGathers = std::to_array<std::string_view>({"embedding", "index_select"});
constexpr auto kScatters = std::to_array<std::string_view>({"index_copy_", "index_put_"});

/// A reduction: base name, and the argument that says what it goes over.
struct Reduction {
  std::string_view op;
  enum Form : std::uint8_t { kDims, kDim, kTrailing } form;
};
constexpr auto kReductions = std::to_array<Reduction>({
    {"_log_softmax", Reduction::kDim},
    {"_softmax", Reduction::kDim},
    {"amax", Reduction::kDims},
    {"amin", Reduction::kDims},
    {"argmax", Reduction::kDim},
    {"argmin", Reduction::kDim},
    {"layer_norm", Reduction::kTrailing},
    {"log_softmax", Reduction::kDim},
    {"mean", Reduction::kDims},
    {"rms_norm", Reduction::kTrailing},
    {"softmax", Reduction::kDim},
    {"sum", Reduction::kDims},
});

template <class Table>
bool listed(const Table& table, std::string_view op) {
  return std::find(table.begin(), table.end(), op) != table.end();
}

const Reduction* find_reduction(std::string_view op) {
  const auto* const at = std::find_if(kReductions.begin(), kReductions.end(),
                                      [op](const Reduction& r) { return r.op == op; });
  return at == kReductions.end() ? nullptr : at;
}

bool is_plain_dtype(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kUndefined:
    case ir::DType::kC64:
    case ir::DType::kC128:
    case ir::DType::kF8E4M3FN:
    case ir::DType::kF8E5M2:
      return false;
    default:
      return true;
  }
}

bool has_plain_operands(const Node& node) {
  const std::vector<Node*> in = inputs_of(node);
  return node.has_tensor() && std::all_of(in.begin(), in.end(), [&node](const Node* n) {
           return n->has_tensor() && is_plain_dtype(n->type().dtype) &&
                  n->type().device == node.type().device;
         });
}

bool broadcasts(const ir::TensorType& from, const ir::TensorType& to) {
  if (from.sizes.size() > to.sizes.size()) return false;
  const std::size_t lead = to.sizes.size() - from.sizes.size();
  for (std::size_t i = 0; i < from.sizes.size(); ++i) {
    if (from.sizes[i] != 1 && from.sizes[i] != to.sizes[lead + i]) return false;
  }
  return true;
}

/// The first result of a storage of its own, densely laid out.
bool makes_dense_tensor(const Node& node) {
  return node.has_tensor() && is_plain_dtype(node.type().dtype) && node.type().offset == 0 &&
         node.writes().empty() && !ir::is_view(node) && ir::is_dense(node.type()) &&
         node.type().numel() > 0 && ir::is_repeatable(node);
}

bool is_pointwise(const Node& node, std::string_view op) {
  const std::vector<Node*> in = inputs_of(node);
  if (in.empty()) return false;
  if (listed(kFills, op)) return true;
  return listed(kPointwise, op) && std::all_of(in.begin(), in.end(), [&](const Node* n) {
           return broadcasts(n->type(), node.type());
         });
}

bool writes_state(const Node& node, std::string_view op) {
  if (!listed(kScatters, op) || node.writes().size() != 1 || !node.has_tensor()) return false;
  const Node& target = *node.writes()[0];
  if (node_arg(node, 0) != &target || !target.has_tensor() || node.value() != target.value()) {
    return false;
  }
  const std::vector<Node*> in = inputs_of(node);
  const auto reads = [&](const Node* n) {
    return n != &target && n->storage() == target.storage();
  };
  return node.graph().storage(target.storage()).kind == ir::StorageKind::kState &&
         std::none_of(in.begin(), in.end(), reads);
}

std::vector<std::int64_t> dims_of(const Arg* arg, std::int64_t rank) {
  std::vector<std::int64_t> dims;
  const auto add = [&](const Arg& a) {
    if (const auto* d = a.get_if<std::int64_t>()) dims.push_back(*d < 0 ? *d + rank : *d);
  };
  if (arg == nullptr) return {};
  if (arg->is_list()) {
    for (const Arg& a : arg->list()) add(a);
  } else {
    add(*arg);
  }
  std::sort(dims.begin(), dims.end());
  return dims;
}

}  // namespace

bool is_head_norm(const Node& node) {
  constexpr std::int64_t kLongestRow = 512;
  return is_aten(node, "rms_norm") && op_class(node) == OpClass::kReduction &&
         reduced_dims(node).size() == 1 && node.type().sizes.back() <= kLongestRow;
}

bool is_map(OpClass c) noexcept {
  return c == OpClass::kPointwise || c == OpClass::kConcat || c == OpClass::kGather;
}

std::vector<std::int64_t> reduced_dims(const Node& node) {
  const auto target = split_target(node.target());
  const Reduction* reduction = target ? find_reduction(target->op) : nullptr;
  const Node* x = node_arg(node, 0);
  if (reduction == nullptr || target->space != "aten" || x == nullptr || !x->has_tensor())
    return {};
  const std::int64_t rank = x->type().rank();
  if (rank == 0) return {};  // nothing to go along, though 0 and -1 name it
  if (reduction->form == Reduction::kTrailing) {
    const Arg* shape = find_arg(node, 1, "normalized_shape");
    const auto count =
        shape != nullptr && shape->is_list() ? static_cast<std::int64_t>(shape->list().size()) : 0;
    std::vector<std::int64_t> dims;
    for (std::int64_t d = rank - count; d < rank; ++d) dims.push_back(d);
    return dims;
  }
  std::vector<std::int64_t> dims = dims_of(find_arg(node, 1, "dim"), rank);
  if (dims.empty()) {  // none given: everything
    for (std::int64_t d = 0; d < rank; ++d) dims.push_back(d);
  }
  return dims;
}

OpClass op_class(const Node& node) {
  if (node.kind() != ir::NodeKind::kCallFunction || !has_plain_operands(node)) {
    return OpClass::kOther;
  }
  const auto target = split_target(node.target());
  if (!target || target->space != "aten") return OpClass::kOther;
  if (writes_state(node, target->op)) return OpClass::kScatter;
  if (!makes_dense_tensor(node)) return OpClass::kOther;
  if (is_pointwise(node, target->op)) return OpClass::kPointwise;
  if (target->op == "cat") return OpClass::kConcat;
  if (listed(kGathers, target->op)) return OpClass::kGather;
  if (!reduced_dims(node).empty()) return OpClass::kReduction;
  return OpClass::kOther;
}

}  // namespace monograph::passes
