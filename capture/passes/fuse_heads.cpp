// Norms of attention heads with the rotary embedding after them: queries, keys and what is written
// to the caches in one launch.
//
// From each norm of short rows downwards: everything that follows from it alone, up to attention,
// with one result at most and a concatenation among it. Such groups, and writes of state, that
// read the same memory go side by side.
#include <algorithm>
#include <set>
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

constexpr std::int64_t kMostElements = 1 << 17;
constexpr std::size_t kMostMembers = 32;
constexpr Id kNear = 48;  // launches between what goes side by side

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {}

  PassReport run() {
    std::vector<Id> heads;
    for (Id i = 0; i < groups_.size(); ++i) {
      if (is_norm(i) && grow(i)) heads.push_back(i);
    }
    join_siblings(heads);
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  bool is_norm(Id i) const {
    const Node& node = groups_.node(i);
    return groups_.members(i).size() == 1 && !groups_.is_overwritten(i) && is_head_norm(node) &&
           node.type().numel() <= kMostElements;
  }

  bool follows(Id i, Id norm) const {
    const Node& node = groups_.node(i);
    const OpClass c = op_class(node);
    if (groups_.members(i).size() != 1 || groups_.group(i) == groups_.group(norm)) return false;
    if (c == OpClass::kScatter) return groups_.can_join(norm, i);
    const bool map = c == OpClass::kPointwise || c == OpClass::kConcat;
    return map && !groups_.is_overwritten(i) &&
           node.type().numel() <= groups_.node(norm).type().numel() && groups_.can_join(norm, i);
  }

  Id next(Id norm) const {
    for (const Id m : groups_.members(norm)) {
      for (const Id r : groups_.readers(m)) {
        if (follows(r, norm)) return r;
      }
    }
    return Groups::kNone;
  }

  /// Everything that follows from the norm alone; false, and nothing joined, if that is no rotary
  /// embedding or comes to several results.
  bool grow(Id norm) {
    while (groups_.members(norm).size() < kMostMembers) {
      const Id more = next(norm);
      if (more == Groups::kNone) break;
      groups_.join(norm, more);
    }
    const auto is = [this](OpClass c) {
      return [this, c](Id m) { return op_class(groups_.node(m)) == c; };
    };
    const std::vector<Id>& all = groups_.members(norm);
    const auto written = std::count_if(all.begin(), all.end(), is(OpClass::kScatter));
    const bool turns = std::any_of(all.begin(), all.end(), is(OpClass::kConcat));
    const bool fits =
        turns && groups_.results(norm).size() + static_cast<std::size_t>(written) == 1;
    if (!fits) groups_.dissolve(norm);
    return fits;
  }

  std::set<ir::StorageId> memory_read(Id group) const {
    std::set<ir::StorageId> ids;
    for (const Id m : groups_.members(group)) {
      for (const Node* input : inputs_of(groups_.node(m))) {
        if (groups_.producer(*input) != Groups::kNone) ids.insert(input->storage());
      }
    }
    return ids;
  }

  bool meet(Id a, Id b) const {
    const auto one = memory_read(a);
    const auto two = memory_read(b);
    return std::any_of(one.begin(), one.end(), [&](auto id) { return two.contains(id); });
  }

  void join_siblings(const std::vector<Id>& heads) {
    for (const Id head : heads) {
      for (Id other = std::max(0, head - kNear); other < std::min(groups_.size(), head + kNear);
           ++other) {
        if (groups_.group(other) == groups_.group(head)) continue;
        const bool is_head = std::find(heads.begin(), heads.end(), other) != heads.end();
        const bool writes = groups_.members(other).size() == 1 &&
                            op_class(groups_.node(other)) == OpClass::kScatter;
        if ((is_head || writes) && meet(head, other) &&
            groups_.members(head).size() + groups_.members(other).size() <= kMostMembers &&
            groups_.can_join(head, other)) {
          groups_.join(head, other);
        }
      }
    }
  }

  ir::Graph& graph_;
  Groups groups_;
  PassReport report_;
};

PassReport fuse_heads(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{
    {"fuse_heads", "norms of heads with their rotary embedding and writes of caches", fuse_heads}};

}  // namespace
}  // namespace monograph::passes
