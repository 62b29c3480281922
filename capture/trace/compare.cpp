#include "capture/trace/compare.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <unordered_map>

#include "capture/ir/text.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/state_snapshot.h"

namespace monograph::trace {
namespace {

class Comparison {
 public:
  Comparison(const Recording& a, const Recording& b) : a_(a), b_(b) {}

  std::optional<Difference> run() {
    auto at_a = a_.graph.nodes().begin();
    auto at_b = b_.graph.nodes().begin();
    for (; at_a != a_.graph.nodes().end() && at_b != b_.graph.nodes().end(); ++at_a, ++at_b) {
      const ir::Node& a = **at_a;
      const ir::Node& b = **at_b;
      partner_[&a] = &b;
      if (!same_node(a, b)) return difference(&a, &b);
      if (a.kind() == ir::NodeKind::kGetAttr) {
        if (auto found = constants(a)) return found;
      }
    }
    const ir::Node* rest_a = at_a == a_.graph.nodes().end() ? nullptr : at_a->get();
    const ir::Node* rest_b = at_b == b_.graph.nodes().end() ? nullptr : at_b->get();
    if (rest_a == nullptr && rest_b == nullptr) return std::nullopt;
    return difference(rest_a, rest_b);
  }

 private:
  static Difference difference(const ir::Node* a, const ir::Node* b) {
    Difference d;
    d.first = a == nullptr ? "(nothing)" : ir::text(*a);
    d.second = b == nullptr ? "(nothing)" : ir::text(*b);
    const ir::Node* named = a != nullptr ? a : b;
    d.node = a != nullptr ? a->name() : "";
    d.op = named->kind() == ir::NodeKind::kCallFunction ? named->target() : "";
    d.path = named->module_path;
    if (named->kind() == ir::NodeKind::kGetAttr) d.subject = named->target();
    return d;
  }

  bool same_node(const ir::Node& a, const ir::Node& b) const {
    if (a.kind() != b.kind() || a.target() != b.target() || a.is_list() != b.is_list() ||
        !same_args(a.args(), b.args()) || a.kwargs().size() != b.kwargs().size() ||
        a.values().size() != b.values().size()) {
      return false;
    }
    for (std::size_t i = 0; i < a.kwargs().size(); ++i) {
      if (a.kwargs()[i].first != b.kwargs()[i].first ||
          !same_arg(a.kwargs()[i].second, b.kwargs()[i].second)) {
        return false;
      }
    }
    for (std::size_t i = 0; i < a.values().size(); ++i) {
      const ir::Value& x = a.values()[i];
      const ir::Value& y = b.values()[i];
      if (x.type != y.type || (x.storage == ir::kNoStorage) != (y.storage == ir::kNoStorage)) {
        return false;
      }
    }
    return true;
  }

  bool same_args(const std::vector<ir::Arg>& a, const std::vector<ir::Arg>& b) const {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [this](const ir::Arg& x, const ir::Arg& y) { return same_arg(x, y); });
  }

  bool same_arg(const ir::Arg& a, const ir::Arg& b) const {
    if (a.is_list() && b.is_list()) return same_args(a.list(), b.list());
    if (!a.is_node() || !b.is_node()) return a == b;
    const auto found = partner_.find(a.node());
    return found != partner_.end() && found->second == b.node();
  }

  /// `node` reads a tensor of the same name in both.
  std::optional<Difference> constants(const ir::Node& node) const {
    const at::Tensor& x = a_.weights.at(node.target());
    const at::Tensor& y = b_.weights.at(node.target());
    const bool shared = x.is_alias_of(y);
    const auto sum_x = a_.constant_sums.find(node.target());
    const auto sum_y = b_.constant_sums.find(node.target());
    const bool summed = sum_x != a_.constant_sums.end() && sum_y != b_.constant_sums.end();
    if (shared && (!summed || sum_x->second == sum_y->second)) return std::nullopt;
    Difference d = difference(&node, &node);
    d.subject = node.target();
    d.constant = true;
    d.written = shared;
    if (shared || !same_bytes(x, y)) return d;
    // Equal contents: built anew by each call, unless both tensors are still there.
    d.replaced = x.storage().use_count() > 1 && y.storage().use_count() > 1;
    if (!d.replaced) return std::nullopt;
    return d;
  }

  static bool same_bytes(const at::Tensor& x, const at::Tensor& y) {
    const RecordingPause pause;
    const at::Tensor a = storage_bytes(x);
    const at::Tensor b = storage_bytes(y);
    if (!a.defined() || !b.defined()) return a.defined() == b.defined();
    return a.sizes() == b.sizes() && a.device() == b.device() && at::equal(a, b);
  }

  const Recording& a_;
  const Recording& b_;
  std::unordered_map<const ir::Node*, const ir::Node*> partner_;  // looked up only
};

}  // namespace

std::optional<Difference> compare(const Recording& a, const Recording& b) {
  return Comparison(a, b).run();
}

}  // namespace monograph::trace
