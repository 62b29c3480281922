// Recognises root-mean-square norms that are written out, x * rsqrt(mean(x^2) + eps) * w with casts
// to a wider type and back, and writes them as one call to aten.rms_norm.
//
// The call rounds to x's type once, at the end; written out, it is often done before the weight
// too.
#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Node;

/// The tensor operand of a call on a tensor and a number, and that number.
struct WithNumber {
  Node* tensor = nullptr;
  double number = 0;
};
std::optional<WithNumber> with_number(const Node& node) {
  if (node.args().size() != 2) return std::nullopt;
  Node* x = node_arg(node, 0);
  const Arg& n = node.args()[1];
  if (x == nullptr || !x->has_tensor()) return std::nullopt;
  if (const auto* d = n.get_if<double>()) return WithNumber{x, *d};
  if (const auto* i = n.get_if<std::int64_t>()) return WithNumber{x, static_cast<double>(*i)};
  return std::nullopt;
}

/// x of x^2 in any spelling.
Node* squared(const Node& node) {
  if (is_aten(node, "square")) return node_arg(node, 0);
  if (is_aten(node, "mul") && node.args().size() == 2 && node_arg(node, 0) == node_arg(node, 1)) {
    return node_arg(node, 0);
  }
  const auto power = is_aten(node, "pow") ? with_number(node) : std::nullopt;
  return power && power->number == 2 ? power->tensor : nullptr;
}

struct Match {
  Node* x = nullptr;
  Node* weight = nullptr;
  Node* result = nullptr;
  double eps = 0;
  std::vector<const Node*> nodes;
};

class Recognizer {
 public:
  explicit Recognizer(ir::Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    // Chosen beforehand: a rewrite erases the product that follows its rsqrt.
    const auto root = [](const Node& node) { return node.is_call("aten.rsqrt.default"); };
    for (Node* node : nodes_where(graph_, root)) {
      Match m;
      Node* wide = find_operand(*node, m);
      if (wide != nullptr && find_result(*node, *wide, m)) rewrite(m);
    }
    return std::move(report_);
  }

 private:
  /// x (in the type the norm is computed in) of rsqrt(mean(x^2, -1) + eps).
  static Node* find_operand(const Node& root, Match& m) {
    const Node* sum = node_arg(root, 0);
    const auto with_eps =
        sum != nullptr && is_aten(*sum, "add") && is_one_or_absent(sum->kwarg("alpha"))
            ? with_number(*sum)
            : std::nullopt;
    if (!with_eps || !is_aten(*with_eps->tensor, "mean")) return nullptr;
    const Node& mean = *with_eps->tensor;
    const Node* square = node_arg(mean, 0);
    const Arg* dims = find_arg(mean, 1, "dim");
    const Arg* keep = find_arg(mean, 2, "keepdim");
    if (square == nullptr || !square->has_tensor() || dims == nullptr || keep == nullptr ||
        *keep != Arg(true) || mean.type().dtype != square->type().dtype) {
      return nullptr;
    }
    const std::int64_t last = square->type().rank() - 1;
    if (*dims != Arg(Arg::List{Arg(-1)}) && *dims != Arg(Arg::List{Arg(last)})) return nullptr;
    Node* x = squared(*square);
    if (x == nullptr || x->type().dtype != square->type().dtype) return nullptr;
    m.eps = with_eps->number;
    m.nodes = {square, &mean, sum, &root};
    return x;
  }

  /// The only user of `node`, which nothing else looks at.
  Node* sole_user(const Node& node) const {
    const bool alone = node.users().size() == 1 && index_.values(node.storage()).size() == 1 &&
                       !index_.written(node.storage()) && !index_.reaches_output(node.storage());
    Node* user = alone ? node.users().front() : nullptr;
    return user != nullptr && user->kind() == ir::NodeKind::kCallFunction && user->has_tensor()
               ? user
               : nullptr;
  }

  bool find_result(const Node& root, Node& wide, Match& m) const {
    m.x = is_aten(wide, "_to_copy") && node_arg(wide, 0)->type().sizes == wide.type().sizes
              ? node_arg(wide, 0)
              : &wide;
    if (!ir::is_floating(m.x->type().dtype)) return false;
    Node* product = sole_user(root);
    if (product == nullptr || !is_product_of(*product, root, wide)) return false;
    m.nodes.push_back(product);
    m.result = product;
    while (Node* next = sole_user(*m.result)) {
      if (is_aten(*next, "_to_copy") && next->type().dtype == m.x->type().dtype &&
          next->type().dtype != m.result->type().dtype) {
        m.result = next;
      } else if (Node* w = weight_in(*next, *m.result); w != nullptr && m.weight == nullptr) {
        m.weight = w;
        m.result = next;
      } else {
        break;
      }
      m.nodes.push_back(m.result);
    }
    return m.result->type().dtype == m.x->type().dtype && m.result->type().is_contiguous() &&
           m.result->type().sizes == m.x->type().sizes && stays(*m.x, *m.result) &&
           (m.weight == nullptr ||
            (m.weight->type().dtype == m.x->type().dtype && stays(*m.weight, *m.result)));
  }

  static bool is_product_of(const Node& node, const Node& a, const Node& b) {
    return is_aten(node, "mul") && node.args().size() == 2 &&
           ((node_arg(node, 0) == &a && node_arg(node, 1) == &b) ||
            (node_arg(node, 0) == &b && node_arg(node, 1) == &a));
  }

  /// w of x * w, one number per element of a row.
  static Node* weight_in(const Node& node, const Node& x) {
    if (!is_aten(node, "mul") || node.args().size() != 2) return nullptr;
    Node* w = node_arg(node, node_arg(node, 0) == &x ? 1 : 0);
    if (w == nullptr || w == &x || !w->has_tensor() || w->type().rank() != 1 ||
        w->type().sizes[0] != x.type().sizes.back()) {
      return nullptr;
    }
    return w;
  }

  bool stays(const Node& operand, const Node& until) const {
    return !index_.written(operand.storage()) ||
           !index_.written_between(operand.storage(), index_.position(operand),
                                   index_.position(until));
  }

  void rewrite(const Match& m) {
    const ir::Graph::InsertionGuard guard(graph_, m.result);
    std::vector<Arg> args{Arg(m.x), Arg(Arg::List{Arg(m.x->type().sizes.back())}),
                          m.weight != nullptr ? Arg(m.weight) : Arg(), Arg(m.eps)};
    Node* norm = graph_.call("aten.rms_norm.default", std::move(args), {},
                             ir::Results::tensor(m.result->type()));
    copy_origin(*m.result, *norm);
    index_.add(*norm, index_.position(*m.result));
    report_.notes.push_back(fmt::format("%{} = {}: eps {}", norm->name(), names(m.nodes), m.eps));
    ++report_.changes;
    index_.rehome(graph_, m.result->storage(), norm->storage());
    replace_and_erase(graph_, index_, m.result, norm);
  }

  ir::Graph& graph_;
  ir::StorageIndex index_;
  PassReport report_;
};

PassReport rms_norm(ir::Graph& graph, PassContext&) {
  return Recognizer(graph).run();
}

const Registration kRegistration{
    {"rms_norm", "root-mean-square norms that are written out as one call", rms_norm}};

}  // namespace
}  // namespace monograph::passes
