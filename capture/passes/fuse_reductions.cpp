// Reductions (softmax, norms, sums, argmax) with the pointwise calls before and after them: one
// launch that reads each row once. Reductions over the same dimensions of tensors of the same size
// go together, such as the mean and the variance of a norm that is written out.
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

constexpr std::size_t kMostMembers = 24;
constexpr std::size_t kMostResults = 4;

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {}

  PassReport run() {
    for (Id i = 0; i < groups_.size(); ++i) {
      if (groups_.members(i).size() == 1 && is_reduction(i)) grow(i);
    }
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  bool is_reduction(Id i) const {
    return !groups_.is_overwritten(i) && op_class(groups_.node(i)) == OpClass::kReduction &&
           node_arg(groups_.node(i), 0)->type().numel() > 0;
  }

  void grow(Id reduction) {
    const Node& node = groups_.node(reduction);
    sizes_ = node_arg(node, 0)->type().sizes;
    dims_ = reduced_dims(node);
    full_ = node_arg(node, 0)->type().numel();
    rows_ = full_;
    for (const std::int64_t d : dims_) rows_ /= sizes_[static_cast<std::size_t>(d)];
    while (groups_.members(reduction).size() < kMostMembers) {
      const Id next = next_member(reduction);
      if (next == Groups::kNone) return;
      groups_.join(reduction, next);
    }
  }

  /// A neighbour of the group that may join it: what it reads first, then what reads it.
  Id next_member(Id reduction) const {
    for (const Id m : groups_.members(reduction)) {
      for (const Node* input : inputs_of(groups_.node(m))) {
        const Id p = groups_.producer(*input);
        if (p != Groups::kNone && is_free(p, reduction) && is_prologue(p, reduction)) return p;
      }
    }
    for (const Id m : groups_.members(reduction)) {
      for (const Id r : groups_.readers(m)) {
        if (is_free(r, reduction) && is_epilogue(r)) return r;
      }
    }
    return Groups::kNone;
  }

  bool is_free(Id i, Id reduction) const {
    return groups_.group(i) != groups_.group(reduction) && groups_.members(i).size() == 1 &&
           !groups_.is_overwritten(i) && groups_.can_join(i, reduction) &&
           results_with(i, reduction) <= kMostResults;
  }

  std::size_t results_with(Id i, Id reduction) const {
    return groups_.results(reduction).size() + groups_.results(i).size();
  }

  /// Computed on the fly if nobody else wants it, or stored as well if it has an element for each
  /// place that the reduction looks at.
  bool is_prologue(Id i, Id reduction) const {
    const Node& node = groups_.node(i);
    const OpClass c = op_class(node);
    if (c == OpClass::kReduction) return is_alike(node);
    if (!is_map(c)) return false;
    const std::int64_t n = node.type().numel();
    if (n == full_) return true;
    const auto& readers = groups_.readers(i);
    return n <= full_ && !groups_.is_output(i) &&
           std::all_of(readers.begin(), readers.end(),
                       [&](Id r) { return groups_.group(r) == groups_.group(reduction); });
  }

  bool is_epilogue(Id i) const {
    const Node& node = groups_.node(i);
    const OpClass c = op_class(node);
    if (c == OpClass::kReduction) return is_alike(node);
    if (c != OpClass::kPointwise) return false;  // which may have several results
    const std::int64_t n = node.type().numel();
    return n == full_ || n == rows_;
  }

  bool is_alike(const Node& node) const {
    return node_arg(node, 0)->type().sizes == sizes_ && reduced_dims(node) == dims_;
  }

  ir::Graph& graph_;
  Groups groups_;
  PassReport report_;
  std::vector<std::int64_t> sizes_, dims_;  // of the reduction at hand
  std::int64_t full_ = 0, rows_ = 0;
};

PassReport fuse_reductions(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{{"fuse_reductions",
                                  "reductions with the pointwise calls before and after them",
                                  fuse_reductions}};

}  // namespace
}  // namespace monograph::passes
