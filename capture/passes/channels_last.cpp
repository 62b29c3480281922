// Chains of convolutions in halves, turned to channels-last.
//
// Libraries of convolutions have kernels on the tensor cores for channels innermost; given rows
// innermost, they turn every input and every result round in launches of their own. So a chain of
// convolutions, and what works on their results element by element or window by window, is turned
// as a whole: results get other strides, weights are turned once (written as calls that constant
// folding computes), and copies turn what comes in and goes out at the chain's borders. Each chain
// is turned only if its copies are predicted to cost less than what its convolutions would spend.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "capture/ir/cost.h"
#include "capture/passes/fusion/op_class.h"
#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;
using ir::TensorType;

constexpr std::size_t kRank = 4;
/// Besides pointwise calls: they give back their input's layout and don't mind which it is.
constexpr auto kWindows =
    std::to_array<std::string_view>({"_adaptive_avg_pool2d", "adaptive_avg_pool2d", "avg_pool2d",
                                     "max_pool2d", "upsample_bilinear2d", "upsample_nearest2d"});
/// Results without spatial dimensions: any layout does for what they read.
constexpr auto kTolerant = std::to_array<std::string_view>({"amax", "amin", "mean", "sum"});

template <class Table>
bool listed(const Table& table, const Node& node) {
  return std::any_of(table.begin(), table.end(),
                     [&node](std::string_view op) { return is_aten(node, op); });
}

std::vector<std::int64_t> turned(const std::vector<std::int64_t>& s) {
  return {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]};
}

/// Whether row-major memory is channels-last memory too.
bool is_both(const TensorType& t) {
  return t.sizes[1] == 1 || (t.sizes[2] == 1 && t.sizes[3] == 1);
}

bool is_rank4(const Node& node) {
  return node.has_tensor() && node.type().sizes.size() == kRank;
}

/// Values and the positions they come from, as operator.getitem takes them out.
bool is_pair(const Node& node) {
  return node.is_call("aten.max_pool2d_with_indices.default") && node.is_list();
}

const TensorType& type_of(const Node& node) {
  return node.values().front().type;
}

/// The call that makes `value`: itself, or the pair that it is taken out of.
Node* maker(Node* value) {
  return value->is_call("operator.getitem") ? node_arg(*value, 0) : value;
}

/// What others use of a call's results.
std::vector<Node*> faces(Node* node) {
  return is_pair(*node) ? node->users() : std::vector<Node*>{node};
}

bool is_convolution(const Node& node) {
  const Arg* transposed =
      node.is_call("aten.convolution.default") ? find_arg(node, 6, "transposed") : nullptr;
  return node.is_call("aten.conv2d.default") ||
         (transposed != nullptr && *transposed == Arg(false));
}

bool is_weight(const Node* node) {
  if (node == nullptr || node->kind() != ir::NodeKind::kGetAttr || !is_rank4(*node)) return false;
  const ir::StorageKind kind = node->graph().storage(node->storage()).kind;
  return kind == ir::StorageKind::kParameter || kind == ir::StorageKind::kBuffer ||
         kind == ir::StorageKind::kConstant;
}

class Turner {
 public:
  explicit Turner(ir::Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) {
      if (may_turn(*node)) parent_.emplace(node, node);
    }
    for (const auto& [node, self] : parent_) {
      for (Node* input : inputs_of(*node)) {
        if (parent_.contains(maker(input)) && carries(*node, *input)) unite(node, maker(input));
      }
    }
    std::map<std::int32_t, std::vector<Node*>> chains;  // by position of the first
    std::map<const Node*, std::int32_t> first;
    for (Node* node : graph_.node_vector()) {
      if (!parent_.contains(node)) continue;
      const auto at = first.emplace(root(node), index_.position(*node)).first;
      chains[at->second].push_back(node);
    }
    for (const auto& [position, chain] : chains) consider(chain);
    return std::move(report_);
  }

 private:
  /// A call whose result may lie with channels last: of its own memory, which nobody writes and
  /// nobody but calls looks at.
  bool may_turn(const Node& node) const {
    if (node.kind() != ir::NodeKind::kCallFunction || !(is_rank4(node) || is_pair(node)) ||
        ir::is_view(node) || !node.writes().empty() ||
        (type_of(node).dtype != ir::DType::kF16 && type_of(node).dtype != ir::DType::kBF16)) {
      return false;
    }
    for (const ir::Value& v : node.values()) {
      if (v.storage == ir::kNoStorage || !v.type.is_contiguous() || v.type.numel() == 0 ||
          v.type.offset != 0 || index_.written(v.storage)) {
        return false;
      }
    }
    if (is_convolution(node)) return is_weight(node_arg(node, 1)) && turns_input(node, 0);
    if (listed(kWindows, node) || is_pair(node)) {
      const auto takes_out = [](const Node* n) { return n->is_call("operator.getitem"); };
      return turns_input(node, 0) &&
             (!is_pair(node) || std::all_of(node.users().begin(), node.users().end(), takes_out));
    }
    return op_class(node) == OpClass::kPointwise && !is_aten(node, "clone") &&
           !is_aten(node, "contiguous") && has_big_input(node);
  }

  /// The input at `index` lies row-major, or channels-last already.
  static bool turns_input(const Node& node, std::size_t index) {
    const Node* x = node_arg(node, index);
    return x != nullptr && is_rank4(*x) && x->type().offset == 0 &&
           (x->type().is_contiguous() || x->type().strides == turned(x->type().sizes));
  }

  /// Pointwise: at least one operand of the result's size; those are what its layout comes from.
  static bool has_big_input(const Node& node) {
    const std::vector<Node*> in = inputs_of(node);
    return std::any_of(in.begin(), in.end(),
                       [&node](const Node* n) { return carries(node, *n); }) &&
           std::all_of(in.begin(), in.end(), [&node](const Node* n) {
             return n->has_tensor() && (!carries(node, *n) || n->type().is_contiguous() ||
                                        n->type().strides == turned(n->type().sizes));
           });
  }

  /// Whether the layout of `input` matters for `node`'s.
  static bool carries(const Node& node, const Node& input) {
    if (!is_rank4(input)) return false;
    if (is_convolution(node) || listed(kWindows, node) || is_pair(node)) {
      return node_arg(node, 0) == &input;
    }
    return input.type().sizes == node.type().sizes;
  }

  Node* root(Node* node) const {
    while (parent_.at(node) != node) node = parent_.at(node);
    return node;
  }
  void unite(Node* a, Node* b) {
    a = root(a);
    b = root(b);
    if (index_.position(*a) < index_.position(*b)) std::swap(a, b);
    parent_[a] = b;
  }

  /// What has to be copied if `chain` is turned: tensors that come in, and results that are looked
  /// at row by row outside.
  struct Borders {
    std::vector<Node*> in, out;
  };
  Borders borders(const std::vector<Node*>& chain) const {
    Borders b;
    const std::set<const Node*> inside(chain.begin(), chain.end());
    const auto add = [](std::vector<Node*>& list, Node* n) {
      if (std::find(list.begin(), list.end(), n) == list.end()) list.push_back(n);
    };
    for (Node* node : chain) {
      for (Node* input : inputs_of(*node)) {
        const bool turned_already = is_rank4(*input) && !input->type().is_contiguous();
        if (carries(*node, *input) && !inside.contains(maker(input)) && !is_both(input->type()) &&
            !turned_already) {
          add(b.in, input);
        }
      }
      if (is_both(type_of(*node))) continue;
      for (Node* face : faces(node)) {
        for (const Node* user : face->users()) {
          if (!inside.contains(user) && !is_tolerant(*user)) add(b.out, face);
        }
      }
    }
    return b;
  }

  /// Reads its input in any layout, and its own doesn't come from it.
  static bool is_tolerant(const Node& user) {
    return user.kind() == ir::NodeKind::kCallFunction && listed(kTolerant, user) &&
           user.has_tensor() && (user.type().sizes.size() < kRank || is_both(user.type()));
  }

  void consider(const std::vector<Node*>& chain) {
    const ir::Rates rates = ir::Rates::h200();
    const auto copy_us = [&rates](const Node& n) {
      return 2 * ir::distinct_bytes(n.type()) / rates.bytes_per_us + rates.boundary_us;
    };
    double spent = 0;  // by convolutions on turning things round
    std::size_t convolutions = 0;
    for (const Node* node : chain) {
      if (!is_convolution(*node)) continue;
      ++convolutions;
      const Node& x = *node_arg(*node, 0);
      if (!is_both(x.type()) && x.type().is_contiguous()) spent += copy_us(x);
      if (!is_both(node->type())) spent += copy_us(*node);
    }
    if (convolutions == 0) return;
    const Borders b = borders(chain);
    double copies = 0;
    for (const Node* n : b.in) copies += copy_us(*n);
    for (const Node* n : b.out) copies += copy_us(*n);
    const std::string what =
        fmt::format("{} convolutions from %{} on", convolutions, chain.front()->name());
    if (copies >= spent) {
      report_.notes.push_back(
          fmt::format("{} stay: {:.2f} us of copies, {:.2f} us saved", what, copies, spent));
      return;
    }
    turn(chain, b);
    report_.notes.push_back(fmt::format("{}: {} copies, {:.2f} us for {:.2f} us", what,
                                        b.in.size() + b.out.size(), copies, spent));
    report_.changes += static_cast<std::int64_t>(chain.size());
  }

  void turn(const std::vector<Node*>& chain, const Borders& b) {
    const std::set<const Node*> inside(chain.begin(), chain.end());
    std::map<const Node*, Node*> instead;  // of what comes in
    for (Node* n : b.in) instead[n] = copy_before_first_use(n, inside);
    for (Node* node : chain) {
      std::vector<Arg> args;
      const auto replace = [&](Node* n) {
        const auto at = instead.find(n);
        return at != instead.end() && carries(*node, *n) ? at->second : n;
      };
      for (const Arg& a : node->args()) args.push_back(map_nodes(a, replace));
      if (is_convolution(*node)) args[1] = Arg(turned_weight(node));
      graph_.set_args(node, std::move(args), node->kwargs());
      if (is_both(type_of(*node))) continue;
      set_turned(node);
      for (Node* face : faces(node)) {
        if (face != node) set_turned(face);
      }
    }
    for (Node* n : b.out) copy_for_others(n, inside);
  }

  void set_turned(Node* node) {
    ir::Results results{node->values(), node->is_list()};
    for (ir::Value& v : results.values) v.type.strides = turned(v.type.sizes);
    graph_.set_values(node, std::move(results));
  }

  Node* copy(Node* from, std::vector<std::int64_t> strides, ir::MemoryFormat format) {
    TensorType type = from->type();
    type.strides = std::move(strides);
    type.offset = 0;
    Node* made = graph_.call("aten.clone.default", {Arg(from)}, {{"memory_format", Arg(format)}},
                             ir::Results::tensor(type));
    copy_origin(*from, *made);
    return made;
  }

  Node* copy_before_first_use(Node* input, const std::set<const Node*>& inside) {
    Node* first = nullptr;
    for (Node* user : input->users()) {
      if (!inside.contains(user)) continue;
      if (first == nullptr || index_.position(*user) < index_.position(*first)) first = user;
    }
    const ir::Graph::InsertionGuard guard(graph_, first);
    return copy(input, turned(input->type().sizes), ir::MemoryFormat::kChannelsLast);
  }

  /// Weights that lie right already, or whose memory is the same either way, stay.
  Node* turned_weight(Node* conv) {
    Node* weight = node_arg(*conv, 1);
    const TensorType& t = weight->type();
    if (t.strides == turned(t.sizes) || is_both(t)) return weight;
    const auto known = weights_.find(weight);
    if (known != weights_.end()) return known->second;
    const ir::Graph::InsertionGuard guard(graph_, conv);
    return weights_[weight] = copy(weight, turned(t.sizes), ir::MemoryFormat::kChannelsLast);
  }

  void copy_for_others(Node* node, const std::set<const Node*>& inside) {
    const ir::Graph::InsertionGuard guard(graph_, graph_.next(node));
    Node* made =
        copy(node, ir::contiguous_strides(node->type().sizes), ir::MemoryFormat::kContiguous);
    for (Node* user : std::vector<Node*>(node->users())) {
      if (user == made || inside.contains(user) || is_tolerant(*user)) continue;
      const auto replace = [&](Node* n) { return n == node ? made : n; };
      std::vector<Arg> args;
      for (const Arg& a : user->args()) args.push_back(map_nodes(a, replace));
      ir::Kwargs kwargs;
      for (const auto& [key, a] : user->kwargs()) kwargs.emplace_back(key, map_nodes(a, replace));
      graph_.set_args(user, std::move(args), std::move(kwargs));
      rehome_views(user, node->storage(), made->storage());
    }
  }

  /// A view of the result, and views of that, are views of the copy now.
  void rehome_views(Node* view, ir::StorageId from, ir::StorageId to) {
    if (view->kind() != ir::NodeKind::kCallFunction || view->values().empty()) return;
    bool changed = false;
    ir::Results results{view->values(), view->is_list()};
    for (ir::Value& v : results.values) {
      changed = changed || v.storage == from;
      if (v.storage == from) v.storage = to;
    }
    if (!changed) return;
    graph_.set_values(view, std::move(results));
    for (Node* user : std::vector<Node*>(view->users())) rehome_views(user, from, to);
  }

  struct ByPosition {
    bool operator()(const Node* a, const Node* b) const { return a->id() < b->id(); }
  };

  ir::Graph& graph_;
  ir::StorageIndex index_;
  std::map<Node*, Node*, ByPosition> parent_;  // chains: a node's way to their first
  std::map<const Node*, Node*> weights_;       // turned; looked up only
  PassReport report_;
};

PassReport channels_last(ir::Graph& graph, PassContext& context) {
  if (context.constants == nullptr) return {};
  return Turner(graph).run();
}

const Registration kRegistration{
    {"channels_last", "chains of convolutions in halves, with channels innermost", channels_last}};

}  // namespace
}  // namespace monograph::passes
