// Attention of one query over caches with what makes its query and the caches' newest rows: one
// launch, whose blocks compute the queries they need and write the row they read.
//
// From each attention upwards: the writes of one row of both caches, then norms of heads, rotary
// embeddings and whatever else is pointwise that nobody else reads.
#include <algorithm>
#include <vector>

#include "capture/passes/fusion/groups.h"
#include "capture/passes/fusion/op_class.h"
#include "capture/passes/fusion/outline.h"
#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Node;
using Id = Groups::Id;

constexpr std::size_t kMostMembers = 32;
constexpr std::size_t kSequence = 2;  // dimension of q, k, v

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {}

  PassReport run() {
    for (Id i = 0; i < groups_.size(); ++i) {
      if (!is_decoding(i)) continue;
      if (join_writes(i)) {
        grow(i);
        read_directly(i);
      } else {
        groups_.dissolve(i);
      }
    }
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  bool is_decoding(Id i) const {
    const Node& node = groups_.node(i);
    return node.is_call("aten.scaled_dot_product_attention.default") &&
           !groups_.is_overwritten(i) && ir::is_repeatable(node) && node.has_tensor() &&
           node.type().rank() == 4 && node.type().sizes[kSequence] == 1;
  }

  /// The last launch before `reader` that writes one row of the state that `value` is; none if the
  /// reader looks at part of it.
  Id writer(const Node& value, Id reader) const {
    if (!value.has_tensor() || value.storage() == ir::kNoStorage) return Groups::kNone;
    for (Id i = reader; i-- > 0;) {
      const Node& node = groups_.node(i);
      const auto& writes = node.writes();
      if (std::none_of(writes.begin(), writes.end(),
                       [&](const Node* w) { return w->storage() == value.storage(); })) {
        continue;
      }
      const bool row = groups_.members(i).size() == 1 && op_class(node) == OpClass::kScatter &&
                       is_aten(node, "index_copy_") && node.value() == value.value() &&
                       inputs_of(node).back()->type().rank() == 4 &&
                       inputs_of(node).back()->type().sizes[kSequence] == 1;
      return row ? i : Groups::kNone;
    }
    return Groups::kNone;
  }

  bool join_writes(Id attention) {
    const std::vector<Node*> in = inputs_of(groups_.node(attention));
    for (std::size_t k = 1; k < 3; ++k) {
      const Id write = writer(*in.at(k), attention);
      if (write == Groups::kNone || !groups_.can_join(attention, write)) return false;
      groups_.join(attention, write);
    }
    return true;
  }

  /// Views of whole caches, as repeated heads leave them, are the caches themselves.
  void read_directly(Id attention) {
    Node& node = groups_.node(attention);
    std::vector<ir::Arg> args = node.args();
    const auto written = [&](Node* n) {
      for (const Id m : groups_.members(attention)) {
        Node& w = groups_.node(m);
        if (!w.writes().empty() && w.value() == n->value()) return &w;
      }
      return n;
    };
    for (ir::Arg& a : args) a = map_nodes(a, written);
    graph_.set_args(&node, std::move(args), node.kwargs());
  }

  bool belongs(Id p, Id attention) const {
    const Node& node = groups_.node(p);
    const OpClass c = op_class(node);
    const auto& readers = groups_.readers(p);
    return (is_head_norm(node) || c == OpClass::kPointwise || c == OpClass::kConcat) &&
           groups_.members(p).size() == 1 && !groups_.is_output(p) && !groups_.is_overwritten(p) &&
           node.type().numel() <= groups_.node(attention).type().numel() &&
           std::all_of(readers.begin(), readers.end(),
                       [&](Id r) { return groups_.group(r) == groups_.group(attention); }) &&
           groups_.can_join(attention, p);
  }

  void grow(Id attention) {
    for (bool changed = true; changed;) {
      changed = false;
      const std::vector<Id> members = groups_.members(attention);
      for (const Id m : members) {
        for (const Node* input : inputs_of(groups_.node(m))) {
          const Id p = groups_.producer(*input);
          if (p == Groups::kNone || groups_.group(p) == groups_.group(attention) ||
              groups_.members(attention).size() >= kMostMembers || !belongs(p, attention)) {
            continue;
          }
          groups_.join(attention, p);
          changed = true;
        }
      }
    }
  }

  ir::Graph& graph_;
  Groups groups_;
  PassReport report_;
};

PassReport fuse_cached_attention(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{{"fuse_cached_attention",
                                  "attention of one query with what makes it and the caches' rows",
                                  fuse_cached_attention}};

}  // namespace
}  // namespace monograph::passes
