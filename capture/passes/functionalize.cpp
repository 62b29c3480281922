// Rewrites in-place calls on whole intermediates as calls that return a new tensor.
//
// `%a = add_(%x, ...)` becomes `%a = add(%x, ...)` if %x fills a storage that some node made and no
// other view of that storage, taken before, is used afterwards: then every later use of %x, of its
// equals, and of views taken later can go to the new tensor. Anything else stays an ordered effect:
// writes to parts, to state, and operators whose out-of-place form would copy far more than they
// write (index_put_, scatter_).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Graph;
using ir::Node;
using ir::StorageId;
using ir::TensorType;

/// Elementwise operators `op_` whose `op` has the same overloads and arguments and whose result
/// has self's dtype if all tensors have it. Sorted.
constexpr std::array<std::string_view, 66> kElementwise{
    "abs",      "acos",       "add",         "addcdiv",   "addcmul",   "asin",        "atan",
    "ceil",     "celu",       "clamp",       "clamp_max", "clamp_min", "copysign",    "cos",
    "cosh",     "div",        "elu",         "erf",       "erfc",      "exp",         "exp2",
    "expm1",    "floor",      "fmod",        "frac",      "gelu",      "hardsigmoid", "hardswish",
    "hardtanh", "hypot",      "leaky_relu",  "lerp",      "log",       "log10",       "log1p",
    "log2",     "logit",      "masked_fill", "mish",      "mul",       "nan_to_num",  "neg",
    "pow",      "reciprocal", "relu",        "relu6",     "remainder", "round",       "rsqrt",
    "selu",     "sgn",        "sigmoid",     "sign",      "silu",      "sin",         "sinc",
    "sinh",     "sqrt",       "square",      "sub",       "tan",       "tanh",        "threshold",
    "tril",     "triu",       "trunc"};
static_assert(std::is_sorted(kElementwise.begin(), kElementwise.end()));

/// Operator, arguments and keyword arguments of the call that takes an in-place one's place.
struct Functional {
  std::string target;
  std::vector<Arg> args;
  ir::Kwargs kwargs;
};

/// An in-place call with its arguments, and what it writes, as they are by now.
struct InPlace {
  const Node& node;
  std::vector<Arg> args;
  ir::Kwargs kwargs;
  Node* self = nullptr;

  Node* tensor(std::size_t i) const {
    Node* const* found = i < args.size() ? args[i].get_if<Node*>() : nullptr;
    return found != nullptr ? *found : nullptr;
  }
};

std::string functional_target(const Target& parts) {
  const std::string_view op = parts.op.substr(0, parts.op.size() - 1);
  if (op == "pow") return fmt::format("aten.pow.Tensor_{}", parts.overload);  // of its own in torch
  return fmt::format("aten.{}.{}", op, parts.overload);
}

/// The written tensor is an operand like the others: same dtype (but for a mask), and if another
/// operand shares its memory then element by element.
bool operands_fit(const InPlace& call, bool has_mask) {
  const Node& self = *call.self;
  std::size_t operand = 0;
  bool fit = true;
  const auto check = [&](const Node* input) {
    const bool mask = has_mask && operand == 1;
    ++operand;
    fit = fit && input->has_tensor() &&
          input->type().dtype == (mask ? ir::DType::kBool : self.type().dtype) &&
          (input->storage() != self.storage() || input->type() == self.type());
  };
  for (const Arg& a : call.args) ir::for_each_node(a, check);
  for (const auto& [key, a] : call.kwargs) ir::for_each_node(a, check);
  return fit;
}

std::optional<Functional> elementwise(const InPlace& call, const Target& parts) {
  const std::string_view op = parts.op.substr(0, parts.op.size() - 1);
  if (!std::binary_search(kElementwise.begin(), kElementwise.end(), op)) return std::nullopt;
  if (!operands_fit(call, op == "masked_fill")) return std::nullopt;
  return Functional{functional_target(parts), call.args, call.kwargs};
}

ir::Kwargs options_of(const TensorType& type) {
  return {{"dtype", type.dtype}, {"device", type.device}};
}

/// fill_(x, 2), zero_(x): contents that don't depend on x.
std::optional<Functional> filled(const InPlace& call, const Target& parts) {
  const Node& self = *call.self;
  const Arg sizes = Arg::ints(self.type().sizes);
  if (parts.op == "zero_")
    return Functional{"aten.zeros.default", {sizes}, options_of(self.type())};
  if (parts.op != "fill_" || parts.overload != "Scalar" || call.args.size() < 2) {
    return std::nullopt;
  }
  return Functional{"aten.full.default", {sizes, call.args[1]}, options_of(self.type())};
}

/// copy_(x, src) of equal sizes on one device: a row-major copy of src, converted if need be.
std::optional<Functional> copied(const InPlace& call, const Target& parts) {
  const Node& self = *call.self;
  Node* source = call.tensor(1);
  if (parts.op != "copy_" || parts.overload != "default" || source == nullptr) return std::nullopt;
  if (!source->has_tensor() || source->storage() == self.storage()) return std::nullopt;
  const TensorType& from = source->type();
  if (from.sizes != self.type().sizes || from.device != self.type().device ||
      is_complex(from.dtype)) {
    return std::nullopt;
  }
  ir::Kwargs kwargs;
  if (from.dtype != self.type().dtype) kwargs.emplace_back("dtype", self.type().dtype);
  std::string target = kwargs.empty() ? "aten.clone.default" : "aten._to_copy.default";
  kwargs.emplace_back("memory_format", ir::MemoryFormat::kContiguous);
  return Functional{std::move(target), {Arg(source)}, std::move(kwargs)};
}

std::optional<Functional> functional_form(const InPlace& call) {
  const auto parts = split_target(call.node.target());
  if (!parts || parts->space != "aten" || !parts->op.ends_with('_')) return std::nullopt;
  if (auto form = elementwise(call, *parts)) return form;
  if (auto form = filled(call, *parts)) return form;
  return copied(call, *parts);
}

/// For one storage: until when views other than those of a given type are used. Keeps the two
/// types used longest, which is enough to leave any one type out.
class ViewUses {
 public:
  void add(const TensorType& type, std::int32_t last_use) {
    if (longest_.type == type) {
      longest_.until = std::max(longest_.until, last_use);
    } else if (last_use > longest_.until) {
      second_ = std::exchange(longest_, {type, last_use});
    } else if (last_use > second_.until) {
      second_ = {type, last_use};
    }
  }
  /// A use that can't be sent elsewhere.
  void add_fixed(std::int32_t last_use) { fixed_ = std::max(fixed_, last_use); }
  std::int32_t last_except(const TensorType& type) const {
    return std::max(fixed_, longest_.type == type ? second_.until : longest_.until);
  }

 private:
  struct Use {
    TensorType type;
    std::int32_t until = -1;
  };
  Use longest_;
  Use second_;
  std::int32_t fixed_ = -1;
};

class Functionalizer {
 public:
  explicit Functionalizer(Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) {
      if (rewrite(node)) continue;
      follow_replacements(node);
      remember(node);
    }
    for (std::size_t i = dead_.size(); i-- > 0;) graph_.erase(dead_[i]);
    return std::move(report_);
  }

 private:
  struct StorageFacts {
    StorageId moved_to = ir::kNoStorage;
    std::vector<Node*> values;  // tensors seen so far, by order
    ViewUses uses;
  };

  StorageFacts& facts(StorageId id) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= storages_.size()) storages_.resize(at + 1);
    return storages_[at];
  }

  StorageId home(StorageId id) {
    StorageId last = id;
    while (facts(last).moved_to != ir::kNoStorage) last = facts(last).moved_to;
    while (id != last) id = std::exchange(facts(id).moved_to, last);
    return last;
  }

  Node*& forward(const Node* node) {
    const auto at = static_cast<std::size_t>(node->id());
    if (at >= forward_.size()) forward_.resize(at + 1, nullptr);
    return forward_[at];
  }

  Node* current(Node* node) {
    Node* last = node;
    while (forward(last) != nullptr) last = forward(last);
    while (node != last) node = std::exchange(forward(node), last);
    return last;
  }

  /// Sends the node's arguments, writes and results to where earlier rewrites moved them.
  void follow_replacements(Node* node) {
    const auto moved = [this](const Node* n) { return forward(n) != nullptr; };
    const std::vector<Node*> inputs = inputs_of(*node);
    if (std::any_of(inputs.begin(), inputs.end(), moved)) {
      const auto replace = [this](Node* n) { return current(n); };
      std::vector<Arg> args;
      for (const Arg& a : node->args()) args.push_back(map_nodes(a, replace));
      ir::Kwargs kwargs;
      for (const auto& [key, a] : node->kwargs()) kwargs.emplace_back(key, map_nodes(a, replace));
      graph_.set_args(node, std::move(args), std::move(kwargs));
    }
    if (std::any_of(node->writes().begin(), node->writes().end(), moved)) {
      std::vector<Node*> writes;
      for (Node* w : node->writes()) writes.push_back(current(w));
      graph_.set_writes(node, std::move(writes));
    }
    ir::Results results{node->values(), node->is_list()};
    for (ir::Value& v : results.values) {
      if (v.storage != ir::kNoStorage) v.storage = home(v.storage);
    }
    if (results.values != node->values()) graph_.set_values(node, std::move(results));
  }

  void remember(Node* node) {
    if (node->is_list()) return remember_elements(*node);
    for (const ir::Value& v : node->values()) {
      if (v.storage == ir::kNoStorage) continue;
      facts(v.storage).values.push_back(node);
      facts(v.storage).uses.add(v.type, index_.last_use(*node));
    }
  }

  /// A list can't be replaced by a tensor: its elements stay where they are while it has takers.
  void remember_elements(const Node& list) {
    std::vector<std::int32_t> last(list.values().size(), -1);
    for (const Node* user : list.users()) {
      const std::int32_t position = index_.position(*user);
      const bool getitem = user->is_call("operator.getitem") && user->args().size() == 2;
      const auto* element = getitem ? user->args()[1].get_if<std::int64_t>() : nullptr;
      for (std::size_t i = 0; i < last.size() && element == nullptr; ++i) {
        last[i] = std::max(last[i], position);
      }
      if (element == nullptr || *element < 0) continue;
      const auto i = static_cast<std::size_t>(*element);
      if (i < last.size()) last[i] = std::max(last[i], position);
    }
    for (std::size_t i = 0; i < last.size(); ++i) {
      const StorageId id = list.values()[i].storage;
      if (id != ir::kNoStorage) facts(id).uses.add_fixed(last[i]);
    }
  }

  /// The call as it is by now, if it writes the whole of one intermediate and returns it. The node
  /// itself keeps its arguments: thousands of calls on one tensor would come off the front of its
  /// list of users one by one, but come off the back at the end.
  std::optional<InPlace> writes_a_whole(const Node& node) {
    if (node.kind() != ir::NodeKind::kCallFunction || node.writes().size() != 1 ||
        node_arg(node, 0) != node.writes()[0] || !node.has_tensor() || node.traits.random) {
      return std::nullopt;
    }
    Node* self = current(node.writes()[0]);
    if (!self->has_tensor() || home(node.storage()) != self->storage() ||
        node.type() != self->type() || !owns_storage(graph_, *self) ||
        !self->type().is_contiguous() || is_complex(self->type().dtype)) {
      return std::nullopt;
    }
    InPlace call{node, {}, {}, self};
    const auto replace = [this](Node* n) { return current(n); };
    for (const Arg& a : node.args()) call.args.push_back(map_nodes(a, replace));
    for (const auto& [key, a] : node.kwargs()) call.kwargs.emplace_back(key, map_nodes(a, replace));
    return call;
  }

  bool rewrite(Node* node) {
    const std::optional<InPlace> call = writes_a_whole(*node);
    if (!call) return false;
    Node* self = call->self;
    const std::int32_t position = index_.position(*node);
    if (facts(self->storage()).uses.last_except(self->type()) > position) return false;
    auto form = functional_form(*call);
    if (!form) return false;

    const ir::Graph::InsertionGuard guard(graph_, node);
    Node* result = graph_.call(form->target, std::move(form->args), std::move(form->kwargs),
                               ir::Results::tensor(self->type()));
    copy_origin(*node, *result);
    report_.notes.push_back(fmt::format("%{} -> %{}: {} without the write", node->name(),
                                        result->name(), node->target()));
    ++report_.changes;
    move_to(result, node, self, position);
    return true;
  }

  /// Later uses of `node`, of `self` and of its equals go to `result`; the storage moves along.
  void move_to(Node* result, Node* node, Node* self, std::int32_t position) {
    std::int32_t last_use = index_.last_use(*node);
    StorageFacts old = std::exchange(facts(self->storage()), {});
    for (Node* earlier : old.values) {  // equal to self, or not used from here on
      last_use = std::max(last_use, index_.last_use(*earlier));
      forward(earlier) = result;
    }
    forward(node) = result;
    facts(self->storage()).moved_to = result->storage();
    index_.add(*result, position, last_use);
    remember(result);
    dead_.push_back(node);
  }

  Graph& graph_;
  ir::StorageIndex index_;
  std::vector<Node*> forward_;  // by node id: what stands for the node from here on
  std::vector<StorageFacts> storages_;
  std::vector<Node*> dead_;
  PassReport report_;
};

PassReport functionalize(Graph& graph, PassContext&) {
  return Functionalizer(graph).run();
}

const Registration kRegistration{{"functionalize",
                                  "make in-place calls on whole intermediates return new tensors",
                                  functionalize}};

}  // namespace
}  // namespace monograph::passes
