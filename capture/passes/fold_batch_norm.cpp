// Batch norm after a convolution, in eval mode, goes into the convolution's weight and bias:
//   s = gamma / sqrt(variance + eps);  weight' = weight * s;  bias' = (bias - mean) * s + beta
// The new weights are written as calls on the old ones, which constant folding computes once.
// Without an evaluator to do that, nothing is changed.
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
using ir::TensorType;

bool is_weight(const Node* node) {
  if (node == nullptr || node->kind() != ir::NodeKind::kGetAttr) return false;
  const ir::StorageKind kind = node->graph().storage(node->storage()).kind;
  return kind == ir::StorageKind::kParameter || kind == ir::StorageKind::kBuffer ||
         kind == ir::StorageKind::kConstant;
}

bool is_vector(const Node* node, std::int64_t n, ir::DType dtype) {
  return is_weight(node) && node->type().sizes == std::vector<std::int64_t>{n} &&
         node->type().dtype == dtype;
}

class Folder {
 public:
  explicit Folder(ir::Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) {
      if (node->is_call("aten.batch_norm.default")) visit(node);
    }
    return std::move(report_);
  }

 private:
  /// batch_norm(x, gamma, beta, mean, variance, training, momentum, eps, cudnn)
  void visit(Node* norm) {
    constexpr std::size_t kTraining = 5, kEps = 7;
    Node* conv = node_arg(*norm, 0);
    if (conv == nullptr || norm->args().size() <= kEps || norm->args()[kTraining] != Arg(false) ||
        !norm->args()[kEps].is<double>() || !is_convolution(*conv) || !norm->has_tensor() ||
        norm->type() != conv->type()) {
      return;
    }
    if (conv->users().size() != 1 || index_.values(conv->storage()).size() != 1 ||
        index_.written(conv->storage()) ||
        index_.written_between(node_arg(*conv, 0)->storage(), index_.position(*conv),
                               index_.position(*norm))) {
      return;
    }
    Node* weight = node_arg(*conv, 1);
    const std::int64_t channels = weight->type().sizes[0];
    const ir::DType dtype = weight->type().dtype;
    const auto fits = [&](std::size_t i, bool optional) {
      return (optional && norm->args()[i].is_none()) ||
             is_vector(node_arg(*norm, i), channels, dtype);
    };
    if (!ir::is_floating(dtype) || !fits(1, true) || !fits(2, true) || !fits(3, false) ||
        !fits(4, false) || written_before(*norm)) {
      return;
    }
    fold(norm, conv);
  }

  static bool is_convolution(const Node& node) {
    const bool conv = is_aten(node, "conv1d") || is_aten(node, "conv2d") || is_aten(node, "conv3d");
    if (!conv || node.args().size() < 2 || !is_weight(node_arg(node, 1))) return false;
    return node.args().size() < 3 || node.args()[2].is_none() || is_weight(node_arg(node, 2));
  }

  bool written_before(const Node& norm) const {
    for (const Node* input : inputs_of(norm)) {
      if (index_.written(input->storage())) return true;
    }
    return false;
  }

  void fold(Node* norm, Node* conv) {
    build_.move_to(index_.position(*norm));
    const ir::Graph::InsertionGuard guard(graph_, norm);
    Node* weight = node_arg(*conv, 1);
    const TensorType wide =
        TensorType::contiguous(weight->type().dtype, weight->type().sizes, weight->type().device);
    const TensorType vector =
        TensorType::contiguous(wide.dtype, {wide.sizes[0]}, weight->type().device);
    const Node* gamma = node_arg(*norm, 1);
    Node* beta = node_arg(*norm, 2);
    Node* sum = build_.call("aten.add.Tensor", {norm->args()[4], norm->args()[7]}, {}, vector);
    Node* scale = build_.call("aten.rsqrt.default", {Arg(sum)}, {}, vector);
    if (gamma != nullptr) {
      scale = build_.call("aten.mul.Tensor", {norm->args()[1], Arg(scale)}, {}, vector);
    }
    std::vector<std::int64_t> ones(wide.sizes.size(), 1);
    ones[0] = wide.sizes[0];
    TensorType column = TensorType::contiguous(wide.dtype, ones, wide.device);
    Node* factors = build_.view("aten.view.default", scale, {Arg::ints(ones)}, column);
    TensorType like = weight->type();
    like.offset = 0;
    Node* new_weight = build_.call("aten.mul.Tensor", {Arg(weight), Arg(factors)}, {},
                                   ir::is_dense(like) ? like : wide);
    Node* bias = node_arg(*conv, 2);
    Node* centre = bias != nullptr
                       ? build_.call("aten.sub.Tensor", {Arg(bias), norm->args()[3]}, {}, vector)
                       : build_.call("aten.neg.default", {norm->args()[3]}, {}, vector);
    Node* new_bias = build_.call("aten.mul.Tensor", {Arg(centre), Arg(scale)}, {}, vector);
    if (beta != nullptr)
      new_bias = build_.call("aten.add.Tensor", {Arg(new_bias), Arg(beta)}, {}, vector);
    report_.notes.push_back(fmt::format("{} -> %{}", names({conv, norm}), conv->name()));
    ++report_.changes;
    std::vector<Arg> args = conv->args();
    args.resize(std::max<std::size_t>(args.size(), 3));
    args[1] = Arg(new_weight);
    args[2] = Arg(new_bias);
    graph_.move_before(conv, norm);
    index_.move(*conv, build_.position());
    graph_.set_args(conv, std::move(args), conv->kwargs());
    index_.rehome(graph_, norm->storage(), conv->storage());
    replace_and_erase(graph_, index_, norm, conv);
  }

  ir::Graph& graph_;
  ir::StorageIndex index_;
  CallBuilder build_{graph_, index_};
  PassReport report_;
};

PassReport fold_batch_norm(ir::Graph& graph, PassContext& context) {
  if (context.constants == nullptr) return {};
  return Folder(graph).run();
}

const Registration kRegistration{{"fold_batch_norm",
                                  "batch norm into the weights of the convolution before it",
                                  fold_batch_norm}};

}  // namespace
}  // namespace monograph::passes
