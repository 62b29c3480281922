// Linear layers with what surrounds them, one launch each:
//   epilogue: pointwise calls on the result or on halves of its columns, as long as they lead to a
//             single result: bias, activations, residual sums, silu(gate) * up
//   prologue: the norm of its input, for up to 8 rows, where the product streams weights and every
//             block can afford to norm the few rows again
#include <algorithm>
#include <optional>
#include <vector>

#include "capture/passes/fusion/groups.h"
#include "capture/passes/fusion/op_class.h"
#include "capture/passes/fusion/outline.h"
#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Node;
using ir::TensorType;

constexpr std::int64_t kMostNormedRows = 8;
constexpr std::size_t kMostMembers = 16;

/// A tensor as rows of `columns` neighbouring elements, `pitch` elements apart.
struct Rows {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t pitch = 0;
};

/// `type` as rows, its innermost dimensions being the columns; nullopt if its memory isn't like
/// that.
std::optional<Rows> as_rows(const TensorType& type, std::int64_t columns) {
  Rows r{1, 1, 0};
  std::int64_t step = 0;  // of the row index
  for (std::size_t i = type.sizes.size(); i-- > 0;) {
    const std::int64_t size = type.sizes[i];
    const std::int64_t stride = type.strides[i];
    if (size == 1) continue;
    if (r.columns < columns) {
      if (stride != r.columns) return std::nullopt;
      r.columns *= size;
      continue;
    }
    if (r.rows == 1) {
      r.pitch = stride;
    } else if (stride != step) {
      return std::nullopt;
    }
    r.rows *= size;
    step = stride * size;
  }
  if (r.columns != columns) return std::nullopt;
  return r;
}

class Fuser {
 public:
  explicit Fuser(ir::Graph& graph) : graph_(graph), groups_(graph) {}

  PassReport run() {
    for (Groups::Id i = 0; i < groups_.size(); ++i) {
      if (!groups_.node(i).is_call("aten.linear.default") || groups_.is_overwritten(i)) continue;
      take_norm(i);
      take_epilogue(i);
    }
    Outliner outliner(graph_, ir::Rates::h200());
    for (const auto& members : groups_.found()) outliner.outline(members, report_);
    return std::move(report_);
  }

 private:
  /// The norm before `linear`, if it serves nobody else.
  void take_norm(Groups::Id linear) {
    const Node& node = groups_.node(linear);
    const Node* x = node_arg(node, 0);
    const Groups::Id norm = groups_.producer(*x);
    if (norm == Groups::kNone || groups_.members(norm).size() != 1) return;
    const Node& source = groups_.node(norm);
    if (!is_aten(source, "rms_norm") && !is_aten(source, "layer_norm")) return;
    const std::int64_t k = x->type().sizes.back();
    const std::vector<std::int64_t> dims = reduced_dims(source);
    if (op_class(source) != OpClass::kReduction || groups_.is_overwritten(norm) ||
        groups_.is_output(norm) || groups_.readers(norm) != std::vector<Groups::Id>{linear} ||
        dims.size() != 1 || source.type().sizes.back() != k || !x->type().is_contiguous() ||
        x->type().numel() != source.type().numel() || x->type().numel() / k > kMostNormedRows) {
      return;
    }
    if (groups_.can_join(norm, linear)) groups_.join(linear, norm);
  }

  /// Takes in pointwise readers one after the other, and keeps the longest row of them that leaves
  /// one result.
  void take_epilogue(Groups::Id linear) {
    const std::vector<Groups::Id> start = groups_.members(linear);
    std::vector<Groups::Id> taken;
    std::size_t keep = 0;
    while (start.size() + taken.size() < kMostMembers) {
      const Groups::Id next = next_reader(linear);
      if (next == Groups::kNone) break;
      groups_.join(linear, next);
      taken.push_back(next);
      if (groups_.results(linear).size() == 1) keep = taken.size();
    }
    if (keep == taken.size()) return;
    groups_.dissolve(linear);
    for (const Groups::Id m : start) {
      if (m != linear) groups_.join(linear, m);
    }
    for (std::size_t i = 0; i < keep; ++i) groups_.join(linear, taken[i]);
  }

  /// The first reader of the group that may be computed where the product is.
  Groups::Id next_reader(Groups::Id linear) const {
    for (const Groups::Id m : groups_.members(linear)) {
      if (groups_.group(m) != groups_.group(linear)) continue;
      for (const Groups::Id reader : groups_.readers(m)) {
        if (groups_.group(reader) == groups_.group(linear)) continue;
        if (groups_.members(reader).size() == 1 && fits(reader, linear) &&
            groups_.can_join(linear, reader)) {
          return reader;
        }
      }
    }
    return Groups::kNone;
  }

  /// A pointwise call on rows of the group's results: each of its elements comes from elements in
  /// the same row of the product, in the same column or that of another equally wide slice.
  bool fits(Groups::Id reader, Groups::Id linear) const {
    const Node& node = groups_.node(reader);
    if (op_class(node) != OpClass::kPointwise || groups_.is_overwritten(reader) ||
        !node.type().is_contiguous()) {
      return false;
    }
    const std::int64_t rows =
        groups_.node(linear).type().numel() / groups_.node(linear).type().sizes.back();
    if (node.type().numel() % rows != 0) return false;
    const std::int64_t columns = node.type().numel() / rows;
    const std::vector<Node*> inputs = inputs_of(node);
    return std::all_of(inputs.begin(), inputs.end(), [&](const Node* input) {
      const Groups::Id made = groups_.producer(*input);
      if (made == Groups::kNone || groups_.group(made) != groups_.group(linear)) return true;
      return reads_same_rows(*input, groups_.node(made), node, rows, columns);
    });
  }

  static bool reads_same_rows(const Node& view, const Node& made, const Node& reader,
                              std::int64_t rows, std::int64_t columns) {
    if (view.type().sizes != reader.type().sizes && view.type().numel() != reader.type().numel()) {
      return false;
    }
    const auto at = as_rows(view.type(), columns);
    const std::int64_t pitch = made.type().numel() / rows;
    return at && at->rows == rows && (rows == 1 || at->pitch == pitch) &&
           view.type().offset + columns <= pitch && view.type().dtype == made.type().dtype;
  }

  ir::Graph& graph_;
  Groups groups_;
  PassReport report_;
};

PassReport fuse_linear(ir::Graph& graph, PassContext&) {
  return Fuser(graph).run();
}

const Registration kRegistration{
    {"fuse_linear", "linear layers with the norm before and the pointwise calls after them",
     fuse_linear}};

}  // namespace
}  // namespace monograph::passes
