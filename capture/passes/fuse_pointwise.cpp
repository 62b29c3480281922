// Pointwise calls, casts, copies, concatenations and gathers, in two steps.
//   chains:   those that feed each other become one launch that computes every result where it is
//             wanted and keeps nothing in between in memory. A write of rows of declared state ends
//             such a chain in place.
//   siblings: small chains that don't depend on each other but read the same memory or feed the
//             same launch go side by side, such as the rotary embeddings of queries and keys with
//             the writes of the caches. That saves launches, which is what such work costs.
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

constexpr std::size_t kMostMembers = 32;
constexpr std::size_t kMostResults = 8;
constexpr std::size_t kWindow = 12;  // earlier chains that are looked at as siblings
/// Chains that move more bytes than this fill a device by themselves.
constexpr double kSmallBytes = 1 << 20;

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {
    for (Id i = 0; i < groups_.size(); ++i) classes_.push_back(class_of(i));
  }

  PassReport run() {
    for (Id i = 0; i < groups_.size(); ++i) {
      if (is_part(i)) take_producers(i);
    }
    std::vector<Id> chains;
    for (Id i = 0; i < groups_.size(); ++i) {
      if (!is_part(i) || groups_.members(i).back() != i || bytes_of(i) > kSmallBytes) continue;
      for (std::size_t k = 0; k < std::min(chains.size(), kWindow); ++k) {
        const Id other = chains[chains.size() - 1 - k];
        if (are_siblings(other, i) && may_join(other, i)) groups_.join(other, i);
      }
      chains.push_back(i);
    }
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  static std::size_t at(Id i) { return static_cast<std::size_t>(i); }

  OpClass class_of(Id i) const {
    const OpClass c = op_class(groups_.node(i));
    return c != OpClass::kScatter && groups_.is_overwritten(i) ? OpClass::kOther : c;
  }

  bool is_part(Id i) const {
    return is_map(classes_[at(i)]) || classes_[at(i)] == OpClass::kScatter;
  }

  bool may_join(Id a, Id b) const {
    return groups_.members(a).size() + groups_.members(b).size() <= kMostMembers &&
           groups_.results(a).size() + groups_.results(b).size() <= kMostResults &&
           groups_.can_join(a, b);
  }

  void take_producers(Id i) {
    const std::vector<Node*> inputs = inputs_of(groups_.node(i));
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      // A table that is looked up at random stays in memory; so does state.
      const OpClass c = classes_[at(i)];
      if (k == 0 && (c == OpClass::kGather || c == OpClass::kScatter)) continue;
      const Id p = groups_.producer(*inputs[k]);
      if (p != Groups::kNone && is_map(classes_[at(p)]) && may_join(p, i)) groups_.join(p, i);
    }
  }

  double bytes_of(Id group) const {
    double bytes = 0;
    for (const Id m : groups_.members(group)) bytes += ir::cost_of(groups_.node(m)).bytes;
    return bytes;
  }

  /// Neither reads what the other makes, and they meet: in what they read, or in who reads them.
  bool are_siblings(Id a, Id b) const {
    if (groups_.group(a) == groups_.group(b)) return false;
    const Facts one = facts(a);
    const Facts two = facts(b);
    const auto meet = [](const auto& s, const auto& t) {
      return std::any_of(s.begin(), s.end(), [&t](auto id) { return t.contains(id); });
    };
    const auto feeds = [this](const Facts& from, Id to) {
      return std::any_of(from.readers.begin(), from.readers.end(),
                         [&](Id r) { return groups_.group(r) == groups_.group(to); });
    };
    if (feeds(one, b) || feeds(two, a)) return false;
    return meet(one.storages, two.storages) || meet(one.readers, two.readers);
  }

  struct Facts {
    std::set<ir::StorageId> storages;
    std::set<Id> readers;
  };
  Facts facts(Id group) const {
    Facts f;
    for (const Id m : groups_.members(group)) {
      for (const Node* input : inputs_of(groups_.node(m))) {
        for (const ir::Value& v : input->values()) f.storages.insert(v.storage);
      }
      f.readers.insert(groups_.readers(m).begin(), groups_.readers(m).end());
    }
    return f;
  }

  ir::Graph& graph_;
  Groups groups_;
  std::vector<OpClass> classes_;
  PassReport report_;
};

PassReport fuse_pointwise(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{{"fuse_pointwise",
                                  "pointwise calls that feed each other or stand side by side",
                                  fuse_pointwise}};

}  // namespace
}  // namespace monograph::passes
