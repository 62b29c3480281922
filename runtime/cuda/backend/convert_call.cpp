#include "runtime/cuda/backend/convert_call.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace monograph::cuda {
namespace {

constexpr std::string_view kFusionPrefix = "fusion.";

std::optional<kernels::DType> to_kernel_dtype(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kBool:
      return kernels::DType::kBool;
    case ir::DType::kU8:
      return kernels::DType::kU8;
    case ir::DType::kI8:
      return kernels::DType::kI8;
    case ir::DType::kI16:
      return kernels::DType::kI16;
    case ir::DType::kI32:
      return kernels::DType::kI32;
    case ir::DType::kI64:
      return kernels::DType::kI64;
    case ir::DType::kF16:
      return kernels::DType::kF16;
    case ir::DType::kBF16:
      return kernels::DType::kBF16;
    case ir::DType::kF32:
      return kernels::DType::kF32;
    case ir::DType::kF64:
      return kernels::DType::kF64;
    default:
      return std::nullopt;
  }
}

/// Storages are 256-byte aligned in the arena and at least 16-byte aligned elsewhere (LibTorch's
/// allocators give more; the runner checks callers' tensors).
std::int64_t alignment_of(const ir::TensorType& type) {
  constexpr std::int64_t kBase = 16;
  const std::int64_t offset = type.offset * ir::itemsize(type.dtype);
  if (offset == 0) return kBase;
  return std::min(kBase, offset & -offset);
}

std::optional<kernels::TensorDesc> describe(const ir::TensorType& type, std::string* why) {
  const auto dtype = to_kernel_dtype(type.dtype);
  if (!dtype) {
    *why = "dtype " + std::string(ir::dtype_name(type.dtype));
    return std::nullopt;
  }
  return kernels::TensorDesc{*dtype, type.sizes, type.strides, alignment_of(type)};
}

/// No launch writes what is in such a storage.
bool is_constant(const ir::Node& node, std::size_t element) {
  const ir::StorageId storage = node.values()[element].storage;
  if (storage == ir::kNoStorage) return false;
  switch (node.graph().storage(storage).kind) {
    case ir::StorageKind::kParameter:
    case ir::StorageKind::kBuffer:
    case ir::StorageKind::kConstant:
      return true;
    default:
      return false;
  }
}

/// `node`, and no other launch, writes state `value`.
bool is_own(const ir::Node& node, const ir::Node& value) {
  const auto writes = [&](const ir::Node& n) {
    return std::ranges::any_of(n.writes(),
                               [&](const ir::Node* w) { return w->storage() == value.storage(); });
  };
  if (!writes(node)) return false;
  return std::ranges::none_of(node.graph().nodes(),
                              [&](const auto& n) { return n.get() != &node && writes(*n); });
}

/// Turns arguments into kernel arguments; what a tensor argument becomes is up to `tensor`, which
/// appends indices of the node's tensors to `out.tensors`.
class ArgumentConverter {
 public:
  using Tensor = std::function<bool(const ir::Node& node, kernels::Argument& out)>;
  ArgumentConverter(Tensor tensor, std::string* why) : tensor_(std::move(tensor)), why_(why) {}

  std::optional<kernels::Argument> convert(const ir::Arg& arg) {
    kernels::Argument out;
    if (const auto* node = arg.get_if<ir::Node*>())
      return tensor_(**node, out) ? std::optional(out) : std::nullopt;
    if (const auto* list = arg.get_if<ir::Arg::List>()) return convert_list(*list);
    if (const auto* b = arg.get_if<bool>()) out.scalar = *b;
    if (const auto* i = arg.get_if<std::int64_t>()) out.scalar = *i;
    if (const auto* d = arg.get_if<double>()) out.scalar = *d;
    if (const auto* s = arg.get_if<std::string>()) out.scalar = *s;
    if (const auto* t = arg.get_if<ir::DType>()) {
      const auto dtype = to_kernel_dtype(*t);
      if (!dtype) {
        *why_ = "dtype argument " + std::string(ir::dtype_name(*t));
        return std::nullopt;
      }
      out.scalar = *dtype;
    }
    if (arg.is<std::complex<double>>()) {
      *why_ = "complex argument";
      return std::nullopt;
    }
    return out;  // None, devices, layouts and memory formats say nothing that types don't
  }

  /// All arguments of `node`, or false with the reason noted.
  bool convert_all(const ir::Node& node, std::vector<kernels::Argument>& args,
                   std::vector<std::pair<std::string, kernels::Argument>>& kwargs) {
    for (const ir::Arg& a : node.args()) {
      auto arg = convert(a);
      if (!arg) return false;
      args.push_back(std::move(*arg));
    }
    for (const auto& [name, a] : node.kwargs()) {
      auto arg = convert(a);
      if (!arg) return false;
      kwargs.emplace_back(name, std::move(*arg));
    }
    return true;
  }

 private:
  std::optional<kernels::Argument> convert_list(const ir::Arg::List& list) {
    kernels::Argument out;
    const bool has_tensors =
        std::ranges::any_of(list, [](const ir::Arg& a) { return a.is_node(); });
    if (has_tensors) {
      out.is_tensor_list = true;
      for (const ir::Arg& a : list) {
        if (!a.is_node()) {
          *why_ = "list of tensors and other values";
          return std::nullopt;
        }
        if (!tensor_(*a.node(), out)) return std::nullopt;
      }
      return out;
    }
    std::vector<std::int64_t> ints;
    for (const ir::Arg& a : list) {
      if (const auto* i = a.get_if<std::int64_t>()) {
        ints.push_back(*i);
      } else if (const auto* b = a.get_if<bool>()) {
        ints.push_back(*b ? 1 : 0);
      } else {
        *why_ = "list argument of another kind";
        return std::nullopt;
      }
    }
    out.scalar = std::move(ints);
    return out;
  }

  Tensor tensor_;
  std::string* why_;
};

/// Adds the tensors of `node` to the call's operands.
bool add_operand(const ir::Node& node, KernelCall& call, kernels::Argument& out, std::string* why) {
  for (std::size_t e = 0; e < node.values().size(); ++e) {
    const auto desc = describe(node.values()[e].type, why);
    if (!desc) return false;
    out.tensors.push_back(static_cast<std::int32_t>(call.call.inputs.size()));
    call.call.inputs.push_back(*desc);
    call.call.inputs.back().constant = is_constant(node, e);
    call.input_nodes.push_back(&node);
    call.input_elements.push_back(e);
  }
  out.is_tensor_list = out.is_tensor_list || node.is_list();
  return true;
}

/// The steps of a fusion's subgraph over the values of the call that it belongs to.
class BodyConverter {
 public:
  BodyConverter(const ir::Graph& subgraph, std::string* why) : subgraph_(subgraph), why_(why) {}

  std::shared_ptr<const kernels::Body> run() {
    auto body = std::make_shared<kernels::Body>();
    for (const ir::Node* input : subgraph_.placeholders()) define(*input, input->value());
    for (const auto& node : subgraph_.nodes()) {
      if (node->kind() == ir::NodeKind::kPlaceholder) continue;
      if (node->kind() == ir::NodeKind::kOutput) continue;
      if (node->is_list() && ir::is_view(*node)) continue;  // operator.getitem has what matters
      if (!add_step(*node, *body)) return nullptr;
    }
    for (const ir::Arg& a : subgraph_.output_node()->args()) {
      ir::for_each_node(a, [&](const ir::Node* n) { body->outputs.push_back(values_.at(n)); });
    }
    return body;
  }

 private:
  struct Root {
    std::int32_t value;
    std::int64_t offset;
  };

  void define(const ir::Node& node, const ir::Value& value) {
    values_.emplace(&node, next_);
    if (value.storage != ir::kNoStorage) {
      roots_.try_emplace(value.storage, Root{next_, value.type.offset});
    }
    ++next_;
  }

  bool add_step(const ir::Node& node, kernels::Body& body) {
    // Rows of state may be written; what else writes has no kernel.
    const bool writes_state =
        node.writes().size() == 1 && node.target() == "aten.index_copy_.default";
    if (node.kind() != ir::NodeKind::kCallFunction || !node.has_tensor() ||
        (!node.writes().empty() && !writes_state)) {
      *why_ = node.target() + " in a fusion";
      return false;
    }
    kernels::Step step;
    step.op = node.target();
    if (step.op != "operator.getitem") {
      ArgumentConverter converter(
          [this](const ir::Node& n, kernels::Argument& out) {
            const auto at = values_.find(&n);
            if (at == values_.end()) return false;
            out.tensors.push_back(at->second);
            return true;
          },
          why_);
      if (!converter.convert_all(node, step.args, step.kwargs)) return false;
    }
    const auto desc = describe(node.type(), why_);
    if (!desc) return false;
    step.output = *desc;
    if (const auto root = roots_.find(node.storage()); root != roots_.end()) {
      step.alias = root->second.value;
      step.offset = node.type().offset - root->second.offset;
    }
    body.steps.push_back(std::move(step));
    define(node, node.value());
    return true;
  }

  const ir::Graph& subgraph_;
  std::string* why_;
  std::int32_t next_ = 0;
  std::map<const ir::Node*, std::int32_t> values_;
  std::map<ir::StorageId, Root> roots_;
};

/// Memory is laid out as the subgraph was traced with.
bool same_strides(const ir::TensorType& a, const ir::TensorType& b) {
  for (std::size_t d = 0; d < a.sizes.size(); ++d) {
    if (a.sizes[d] > 1 && a.strides[d] != b.strides[d]) return false;
  }
  return true;
}

bool add_body(const ir::Node& node, KernelCall& call, std::string* why) {
  const ir::Graph* subgraph =
      node.graph().subgraph(std::string_view(node.target()).substr(kFusionPrefix.size()));
  if (subgraph == nullptr) {
    *why = "no subgraph for " + node.target();
    return false;
  }
  const std::vector<ir::Node*> inputs = subgraph->placeholders();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!same_strides(node.args()[i].node()->type(), inputs[i]->type())) {
      *why = "argument " + std::to_string(i) + " has other strides than its placeholder";
      return false;
    }
  }
  call.call.op = "fusion";
  call.call.body = BodyConverter(*subgraph, why).run();
  return call.call.body != nullptr;
}

}  // namespace

std::optional<KernelCall> to_kernel_call(const ir::Node& node, std::string* why) {
  KernelCall result;
  result.call.op = node.target();
  ArgumentConverter converter(
      [&](const ir::Node& n, kernels::Argument& out) { return add_operand(n, result, out, why); },
      why);
  if (!converter.convert_all(node, result.call.args, result.call.kwargs)) return std::nullopt;
  for (std::size_t i = 0; !node.writes().empty() && i < result.input_nodes.size(); ++i) {
    result.call.inputs[i].own = is_own(node, *result.input_nodes[i]);
  }
  for (const ir::Value& v : node.values()) {
    const auto desc = describe(v.type, why);
    if (!desc) return std::nullopt;
    result.call.outputs.push_back(*desc);
  }
  if (node.target().starts_with(kFusionPrefix) && !add_body(node, result, why)) {
    return std::nullopt;
  }
  return result;
}

}  // namespace monograph::cuda
