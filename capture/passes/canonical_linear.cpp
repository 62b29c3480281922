// Recognises linear layers in what LibTorch decomposes them to and writes them as
// `aten.linear.default(x, w, b)`.
//
// One walk, three local rules, each on values that have no other user:
//   product:  mm|matmul|bmm|addmm with a transposed 2-D w      ->  linear(x, w[, b])
//   reshape:  view(linear(view(x), w, b)) back to x's rows     ->  linear(x, w, b)
//   bias:     add|add_ of a vector to linear(x, w), or to a view of it that keeps the last
//             dimension                                        ->  linear(x, w, b)[, view]
// The transposition is recognised by where the elements lie, not by which operator made it.
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
using ir::TensorType;

bool is_reshape(const Node& node) {
  constexpr std::array<std::string_view, 3> kReshapes{"view", "_unsafe_view", "reshape"};
  return node.has_tensor() && is_view(node) && node_arg(node, 0) != nullptr &&
         std::any_of(kReshapes.begin(), kReshapes.end(),
                     [&](std::string_view op) { return is_aten(node, op); });
}

bool has_gemm_dtype(const Node& node) {
  using ir::DType;
  if (!node.has_tensor()) return false;
  const DType d = node.type().dtype;
  return d == DType::kF16 || d == DType::kBF16 || d == DType::kF32 || d == DType::kF64;
}

bool fits(const Node& a, const Node& b) {
  return a.type().dtype == b.type().dtype && a.type().device == b.type().device;
}

/// The value itself or the nearest one it is a view of that satisfies `wanted`; nullptr if none.
template <class Fn>
Node* viewed(Node* node, Fn&& wanted) {
  for (; node != nullptr && node->has_tensor(); node = node_arg(*node, 0)) {
    if (wanted(*node)) return node;
    if (!is_view(*node)) return nullptr;
  }
  return nullptr;
}

/// w[N,K] such that `transposed` [K,N] (or [B,K,N], equal for all B) reads the same elements.
Node* weight_of(Node* transposed) {
  if (transposed == nullptr || !has_gemm_dtype(*transposed)) return nullptr;
  const TensorType type = transposed->type();
  const ir::StorageId storage = transposed->storage();
  const std::int64_t rank = type.rank();
  if (rank != 2 && rank != 3) return nullptr;
  if (rank == 3 && type.sizes[0] != 1 && type.strides[0] != 0) return nullptr;
  const auto row = static_cast<std::size_t>(rank - 2);
  return viewed(transposed, [&](const Node& w) {
    const TensorType& t = w.type();
    return &w != transposed && t.rank() == 2 && w.storage() == storage && t.dtype == type.dtype &&
           t.offset == type.offset && t.sizes[0] == type.sizes[row + 1] &&
           t.sizes[1] == type.sizes[row] && t.strides[0] == type.strides[row + 1] &&
           t.strides[1] == type.strides[row];
  });
}

/// b[N] such that adding `addend` to something that ends in N elements adds b to each row.
Node* bias_of(Node* addend, std::int64_t n) {
  if (addend == nullptr || !has_gemm_dtype(*addend)) return nullptr;
  const TensorType type = addend->type();
  const ir::StorageId storage = addend->storage();
  if (type.sizes.empty() || type.sizes.back() != n) return nullptr;
  for (std::size_t i = 0; i + 1 < type.sizes.size(); ++i) {
    if (type.sizes[i] != 1 && type.strides[i] != 0) return nullptr;
  }
  return viewed(addend, [&](const Node& b) {
    const TensorType& t = b.type();
    return t.rank() == 1 && t.sizes[0] == n && b.storage() == storage && t.dtype == type.dtype &&
           t.offset == type.offset && (n == 1 || t.strides[0] == type.strides.back());
  });
}

/// Result sizes of linear(x, w).
std::vector<std::int64_t> linear_sizes(const TensorType& x, const TensorType& w) {
  std::vector<std::int64_t> sizes = x.sizes;
  sizes.back() = w.sizes[0];
  return sizes;
}

class Canonicalizer {
 public:
  explicit Canonicalizer(Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) {
      if (node->kind() != ir::NodeKind::kCallFunction || !node->has_tensor()) continue;
      // At most one rule applies to a node; each leaves later nodes to the rest of the walk.
      if (!match_product(node) && !match_reshape(node)) match_bias(node);
    }
    return std::move(report_);
  }

 private:
  // --- the rules ---

  bool match_product(Node* node) {
    const bool addmm = node->is_call("aten.addmm.default");
    if (!addmm && !node->is_call("aten.mm.default") && !node->is_call("aten.matmul.default") &&
        !node->is_call("aten.bmm.default")) {
      return false;
    }
    if (node->args().size() != (addmm ? 3U : 2U)) return false;
    Node* x = node_arg(*node, addmm ? 1 : 0);
    Node* transposed = node_arg(*node, addmm ? 2 : 1);
    Node* w = weight_of(transposed);
    if (w == nullptr || x == nullptr || !is_linear(*node, *x, *w)) return false;
    // A product with one weight per batch entry is a linear layer only for 3-D inputs.
    if (transposed->type().rank() == 3 && x->type().rank() != 3) return false;
    Node* b = nullptr;
    if (addmm) {
      if (!is_one_or_absent(node->kwarg("beta")) || !is_one_or_absent(node->kwarg("alpha"))) {
        return false;
      }
      b = bias_of(node_arg(*node, 0), w->type().sizes[0]);
      if (b == nullptr || !fits(*b, *w)) return false;
    }
    replace_product(node, transposed, {Arg(x), Arg(w)}, b);
    return true;
  }

  void replace_product(Node* node, const Node* transposed, std::vector<Arg> args, Node* b) {
    if (b != nullptr) args.emplace_back(b);
    const ir::Graph::InsertionGuard guard(graph_, node);
    Node* linear =
        graph_.call("aten.linear.default", std::move(args), {}, ir::Results::tensor(node->type()));
    copy_origin(*node, *linear);
    index_.add(*linear, index_.position(*node));
    note({transposed, node}, *linear);
    index_.rehome(graph_, node->storage(), linear->storage());
    replace_and_erase(graph_, index_, node, linear);
  }

  bool match_reshape(Node* node) {
    if (!is_reshape(*node)) return false;
    Node* linear = sole_linear(node_arg(*node, 0));
    if (linear == nullptr) return false;
    Node* rows = node_arg(*linear, 0);
    if (!is_reshape(*rows)) return false;
    Node* x = node_arg(*rows, 0);
    if (!x->has_tensor() || !is_linear(*node, *x, *node_arg(*linear, 1))) return false;
    note({rows, linear, node}, *linear);
    std::vector<Arg> args = linear->args();
    args[0] = Arg(x);
    graph_.set_args(linear, std::move(args), {});
    graph_.set_values(linear, ir::Results::tensor(node->type(), linear->storage()));
    replace_and_erase(graph_, index_, node, linear);
    return true;
  }

  bool match_bias(Node* node) {
    const bool in_place = node->is_call("aten.add_.Tensor");
    if ((!in_place && !node->is_call("aten.add.Tensor")) || node->args().size() != 2 ||
        !is_one_or_absent(node->kwarg("alpha"))) {
      return false;
    }
    if (add_bias(node, node_arg(*node, 0), node_arg(*node, 1))) return true;
    return !in_place && add_bias(node, node_arg(*node, 1), node_arg(*node, 0));
  }

  /// node = product + addend, where product is a bias-free linear or a view of one.
  bool add_bias(Node* node, Node* product, Node* addend) {
    if (product == nullptr || !product->has_tensor() || addend == product ||
        product->users().size() != 1) {
      return false;
    }
    Node* view = is_reshape(*product) ? product : nullptr;
    Node* linear = sole_linear(view != nullptr ? node_arg(*view, 0) : product);
    if (linear == nullptr || linear->args().size() != 2) return false;
    const Node& w = *node_arg(*linear, 1);
    const std::int64_t n = w.type().sizes[0];
    const TensorType& type = product->type();
    if (type.sizes.empty() || type.sizes.back() != n || type.dtype != linear->type().dtype ||
        node->type() != type || !owns_storage(graph_, *node) || !owns_storage(graph_, *linear)) {
      return false;
    }
    Node* b = bias_of(addend, n);
    if (b == nullptr || !fits(*b, w) || !fits(*linear, w)) return false;
    if (!can_move(*linear, *node)) return false;
    note({linear, node}, *linear);
    take_bias(linear, view, b, node);
    return true;
  }

  /// What `linear` reads isn't written before `node`.
  bool can_move(const Node& linear, const Node& node) const {
    const std::int32_t from = index_.position(linear);
    const std::int32_t before = index_.position(node) - 1;
    const Node& x = *node_arg(linear, 0);
    const Node& w = *node_arg(linear, 1);
    return !index_.written_between(x.storage(), from, before) &&
           !index_.written_between(w.storage(), from, before);
  }

  /// `linear`, with the bias, and its view stand where the sum `node` was and replace it.
  void take_bias(Node* linear, Node* view, Node* b, Node* node) {
    std::vector<Arg> args = linear->args();
    args.emplace_back(b);
    graph_.move_before(linear, node);
    index_.move(*linear, index_.position(*node));
    graph_.set_args(linear, std::move(args), {});
    if (view != nullptr) {
      graph_.move_before(view, node);
      index_.move(*view, index_.position(*node));
    }
    index_.rehome(graph_, node->storage(), linear->storage());
    replace_and_erase(graph_, index_, node, view != nullptr ? view : linear);
  }

  // --- conditions ---

  /// True if `result` has the type of linear(x, w): dtypes agree, rows match, and it is a fresh
  /// row-major tensor or a view of all of one.
  bool is_linear(const Node& result, const Node& x, const Node& w) const {
    if (!has_gemm_dtype(result) || !has_gemm_dtype(x) || !fits(result, x) || !fits(x, w)) {
      return false;
    }
    const TensorType& xt = x.type();
    if (xt.sizes.empty() || xt.sizes.back() != w.type().sizes[1]) return false;
    return owns_storage(graph_, result) && result.type().is_contiguous() &&
           result.type().sizes == linear_sizes(xt, w.type());
  }

  /// `node` if it is a linear that only one node uses.
  static Node* sole_linear(Node* node) {
    const bool fine = node != nullptr && node->is_call("aten.linear.default") &&
                      node->has_tensor() && node->users().size() == 1 && node->kwargs().empty() &&
                      node->args().size() >= 2 && node_arg(*node, 0) != nullptr &&
                      node_arg(*node, 1) != nullptr && node_arg(*node, 1)->has_tensor() &&
                      node_arg(*node, 1)->type().rank() == 2;
    return fine ? node : nullptr;
  }

  void note(const std::vector<const Node*>& matched, const Node& linear) {
    report_.notes.push_back(fmt::format("{} -> %{}", names(matched), linear.name()));
    ++report_.changes;
  }

  Graph& graph_;
  ir::StorageIndex index_;
  PassReport report_;
};

PassReport canonical_linear(Graph& graph, PassContext&) {
  return Canonicalizer(graph).run();
}

const Registration kRegistration{{"canonical_linear",
                                  "write matrix products with transposed weights as linear layers",
                                  canonical_linear}};

}  // namespace
}  // namespace monograph::passes
