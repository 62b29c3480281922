// Convolutions whose windows neither overlap nor leave gaps (how vision transformers cut a picture
// into patches), where all that follows reads one row of channels per patch: one copy that puts
// each patch's elements side by side, and a linear layer. Libraries of convolutions have no good
// kernel for few channels in wide windows; they have for products.
#include <fmt/format.h>

#include <array>
#include <cstdint>
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

constexpr std::size_t kRank = 4;

/// Both of a number or a list of one or two numbers.
std::optional<std::array<std::int64_t, 2>> pair_of(const Arg* arg, std::int64_t otherwise) {
  if (arg == nullptr || arg->is_none()) return {{otherwise, otherwise}};
  if (const auto* one = arg->get_if<std::int64_t>()) return {{*one, *one}};
  const auto* list = arg->get_if<Arg::List>();
  if (list == nullptr || list->empty() || list->size() > 2) return std::nullopt;
  const auto* first = list->front().get_if<std::int64_t>();
  const auto* last = list->back().get_if<std::int64_t>();
  if (first == nullptr || last == nullptr) return std::nullopt;
  return {{*first, *last}};
}

bool is_weight(const Node* node) {
  return node != nullptr && node->kind() == ir::NodeKind::kGetAttr && node->has_tensor() &&
         node->type().is_contiguous() && node->type().offset == 0;
}

/// No gaps, no overlap, no padding, nothing cut off at the far ends.
bool cuts_into_patches(const Node& conv) {
  if (!conv.is_call("aten.conv2d.default") || !conv.has_tensor()) return false;
  const Node* x = node_arg(conv, 0);
  const Node* weight = node_arg(conv, 1);
  if (x == nullptr || !x->has_tensor() || !is_weight(weight)) return false;
  const Sizes& in = x->type().sizes;
  const Sizes& w = weight->type().sizes;
  if (in.size() != kRank || conv.type().sizes.size() != kRank || conv.type().numel() == 0 ||
      !x->type().is_contiguous() || !conv.type().is_contiguous() || conv.type().offset != 0) {
    return false;
  }
  const Arg* bias = find_arg(conv, 2, "bias");
  const bool plain_bias = bias == nullptr || bias->is_none() || is_weight(node_arg(conv, 2));
  const auto stride = pair_of(find_arg(conv, 3, "stride"), 1);
  const auto padding = pair_of(find_arg(conv, 4, "padding"), 0);
  const auto dilation = pair_of(find_arg(conv, 5, "dilation"), 1);
  const Arg* groups = find_arg(conv, 6, "groups");
  constexpr std::array<std::int64_t, 2> kNone{0, 0};
  constexpr std::array<std::int64_t, 2> kOnes{1, 1};
  return plain_bias && stride && padding == kNone && dilation == kOnes &&
         (groups == nullptr || *groups == Arg(std::int64_t{1})) && w[2] * w[3] > 1 &&
         w[2] == (*stride)[0] && w[3] == (*stride)[1] && in[2] % w[2] == 0 && in[3] % w[3] == 0;
}

class Cutter {
 public:
  explicit Cutter(ir::Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* conv : nodes_where(graph_, cuts_into_patches)) {
      if (Node* rows = rows_of(conv)) cut(conv, rows);
    }
    return std::move(report_);
  }

 private:
  /// The only thing that is looked at of the result: a view of it as [N, patches, channels].
  Node* rows_of(Node* conv) const {
    if (index_.written(conv->storage()) || index_.written(node_arg(*conv, 0)->storage())) {
      return nullptr;
    }
    const Sizes& s = conv->type().sizes;
    const Sizes sizes{s[0], s[2] * s[3], s[1]};
    const Sizes strides{s[1] * s[2] * s[3], 1, s[2] * s[3]};
    Node* at = conv;
    while (at->type().sizes != sizes || at->type().strides != strides) {
      if (at->users().size() != 1) return nullptr;
      at = at->users().front();
      if (!ir::is_view(*at) || !at->has_tensor() || at->storage() != conv->storage() ||
          at->type().offset != 0) {
        return nullptr;
      }
    }
    for (const Node* user : at->users()) {
      // Others' layouts may come from this one's.
      const bool fits = user->kind() == ir::NodeKind::kCallFunction && !ir::is_view(*user) &&
                        user->has_tensor() && user->type().is_contiguous();
      if (!fits) return nullptr;
    }
    return at->users().empty() ? nullptr : at;
  }

  void cut(Node* conv, Node* rows) {
    build_.move_to(index_.position(*conv));
    const ir::Graph::InsertionGuard guard(graph_, conv);
    Node* x = node_arg(*conv, 0);
    Node* weight = node_arg(*conv, 1);
    const TensorType in = x->type();
    const TensorType w = weight->type();
    const Sizes& s = in.sizes;
    const std::int64_t high = w.sizes[2];
    const std::int64_t wide = w.sizes[3];
    const std::int64_t patch = w.sizes[1] * high * wide;
    const Sizes split{s[0], s[1], s[2] / high, high, s[3] / wide, wide};
    TensorType type = TensorType::contiguous(in.dtype, split, in.device);
    type.offset = in.offset;
    Node* blocks = build_.view("aten.view.default", x, {Arg::ints(split)}, type);
    constexpr std::array<std::size_t, 6> kOrder{0, 2, 4, 1, 3, 5};
    TensorType turned = type;
    Sizes order;
    for (std::size_t d = 0; d < kOrder.size(); ++d) {
      turned.sizes[d] = type.sizes[kOrder[d]];
      turned.strides[d] = type.strides[kOrder[d]];
      order.push_back(static_cast<std::int64_t>(kOrder[d]));
    }
    Node* patches = build_.view("aten.permute.default", blocks, {Arg::ints(order)}, turned);
    Node* copy = build_.call("aten.clone.default", {Arg(patches)},
                             {{"memory_format", Arg(ir::MemoryFormat::kContiguous)}},
                             TensorType::contiguous(in.dtype, turned.sizes, in.device));
    const Sizes matrix{s[0], split[2] * split[4], patch};
    Node* flat = build_.view("aten.view.default", copy, {Arg::ints(matrix)},
                             TensorType::contiguous(in.dtype, matrix, in.device));
    const Sizes wide_rows{w.sizes[0], patch};
    Node* filters = build_.view("aten.view.default", weight, {Arg::ints(wide_rows)},
                                TensorType::contiguous(w.dtype, wide_rows, w.device));
    std::vector<Arg> args{Arg(flat), Arg(filters)};
    if (node_arg(*conv, 2) != nullptr) args.push_back(conv->args()[2]);
    Node* linear =
        build_.call("aten.linear.default", std::move(args), {},
                    TensorType::contiguous(conv->type().dtype, {matrix[0], matrix[1], w.sizes[0]},
                                           conv->type().device));
    for (Node* made : {blocks, patches, copy, flat, filters, linear}) copy_origin(*conv, *made);
    report_.notes.push_back(
        fmt::format("%{}: {} patches of {} elements", conv->name(), matrix[0] * matrix[1], patch));
    ++report_.changes;
    replace_and_erase(graph_, index_, rows, linear);  // what is left of the rest is dead
  }

  ir::Graph& graph_;
  ir::StorageIndex index_;
  CallBuilder build_{graph_, index_};
  PassReport report_;
};

PassReport patch_convolution(ir::Graph& graph, PassContext&) {
  return Cutter(graph).run();
}

const Registration kRegistration{
    {"patch_convolution", "convolutions that cut into patches, as a copy and a linear layer",
     patch_convolution}};

}  // namespace
}  // namespace monograph::passes
