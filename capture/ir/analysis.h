// Shared questions about a graph's storages: who writes them when, how long they are read, and
// which values could be handed to a caller as they are.
#pragma once

#include <cstdint>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::ir {

/// True if the elements fill one gap-free, non-overlapping run of memory from offset 0 in some
/// order of dimensions (row-major, transposed, channels-last); empty tensors at offset 0 do.
bool is_dense(const TensorType& type) noexcept;

/// True if `node` is one defined tensor that fills its whole storage densely and the storage was
/// made by a node (not an input, weight or state): what an output must be, together with being
/// the only output leaf in that storage. O(rank log rank).
bool owns_storage(const Graph& graph, const Node& node);

/// The nodes among the output's leaves, depth first, in order, with repetitions. Empty without an
/// output node. Leaves that aren't nodes (None, numbers) are left out.
std::vector<Node*> output_leaves(const Graph& graph);

/// True if running `node` twice on the same contents gives the same contents: it draws no random
/// numbers and defines all it returns; for a fusion, every node inside too.
bool is_repeatable(const Node& node);

/// Positions of definitions, reads and writes per storage, found in one walk over the graph.
///
/// A position is a node's index in the order at construction. The index doesn't follow changes of
/// the graph by itself: a rewriting pass says what it does through `add`, `forget` and `rehome`,
/// after which answers about the surviving nodes hold again. Uses never shrink, so answers err on
/// the side of "still used". Holds node pointers of the graph; must not outlive it.
class StorageIndex {
 public:
  explicit StorageIndex(const Graph& graph);

  /// Error(kInternal) for a node the index doesn't know.
  std::int32_t position(const Node& node) const;
  /// Position of the last node that uses `node`'s result directly; -1 if none.
  std::int32_t last_use(const Node& node) const;
  /// Position of the last node that uses any value in `id` (views included); -1 if none.
  std::int32_t last_use(StorageId id) const;
  /// True if some call writes `id` after its definition.
  bool written(StorageId id) const;
  /// True if some call at a position in (after, upto] writes `id`.
  bool written_between(StorageId id, std::int32_t after, std::int32_t upto) const;
  /// True if an output leaf lives in `id`.
  bool reaches_output(StorageId id) const;
  /// Nodes with a result in `id`: in order as long as nothing was added or moved there.
  std::vector<Node*> values(StorageId id) const;

  /// A node created since then, standing at `position` and used until `last_use`.
  void add(Node& node, std::int32_t position, std::int32_t last_use = -1);
  /// A known node, now standing at `position`.
  void move(const Node& node, std::int32_t position);
  /// `node` is about to be erased.
  void forget(const Node& node);
  /// Moves every value in `from` to `to`, in the graph and here, together with what is known of
  /// its uses and writes. Offsets stay. `from` is empty afterwards. O(values in `from`).
  void rehome(Graph& graph, StorageId from, StorageId to);

 private:
  struct NodeFacts {
    Node* node = nullptr;
    std::int32_t position = -1;
    std::int32_t last_use = -1;
  };
  struct StorageFacts {
    std::vector<std::int32_t> values;  // node ids
    std::vector<std::int32_t> writes;  // positions, ascending
    std::int32_t last_use = -1;
    bool reaches_output = false;
  };
  NodeFacts& facts(const Node& node);
  const NodeFacts& facts(const Node& node) const;
  StorageFacts& facts(StorageId id);
  const StorageFacts& facts(StorageId id) const;
  void note_uses(const Node& node, std::int32_t position);

  std::vector<NodeFacts> nodes_;        // by node id
  std::vector<StorageFacts> storages_;  // by storage id
};

}  // namespace monograph::ir
