// Linear layers that share their input (queries, keys and values; gate and up) become one: their
// weights are put one below the other once, ahead of time, and what were results become slices of
// columns of the one result. One launch reads the input once and streams all weights.
//
// Views of the old results are moved along: where an element was at row r, column c of its own
// result, it is now at row r, column first + c of the packed one. A view that doesn't keep to rows
// (one that joins them, say) can't be moved, and then the layers stay apart.
#include <fmt/format.h>

#include <algorithm>
#include <map>
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

/// A move from a [rows, from] tensor into columns `first`... of a [rows, to] one.
struct Move {
  std::int64_t rows = 0;
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t first = 0;
};

/// `type`, which lies in the old tensor, as it lies in the new one; nullopt if it leaves its rows.
std::optional<TensorType> moved(const TensorType& type, const Move& m) {
  TensorType out = type;
  std::int64_t column = type.offset % m.from;  // of the last element reached
  std::int64_t row = type.offset / m.from;
  for (std::size_t i = 0; i < type.sizes.size(); ++i) {
    const std::int64_t stride = type.strides[i];
    const std::int64_t steps = type.sizes[i] - 1;
    if (stride % m.from == 0 && m.rows > 1) {
      out.strides[i] = stride / m.from * m.to;
      row += steps * (stride / m.from);
    } else if (steps > 0) {
      column += steps * stride;
    }
  }
  if (type.numel() > 0 && (column >= m.from || row >= std::max<std::int64_t>(m.rows, 1))) {
    return std::nullopt;
  }
  out.offset = type.offset / m.from * m.to + type.offset % m.from + m.first;
  return out;
}

class Packer {
 public:
  Packer(ir::Graph& graph, ConstantEvaluator& evaluator)
      : graph_(graph), evaluator_(evaluator), index_(graph) {}

  PassReport run() {
    std::map<std::pair<std::int32_t, bool>, std::vector<Node*>> by_input;  // node id, has bias
    std::vector<std::pair<std::int32_t, bool>> order;
    for (Node* node : graph_.node_vector()) {
      if (!can_be_packed(*node)) continue;
      const std::pair key(node_arg(*node, 0)->id(), node->args().size() == 3);
      if (by_input[key].empty()) order.push_back(key);
      by_input[key].push_back(node);
    }
    for (const auto& key : order) {
      for (std::vector<Node*>& layers : alike(by_input[key])) {
        if (layers.size() > 1) pack(layers);
      }
    }
    return std::move(report_);
  }

 private:
  // --- conditions ---

  bool is_own_weight(const Node* node, std::int64_t rank) const {
    if (node == nullptr || node->kind() != ir::NodeKind::kGetAttr) return false;
    return graph_.storage(node->storage()).kind != ir::StorageKind::kState &&
           node->users().size() == 1 && node->type().rank() == rank &&
           node->type().is_contiguous() && index_.values(node->storage()).size() == 1;
  }

  bool can_be_packed(const Node& node) const {
    if (!node.is_call("aten.linear.default") || !node.kwargs().empty()) return false;
    const Node* x = node_arg(node, 0);
    if (x == nullptr || !is_own_weight(node_arg(node, 1), 2)) return false;
    if (node.args().size() == 3 && !is_own_weight(node_arg(node, 2), 1)) return false;
    return node.args().size() >= 2 && node.type().is_contiguous() && node.type().numel() > 0 &&
           ir::owns_storage(graph_, node) && !index_.written(node.storage()) &&
           !index_.reaches_output(node.storage()) && views_can_move(node);
  }

  static Move move_of(const Node& node, std::int64_t to, std::int64_t first) {
    const std::int64_t columns = node.type().sizes.back();
    return {node.type().numel() / columns, columns, to, first};
  }

  bool views_can_move(const Node& node) const {
    const Move m = move_of(node, node.type().sizes.back(), 0);
    for (const Node* view : index_.values(node.storage())) {
      for (const ir::Value& v : view->values()) {
        if (v.storage != node.storage() || v.type.dtype != node.type().dtype || !moved(v.type, m)) {
          return false;
        }
      }
    }
    return true;
  }

  /// Layers of one dtype whose input isn't written between them.
  std::vector<std::vector<Node*>> alike(const std::vector<Node*>& layers) const {
    std::vector<std::vector<Node*>> sets;
    for (Node* layer : layers) {
      const auto fits = [&](const std::vector<Node*>& set) {
        const Node& first = *set.front();
        return first.type().dtype == layer->type().dtype &&
               !index_.written_between(node_arg(first, 0)->storage(), index_.position(first),
                                       index_.position(*layer));
      };
      const auto at = std::find_if(sets.begin(), sets.end(), fits);
      if (at != sets.end()) {
        at->push_back(layer);
      } else {
        sets.push_back({layer});
      }
    }
    return sets;
  }

  // --- the rewrite ---

  void pack(const std::vector<Node*>& layers) {
    Node* const place = layers.front();
    const ir::Graph::InsertionGuard guard(graph_, place);
    std::vector<Arg> args{place->args()[0]};
    for (std::size_t operand = 1; operand < place->args().size(); ++operand) {
      Node* weight = packed_weight(layers, operand);
      if (weight == nullptr) {
        report_.notes.push_back(fmt::format("{} stay apart: their weights can't be put together",
                                            names({layers.begin(), layers.end()})));
        return;
      }
      args.emplace_back(weight);
    }
    std::int64_t columns = 0;
    for (const Node* layer : layers) columns += layer->type().sizes.back();
    std::vector<std::int64_t> sizes = place->type().sizes;
    sizes.back() = columns;
    Node* packed = graph_.call("aten.linear.default", std::move(args), {},
                               ir::Results::tensor(TensorType::contiguous(
                                   place->type().dtype, sizes, place->type().device)),
                               {}, "packed_linear");
    copy_origin(*place, *packed);
    index_.add(*packed, index_.position(*place));
    report_.notes.push_back(fmt::format("%{} = {}: one product of {} columns", packed->name(),
                                        names({layers.begin(), layers.end()}), columns));
    ++report_.changes;
    std::int64_t first = 0;
    for (Node* layer : layers) {
      const std::int64_t width = layer->type().sizes.back();
      slice(layer, packed, first);
      first += width;
    }
  }

  /// get_attr of the operands of `layers` one below the other; nullptr if the evaluator declines.
  Node* packed_weight(const std::vector<Node*>& layers, std::size_t operand) {
    Arg::List parts;
    std::int64_t rows = 0;
    for (const Node* layer : layers) {
      parts.push_back(layer->args()[operand]);
      rows += node_arg(*layer, operand)->type().sizes[0];
    }
    const TensorType& like = node_arg(*layers.front(), operand)->type();
    std::vector<std::int64_t> sizes = like.sizes;
    sizes[0] = rows;
    // The weights may stand behind the first layer.
    for (const Arg& part : parts) graph_.move_before(part.node(), layers.front());
    Node* trial =
        graph_.call("aten.cat.default", {Arg(parts), Arg(0)}, {},
                    ir::Results::tensor(TensorType::contiguous(like.dtype, sizes, like.device)));
    const auto constants = evaluator_.evaluate_packed(*trial);
    const TensorType wanted = trial->type();
    graph_.erase(trial);
    if (!constants || constants->size() != 1 || constants->front().type != wanted) return nullptr;
    const FoldedConstant& c = constants->front();
    Node* weight = graph_.get_attr(c.attr, c.type, ir::StorageKind::kConstant, c.nbytes);
    index_.add(*weight, index_.position(*layers.front()));
    return weight;
  }

  /// Arguments that spell out the strides or the offset of a view follow its type.
  void restate_strides(Node* view) {
    const bool strided = is_aten(*view, "as_strided");
    if (!strided && !is_aten(*view, "_reshape_alias")) return;
    std::vector<Arg> args = view->args();
    args.at(2) = Arg::ints(view->type().strides);
    if (strided && args.size() > 3) args[3] = Arg(view->type().offset);
    graph_.set_args(view, std::move(args), view->kwargs());
  }

  /// `layer` becomes columns `first`... of `packed`.
  void slice(Node* layer, Node* packed, std::int64_t first) {
    const std::int64_t width = layer->type().sizes.back();
    const Move m = move_of(*layer, packed->type().sizes.back(), first);
    Node* view =
        graph_.call("aten.slice.Tensor", {Arg(packed), Arg(-1), Arg(first), Arg(first + width)}, {},
                    ir::Results::tensor(*moved(layer->type(), m), packed->storage()));
    copy_origin(*layer, *view);
    index_.add(*view, index_.position(*layer));
    for (Node* value : index_.values(layer->storage())) {
      if (value == layer) continue;
      ir::Results results{value->values(), value->is_list()};
      for (ir::Value& v : results.values) v = {*moved(v.type, m), packed->storage()};
      graph_.set_values(value, std::move(results));
      restate_strides(value);
    }
    std::vector<Node*> weights;
    for (std::size_t i = 1; i < layer->args().size(); ++i)
      weights.push_back(layer->args()[i].node());
    graph_.replace_all_uses(layer, view);
    index_.forget(*layer);
    graph_.erase(layer);
    for (Node* w : weights) {
      index_.forget(*w);
      graph_.erase(w);
    }
  }

  ir::Graph& graph_;
  ConstantEvaluator& evaluator_;
  ir::StorageIndex index_;
  PassReport report_;
};

PassReport pack_linears(ir::Graph& graph, PassContext& context) {
  if (context.constants == nullptr) return {};
  return Packer(graph, *context.constants).run();
}

const Registration kRegistration{
    {"pack_linears", "linear layers that share their input as one product", pack_linears}};

}  // namespace
}  // namespace monograph::passes
