// Removes calls whose result is their first argument: eval-mode dropout, views that change
// nothing, and copies that nobody could tell from the original.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
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

constexpr std::array<std::string_view, 4> kDropouts{"dropout", "feature_dropout", "alpha_dropout",
                                                    "feature_alpha_dropout"};
constexpr std::array<std::string_view, 8> kCopies{"clone",      "contiguous", "_to_copy",
                                                  "to",         "type_as",    "lift_fresh_copy",
                                                  "alias_copy", "detach_copy"};

/// The operator of an `aten` call, else empty.
std::string_view aten_op(const Node& node) {
  const auto parts = split_target(node.target());
  return parts && parts->space == "aten" ? parts->op : std::string_view{};
}

/// dropout(x, p, train) and relatives with train=False: the identity, whatever p is.
bool is_eval(const Node& node) {
  const Arg* train = find_arg(node, 2, "train");
  return train != nullptr && train->is<bool>() && !train->as<bool>();
}

bool is_eval_dropout(const Node& node) {
  std::string_view op = aten_op(node);
  if (op.ends_with('_')) op.remove_suffix(1);
  return std::find(kDropouts.begin(), kDropouts.end(), op) != kDropouts.end() && is_eval(node);
}

bool is_eval_native_dropout(const Node& node) {
  return aten_op(node) == "native_dropout" && node.is_list() && is_eval(node);
}

/// The result of an eval-mode native_dropout whose mask nobody wants.
bool is_native_dropout_result(const Node& node) {
  const Node* list = node_arg(node, 0);
  return list != nullptr && node.is_call("operator.getitem") && node.args().size() == 2 &&
         node.args()[1] == Arg(0) && list->users().size() == 1 && is_eval_native_dropout(*list);
}

bool is_plain_copy(const Node& node) {
  const Arg* pinned = node.kwarg("pin_memory");
  if (pinned != nullptr && *pinned == Arg(true)) return false;
  const std::string_view op = aten_op(node);
  return std::find(kCopies.begin(), kCopies.end(), op) != kCopies.end() || is_eval_dropout(node) ||
         is_native_dropout_result(node);
}

/// A view of everything as it is. `_neg_view` flips signs without showing it in the type.
bool is_identity_view(const Node& node) {
  if (is_native_dropout_result(node)) return true;
  const std::string_view op = aten_op(node);
  return is_view(node) && !op.empty() && op != "_neg_view";
}

class Remover {
 public:
  explicit Remover(Graph& graph) : graph_(graph), index_(graph) {
    output_leaves_.resize(graph.storages().size(), 0);
    for (const Node* leaf : output_leaves(graph)) {
      for (const ir::Value& v : leaf->values()) {
        if (v.storage != ir::kNoStorage) ++leaves_in(v.storage);
      }
    }
  }

  PassReport run() {
    for (Node* node : graph_.node_vector()) {
      if (node->kind() == ir::NodeKind::kCallFunction) visit(node);
    }
    return std::move(report_);
  }

 private:
  void visit(Node* node) {
    if (remove_assertion(node)) return;
    settle_dropout(node);
    Node* const list = is_native_dropout_result(*node) ? node_arg(*node, 0) : nullptr;
    Node* const source = node_arg(list != nullptr ? *list : *node, 0);
    if (source == nullptr || !source->has_tensor() || !node->has_tensor()) return;
    if (is_complex(node->type().dtype) || !node->type().defined()) return;
    if (node->storage() == source->storage()) {
      if (node->type() != source->type() || !is_identity_view(*node)) return;
    } else {
      if (!is_plain_copy(*node) || !copy_is_invisible(*node, *source)) return;
      leaves_in(source->storage()) += leaves_in(node->storage());
      index_.rehome(graph_, node->storage(), source->storage());
    }
    note(fmt::format("%{} is %{}: {}", node->name(), source->name(), node->target()));
    replace_and_erase(graph_, index_, node, source);
    if (list != nullptr) erase(list);
  }

  /// Dropout is tagged as random whatever its mode; only the trained one is.
  void settle_dropout(Node* node) {
    if (!node->traits.random || !(is_eval_dropout(*node) || is_eval_native_dropout(*node))) return;
    node->traits.random = false;
    note(fmt::format("%{} draws no random numbers: {}", node->name(), node->target()));
  }

  /// True if reading the copy from the original's storage gives the same at every later moment:
  /// equal layout, the copy never written, the original not written while the copy is in use.
  bool copy_is_invisible(const Node& node, const Node& source) const {
    const ir::TensorType& to = node.type();
    const ir::TensorType& from = source.type();
    const StorageId copy = node.storage();
    if (copy == ir::kNoStorage || source.storage() == ir::kNoStorage) return false;
    if (to.dtype != from.dtype || to.sizes != from.sizes || to.strides != from.strides ||
        to.device != from.device) {
      return false;
    }
    if (to.offset != from.offset && has_views(node)) return false;  // their offsets would move
    if (index_.written(copy)) return false;
    if (index_.written_between(source.storage(), index_.position(node), index_.last_use(copy))) {
      return false;
    }
    return leaves_in(copy) == 0 || can_be_output(node, source);
  }

  bool has_views(const Node& node) const {
    const std::vector<Node*> values = index_.values(node.storage());
    return std::any_of(values.begin(), values.end(),
                       [&](const Node* n) { return n != &node && !n->is_list(); });
  }

  /// An output needs a storage of its own: the original's will do if nobody else returns it.
  bool can_be_output(const Node& node, const Node& source) const {
    return leaves_in(node.storage()) == 1 && leaves_in(source.storage()) == 0 &&
           owns_storage(graph_, source);
  }

  /// Types are static here, so an assertion about one is decided; a false one stays.
  bool remove_assertion(Node* node) {
    if (!is_aten(*node, "_assert_tensor_metadata") || !node->users().empty()) return false;
    const Node* subject = node_arg(*node, 0);
    if (subject == nullptr || !subject->has_tensor()) return false;
    const ir::TensorType& type = subject->type();
    const auto holds = [node](std::size_t index, const char* name, const Arg& actual) {
      const Arg* expected = find_arg(*node, index, name);
      return expected == nullptr || expected->is_none() || *expected == actual;
    };
    constexpr std::size_t kKeyword = 99;
    if (!holds(1, "size", Arg::ints(type.sizes)) || !holds(2, "stride", Arg::ints(type.strides)) ||
        !holds(3, "dtype", type.dtype) || !holds(kKeyword, "device", type.device) ||
        !holds(kKeyword, "layout", ir::Layout::kStrided)) {
      return false;
    }
    note(fmt::format("%{} holds: {}", node->name(), node->target()));
    erase(node);
    return true;
  }

  void erase(Node* node) {
    index_.forget(*node);
    graph_.erase(node);
  }

  void note(std::string line) {
    report_.notes.push_back(std::move(line));
    ++report_.changes;
  }

  int& leaves_in(StorageId id) { return output_leaves_[static_cast<std::size_t>(id)]; }
  int leaves_in(StorageId id) const { return output_leaves_[static_cast<std::size_t>(id)]; }

  Graph& graph_;
  ir::StorageIndex index_;
  std::vector<int> output_leaves_;  // by storage
  PassReport report_;
};

/// dropout_ in eval mode writes nothing, whatever the graph says. Goes first, so that it doesn't
/// count as a write to anything.
PassReport remove_eval_writes(Graph& graph) {
  PassReport report;
  for (Node* node : graph.node_vector()) {
    if (node->writes().size() != 1 || !is_eval_dropout(*node)) continue;
    Node* self = node_arg(*node, 0);
    if (self != node->writes()[0] || !node->has_tensor() || node->value() != self->value())
      continue;
    report.notes.push_back(
        fmt::format("%{} is %{}: {}", node->name(), self->name(), node->target()));
    ++report.changes;
    graph.replace_all_uses(node, self);
    graph.erase(node);
  }
  return report;
}

PassReport remove_noops(Graph& graph, PassContext&) {
  PassReport report = remove_eval_writes(graph);
  PassReport rest = Remover(graph).run();
  report.changes += rest.changes;
  report.notes.insert(report.notes.end(), rest.notes.begin(), rest.notes.end());
  return report;
}

const Registration kRegistration{
    {"remove_noops", "remove calls that return their argument unchanged", remove_noops}};

}  // namespace
}  // namespace monograph::passes
