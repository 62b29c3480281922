// Recognises attention that is written out, softmax(q k^T * scale + mask) v, and writes it as one
// call to aten.scaled_dot_product_attention.
//
// From each softmax over the last dimension, upwards: casts, one mask (added, or filled in where a
// condition holds), factors, down to the product of queries and keys; downwards: casts and views to
// the product with the values. Keys and values that were repeated for groups of heads, by expand
// and copy, are taken unrepeated. A mask that is the lower triangle becomes is_causal.
//
// A call to attention that was whole from the start takes keys and values unrepeated, too.
//
// Rows in which every key is masked by -inf are 0 afterwards instead of NaN.
#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;
using ir::TensorType;
using Sizes = std::vector<std::int64_t>;

std::optional<double> number_of(const Arg* arg) {
  if (arg == nullptr) return std::nullopt;
  if (const auto* i = arg->get_if<std::int64_t>()) return static_cast<double>(*i);
  if (const auto* d = arg->get_if<double>()) return *d;
  return std::nullopt;
}

/// The call that made the memory of `node`, past views that keep every element in its place.
Node* maker(Node* node) {
  while (node != nullptr && node->kind() == ir::NodeKind::kCallFunction && ir::is_view(*node)) {
    Node* base = node_arg(*node, 0);
    if (base == nullptr || !base->has_tensor() || base->type().numel() != node->type().numel() ||
        !base->type().is_contiguous() || !node->type().is_contiguous()) {
      return nullptr;
    }
    node = base;
  }
  return node;
}

bool is_product(const Node& node) {
  return node.has_tensor() && node.type().is_contiguous() && node.type().rank() >= 3 &&
         (node.is_call("aten.bmm.default") || node.is_call("aten.matmul.default")) &&
         node.args().size() == 2;
}

/// What a search collects.
struct Match {
  Node* softmax = nullptr;
  Node* scores = nullptr;   ///< product of queries and keys
  Node* context = nullptr;  ///< product with values
  double scale = 1;
  Node* mask = nullptr;  ///< added, or true where a key counts (`keeps`)
  bool keeps = false;
  Node* fill = nullptr;  ///< a masked_fill whose condition says which keys don't count
  bool causal = false;
  std::vector<const Node*> nodes;  ///< replaced, for the note
};

/// The condition is a constant lower triangle, told by how it is made.
bool is_true_triangle(const Node* node) {
  while (node != nullptr && node->kind() == ir::NodeKind::kCallFunction && ir::is_view(*node)) {
    node = node_arg(*node, 0);
  }
  if (node == nullptr || !is_aten(*node, "tril")) return false;
  const Arg* diagonal = find_arg(*node, 1, "diagonal");
  const Node* ones = node_arg(*node, 0);
  return (diagonal == nullptr || *diagonal == Arg(0)) && ones != nullptr &&
         is_aten(*ones, "ones") && node->type().rank() == 2 &&
         node->type().sizes[0] == node->type().sizes[1];
}

class Recognizer {
 public:
  explicit Recognizer(ir::Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    // Chosen beforehand: a rewrite erases the product that follows its softmax.
    const auto softmax = [](const Node& node) {
      return is_aten(node, "_softmax") || is_aten(node, "softmax");
    };
    for (Node* node : nodes_where(graph_, softmax)) {
      Match match;
      match.softmax = node;
      if (find_scores(match) && find_context(match)) rewrite(match);
    }
    const auto whole = [](const Node& node) {
      return node.is_call("aten.scaled_dot_product_attention.default");
    };
    for (Node* node : nodes_where(graph_, whole)) group_heads(node);
    return std::move(report_);
  }

 private:
  // --- search ---

  /// Exactly one launch reads `node`'s memory, through views or not, and nobody writes it.
  bool feeds_only(const Node& node, const Node& reader) const {
    if (index_.written(node.storage()) || index_.reaches_output(node.storage())) return false;
    for (const Node* value : index_.values(node.storage())) {
      for (const Node* user : value->users()) {
        if (user != &reader && !ir::is_view(*user)) return false;
      }
    }
    return true;
  }

  bool find_scores(Match& m) const {
    const Arg* dim = find_arg(*m.softmax, 1, "dim");
    const std::int64_t rank = m.softmax->has_tensor() ? m.softmax->type().rank() : 0;
    if (rank < 3 || dim == nullptr || !(*dim == Arg(-1) || *dim == Arg(rank - 1))) return false;
    m.nodes.push_back(m.softmax);
    Node* reader = m.softmax;
    Node* node = maker(node_arg(*m.softmax, 0));
    while (node != nullptr && node->kind() == ir::NodeKind::kCallFunction && node->has_tensor() &&
           feeds_only(*node, *reader)) {
      m.nodes.push_back(node);
      if (is_product(*node)) {
        m.scores = node;
        return true;
      }
      Node* next = step(*node, m);
      if (next == nullptr) return false;
      reader = node;
      node = maker(next);
    }
    return false;
  }

  /// The operand that leads on to the scores; what the call does to them goes to `m`.
  static Node* step(const Node& node, Match& m) {
    if (is_aten(node, "_to_copy")) return node_arg(node, 0);
    if (is_aten(node, "mul") || is_aten(node, "div")) {
      const auto factor = number_of(node.args().size() == 2 ? &node.args()[1] : nullptr);
      if (!factor || *factor == 0 || !std::isfinite(*factor)) return nullptr;
      m.scale *= is_aten(node, "mul") ? *factor : 1 / *factor;
      return node_arg(node, 0);
    }
    if (m.scale != 1 || m.mask != nullptr || m.fill != nullptr || m.causal) return nullptr;
    if (is_aten(node, "masked_fill")) {
      const auto value = number_of(find_arg(node, 2, "value"));
      constexpr double kFarBelow = -1e4;
      if (!value || !(*value <= kFarBelow) || node_arg(node, 1) == nullptr) return nullptr;
      return take_fill(node, *value, m) ? node_arg(node, 0) : nullptr;
    }
    if (is_aten(node, "add") && node.args().size() == 2 && node_arg(node, 1) != nullptr &&
        is_one_or_absent(node.kwarg("alpha"))) {
      return take_sum(node, m);
    }
    return nullptr;
  }

  static bool take_fill(const Node& node, double value, Match& m) {
    Node* condition = node_arg(node, 1);
    if (condition->type().dtype != ir::DType::kBool) return false;
    if (std::isinf(value) &&
        (is_aten(*condition, "bitwise_not") || is_aten(*condition, "logical_not"))) {
      Node* kept = node_arg(*condition, 0);
      if (kept == nullptr || kept->type().dtype != ir::DType::kBool) return false;
      m.causal = is_true_triangle(kept);
      m.mask = m.causal ? nullptr : kept;
      m.keeps = !m.causal;
      return true;
    }
    m.fill = graph_node(node);
    return true;
  }

  static Node* graph_node(const Node& node) { return node.graph().find(node.name()); }

  /// scores + mask: the scores are what has a product behind it and as many elements as the sum.
  static Node* take_sum(const Node& node, Match& m) {
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      Node* scores = node_arg(node, i);
      Node* mask = node_arg(node, 1 - i);
      if (scores == nullptr || mask == nullptr || scores->type().sizes != node.type().sizes)
        continue;
      Node* made = maker(scores);
      while (made != nullptr && made->kind() == ir::NodeKind::kCallFunction && !is_product(*made) &&
             (is_aten(*made, "mul") || is_aten(*made, "div") || is_aten(*made, "_to_copy"))) {
        made = maker(node_arg(*made, 0));
      }
      if (made == nullptr || !is_product(*made)) continue;
      m.mask = mask;
      return scores;
    }
    return nullptr;
  }

  bool find_context(Match& m) const {
    const Node* node = m.softmax;
    for (;;) {
      const Node* reader = sole_reader(*node);
      if (reader == nullptr || !reader->has_tensor()) return false;
      m.nodes.push_back(reader);
      if (is_product(*reader)) {
        m.context = graph_node(*reader);
        Node* p = node_arg(*reader, 0);
        return p != nullptr && maker(p) == node && p->storage() == node->storage() &&
               node_arg(*reader, 1)->storage() != node->storage() &&
               ir::owns_storage(graph_, *reader) && !index_.written(reader->storage());
      }
      if (!is_aten(*reader, "_to_copy")) return false;
      node = reader;
    }
  }

  const Node* sole_reader(const Node& node) const {
    const Node* found = nullptr;
    for (const Node* value : index_.values(node.storage())) {
      for (const Node* user : value->users()) {
        if (user->kind() == ir::NodeKind::kCallFunction && ir::is_view(*user)) continue;
        if (found != nullptr && found != user) return nullptr;
        found = user;
      }
    }
    return found != nullptr && feeds_only(node, *found) ? found : nullptr;
  }

  // --- rewriting ---

  /// [lead..., M, N], or with the leading dimensions joined to one.
  static bool has_lead(const Node& x, const Sizes& lead) {
    const Sizes& sizes = x.type().sizes;
    if (sizes.size() < 3) return false;
    const Sizes own(sizes.begin(), sizes.end() - 2);
    std::int64_t all = 1;
    for (const std::int64_t n : lead) all *= n;
    return own == lead || own == Sizes{all};
  }

  /// Splits the leading dimensions again: a view whatever the strides.
  Node* with_lead(Node* x, const Sizes& lead) {
    TensorType type = x->type();
    if (type.sizes.size() == lead.size() + 2) return x;
    Sizes sizes = lead;
    Sizes strides(lead.size());
    std::int64_t step = type.strides[0];
    for (std::size_t i = lead.size(); i-- > 0;) {
      strides[i] = step;
      step *= lead[i];
    }
    for (std::size_t i = 1; i < 3; ++i) {
      sizes.push_back(type.sizes[i]);
      strides.push_back(type.strides[i]);
    }
    type.sizes = sizes;
    type.strides = strides;
    return build_.view("aten.view.default", x, {Arg::ints(sizes)}, type);
  }

  Node* transposed(Node* x) {
    TensorType type = x->type();
    const std::size_t n = type.sizes.size();
    std::swap(type.sizes[n - 1], type.sizes[n - 2]);
    std::swap(type.strides[n - 1], type.strides[n - 2]);
    return build_.view("aten.transpose.int", x, {Arg(-2), Arg(-1)}, type);
  }

  Node* definer(const Node* x) const {
    const std::vector<Node*> values = index_.values(x->storage());
    return values.empty() || x->type().offset != 0 ? nullptr : values.front();
  }

  /// If `x` [B, H, T, D] is a copy of [B, G, R, T, D] repeated along R, what was copied.
  Node* repeated(const Node* x) const {
    Node* copy = x->type().is_contiguous() ? definer(x) : nullptr;
    if (copy == nullptr || x->type().rank() != 4 || !is_aten(*copy, "clone")) return nullptr;
    Node* wide = node_arg(*copy, 0);
    if (wide == nullptr || wide->type().rank() != 5 || copy->type().sizes != wide->type().sizes ||
        !copy->type().is_contiguous() || copy->type().numel() != x->type().numel() ||
        index_.written(copy->storage())) {
      return nullptr;
    }
    const TensorType& t = wide->type();
    const Sizes& s = t.sizes;
    const bool repeats = s[2] > 1 && t.strides[2] == 0;
    if (!repeats || x->type().sizes != Sizes{s[0], s[1] * s[2], s[3], s[4]} ||
        index_.written_between(wide->storage(), index_.position(*copy), build_.position())) {
      return nullptr;
    }
    return wide;
  }

  /// Without the repetitions, [B, G, T, D]; otherwise `x` itself.
  Node* unrepeated(Node* x) {
    Node* const wide = repeated(x);
    if (wide == nullptr) return x;
    TensorType type = wide->type();
    type.sizes.erase(type.sizes.begin() + 2);
    type.strides.erase(type.strides.begin() + 2);
    return build_.view("aten.select.int", wide, {Arg(2), Arg(0)}, type);
  }

  /// Keys and values that were repeated for an attention that was whole already.
  void group_heads(Node* node) {
    Node* const q = node_arg(*node, 0);
    Node* const k = node_arg(*node, 1);
    Node* const v = node_arg(*node, 2);
    const Arg* grouped = node->kwarg("enable_gqa");
    if (q == nullptr || k == nullptr || v == nullptr ||
        (grouped != nullptr && *grouped == Arg(true)))
      return;
    build_.move_to(index_.position(*node));
    const Node* const wide_k = repeated(k);
    const Node* const wide_v = repeated(v);
    if (wide_k == nullptr || wide_v == nullptr ||
        wide_k->type().sizes[1] != wide_v->type().sizes[1]) {
      return;
    }
    const ir::Graph::InsertionGuard guard(graph_, node);
    Node* const few_k = unrepeated(k);
    Node* const few_v = unrepeated(v);
    std::vector<Arg> args = node->args();
    args[1] = Arg(few_k);
    args[2] = Arg(few_v);
    ir::Kwargs kwargs = node->kwargs();
    std::erase_if(kwargs, [](const auto& pair) { return pair.first == "enable_gqa"; });
    kwargs.emplace_back("enable_gqa", Arg(true));
    graph_.set_args(node, std::move(args), std::move(kwargs));
    report_.notes.push_back(fmt::format("%{}: {} heads share keys and values of {}", node->name(),
                                        q->type().sizes[1], few_k->type().sizes[1]));
    ++report_.changes;
  }

  /// The mask argument of the call; None if there is none.
  Arg mask_of(const Match& m) {
    if (m.fill == nullptr) return m.mask != nullptr ? Arg(m.mask) : Arg();
    Node* condition = node_arg(*m.fill, 1);
    const auto value = number_of(find_arg(*m.fill, 2, "value"));
    const ir::DType dtype = m.context->type().dtype;
    const auto type =
        TensorType::contiguous(dtype, condition->type().sizes, condition->type().device);
    Node* zeros =
        build_.call("aten.zeros.default", {Arg::ints(type.sizes)}, {{"dtype", Arg(dtype)}}, type);
    return build_.call("aten.masked_fill.Scalar", {Arg(zeros), Arg(condition), Arg(*value)}, {},
                       type);
  }

  bool operands_stay(const Match& m) const {
    const std::int32_t from = index_.position(*m.scores);
    for (const Node* operand : inputs_of(*m.scores)) {
      if (index_.written_between(operand->storage(), from, build_.position())) return false;
    }
    return m.mask == nullptr || !index_.written_between(m.mask->storage(), from, build_.position());
  }

  void rewrite(const Match& m) {
    build_.move_to(index_.position(*m.context));
    const Sizes& wide = m.softmax->type().sizes;
    if (wide.size() != 4) return;
    const Sizes lead(wide.begin(), wide.end() - 2);
    Node* queries = node_arg(*m.scores, 0);
    Node* keys = node_arg(*m.scores, 1);
    Node* values = node_arg(*m.context, 1);
    const ir::DType dtype = m.context->type().dtype;
    for (const Node* operand : {queries, keys, values}) {
      if (operand == nullptr || operand->type().dtype != dtype || !has_lead(*operand, lead)) return;
    }
    if (!operands_stay(m)) return;
    const ir::Graph::InsertionGuard guard(graph_, m.context);
    Node* q = with_lead(queries, lead);
    Node* k = with_lead(transposed(keys), lead);
    Node* v = with_lead(values, lead);
    Node* few_k = unrepeated(k);
    Node* few_v = unrepeated(v);
    const bool grouped =
        few_k != k && few_v != v && few_k->type().sizes[1] == few_v->type().sizes[1];
    emit(m, q, grouped ? few_k : k, grouped ? few_v : v, grouped);
  }

  void emit(const Match& m, Node* q, Node* k, Node* v, bool grouped) {
    TensorType type = q->type();
    type.sizes.back() = v->type().sizes.back();
    type = TensorType::contiguous(type.dtype, type.sizes, type.device);
    ir::Kwargs kwargs{{"scale", Arg(m.scale)}};
    if (grouped) kwargs.emplace_back("enable_gqa", Arg(true));
    Node* attention = build_.call("aten.scaled_dot_product_attention.default",
                                  {Arg(q), Arg(k), Arg(v), mask_of(m), Arg(0.0), Arg(m.causal)},
                                  std::move(kwargs), type);
    copy_origin(*m.context, *attention);
    Node* rows = attention;
    if (type.sizes != m.context->type().sizes) {
      rows = build_.view("aten.view.default", attention, {Arg::ints(m.context->type().sizes)},
                         TensorType::contiguous(type.dtype, m.context->type().sizes, type.device));
    }
    report_.notes.push_back(fmt::format("%{} = {}: scale {}{}{}", attention->name(), names(m.nodes),
                                        m.scale, grouped ? ", grouped heads" : "",
                                        m.causal ? ", causal" : ""));
    ++report_.changes;
    index_.rehome(graph_, m.context->storage(), attention->storage());
    replace_and_erase(graph_, index_, m.context, rows);
  }

  ir::Graph& graph_;
  ir::StorageIndex index_;
  CallBuilder build_{graph_, index_};  // where the product that is being replaced is
  PassReport report_;
};

PassReport attention(ir::Graph& graph, PassContext&) {
  return Recognizer(graph).run();
}

const Registration kRegistration{
    {"attention", "attention that is written out as one call", attention}};

}  // namespace
}  // namespace monograph::passes
