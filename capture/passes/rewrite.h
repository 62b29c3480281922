// What several passes need to take a graph apart and put it together again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/analysis.h"
#include "capture/ir/graph.h"

namespace monograph::passes {

/// "aten.add_.Tensor" in its parts; views into the target.
struct Target {
  std::string_view space;     ///< "aten"
  std::string_view op;        ///< "add_"
  std::string_view overload;  ///< "Tensor"
};
/// nullopt for a name without three parts (getitem, fusions).
std::optional<Target> split_target(std::string_view target) noexcept;

/// True for a call to `aten.<op>` in any overload.
bool is_aten(const ir::Node& node, std::string_view op) noexcept;

/// The node at positional argument `index`, or nullptr.
ir::Node* node_arg(const ir::Node& node, std::size_t index) noexcept;
/// Positional argument `index`, else keyword argument `name`, else nullptr.
const ir::Arg* find_arg(const ir::Node& node, std::size_t index, std::string_view name) noexcept;

/// True if `arg` is absent (nullptr), or the number 1 in any spelling.
bool is_one_or_absent(const ir::Arg* arg) noexcept;

/// True for c64 and c128, whose tensors may carry a lazy conjugation that types don't show.
bool is_complex(ir::DType dtype) noexcept;

/// The nodes in `node`'s arguments and keyword arguments, in order, with repetitions.
std::vector<ir::Node*> inputs_of(const ir::Node& node);

/// `arg` with every node replaced by `replace(node)`.
template <class Fn>
ir::Arg map_nodes(const ir::Arg& arg, Fn&& replace) {
  if (const auto* node = arg.get_if<ir::Node*>()) return ir::Arg(replace(*node));
  const auto* list = arg.get_if<ir::Arg::List>();
  if (list == nullptr) return arg;
  ir::Arg::List mapped;
  mapped.reserve(list->size());
  for (const ir::Arg& a : *list) mapped.push_back(map_nodes(a, replace));
  return mapped;
}

/// Module path and source location of a node that takes the place of `from`.
void copy_origin(const ir::Node& from, ir::Node& to);

/// The nodes that `wanted` picks, in order: for passes whose rewrites erase other nodes meanwhile.
template <class Fn>
std::vector<ir::Node*> nodes_where(const ir::Graph& graph, Fn&& wanted) {
  std::vector<ir::Node*> nodes = graph.node_vector();
  std::erase_if(nodes, [&wanted](const ir::Node* node) { return !wanted(*node); });
  return nodes;
}

/// "%mm + %add" for notes.
std::string names(const std::vector<const ir::Node*>& nodes);

/// Makes calls at the graph's insertion point and tells the index of them. Holds references.
class CallBuilder {
 public:
  CallBuilder(ir::Graph& graph, ir::StorageIndex& index) : graph_(graph), index_(index) {}

  /// Where the index takes the calls to come to be.
  void move_to(std::int32_t position) noexcept { position_ = position; }
  std::int32_t position() const noexcept { return position_; }

  /// A call whose result has memory of its own.
  ir::Node* call(std::string target, std::vector<ir::Arg> args, ir::Kwargs kwargs,
                 ir::TensorType type);
  /// A call whose result is a view of `x`, its first argument, before `more`.
  ir::Node* view(std::string target, ir::Node* x, std::vector<ir::Arg> more, ir::TensorType type);

 private:
  ir::Node* add(std::string target, std::vector<ir::Arg> args, ir::Kwargs kwargs,
                ir::Results results);

  ir::Graph& graph_;
  ir::StorageIndex& index_;
  std::int32_t position_ = 0;
};

/// Every use of `from` becomes a use of `to`, and `from` is erased, in the graph and the index.
void replace_and_erase(ir::Graph& graph, ir::StorageIndex& index, ir::Node* from, ir::Node* to);

}  // namespace monograph::passes
