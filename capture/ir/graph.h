// The graph: nodes in execution order, the storages they read and write, and named subgraphs.
//
// Equivalent to torch.fx: node kinds placeholder, get_attr, call_function, output; one result per
// node (a tensor or a list of tensors, taken apart by operator.getitem). On top of fx every tensor
// carries dtype, sizes, strides, offset and the id of the storage it lives in; aliasing is
// equality of storage ids, never a property of the operator.
//
// Ownership: Graph owns its nodes; a Node* stays valid until the node is erased or its graph
// destroyed. Moving a graph keeps them valid. Not thread-safe; const access from many threads is.
#pragma once

#include <complex>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "capture/ir/types.h"

namespace monograph::ir {

class Graph;
class Node;

/// An argument of a node: None, scalar, enum, reference to another node's result, or a list.
class Arg {
 public:
  using List = std::vector<Arg>;
  using Variant = std::variant<std::monostate, bool, std::int64_t, double, std::complex<double>,
                               std::string, DType, Device, Layout, MemoryFormat, Node*, List>;
  Arg() = default;                            ///< None
  Arg(bool v) : v_(v) {}                      // NOLINT(google-explicit-constructor)
  Arg(std::int64_t v) : v_(v) {}              // NOLINT(google-explicit-constructor)
  Arg(int v) : v_(std::int64_t{v}) {}         // NOLINT(google-explicit-constructor)
  Arg(double v) : v_(v) {}                    // NOLINT(google-explicit-constructor)
  Arg(std::complex<double> v) : v_(v) {}      // NOLINT(google-explicit-constructor)
  Arg(std::string v) : v_(std::move(v)) {}    // NOLINT(google-explicit-constructor)
  Arg(const char* v) : v_(std::string(v)) {}  // NOLINT(google-explicit-constructor)
  Arg(DType v) : v_(v) {}                     // NOLINT(google-explicit-constructor)
  Arg(Device v) : v_(v) {}                    // NOLINT(google-explicit-constructor)
  Arg(Layout v) : v_(v) {}                    // NOLINT(google-explicit-constructor)
  Arg(MemoryFormat v) : v_(v) {}              // NOLINT(google-explicit-constructor)
  Arg(Node* v) : v_(v) {}                     // NOLINT(google-explicit-constructor)
  Arg(List v) : v_(std::move(v)) {}           // NOLINT(google-explicit-constructor)
  static Arg ints(std::span<const std::int64_t> values);

  bool is_none() const noexcept { return std::holds_alternative<std::monostate>(v_); }
  bool is_node() const noexcept { return std::holds_alternative<Node*>(v_); }
  bool is_list() const noexcept { return std::holds_alternative<List>(v_); }
  template <class T>
  bool is() const noexcept {
    return std::holds_alternative<T>(v_);
  }
  template <class T>
  const T& as() const {
    return std::get<T>(v_);
  }
  template <class T>
  const T* get_if() const noexcept {
    return std::get_if<T>(&v_);
  }
  Node* node() const { return std::get<Node*>(v_); }
  const List& list() const { return std::get<List>(v_); }
  List& list() { return std::get<List>(v_); }
  const Variant& variant() const noexcept { return v_; }
  /// Equality of values; doubles compare by bit pattern, so NaN equals itself and 0.0 isn't -0.0.
  friend bool operator==(const Arg& a, const Arg& b) noexcept;

 private:
  Variant v_;
};
using Kwargs = std::vector<std::pair<std::string, Arg>>;  // in schema order

/// Calls `fn(Node*)` for each node referenced by `arg`, depth first, in order, with repetitions.
template <class Fn>
void for_each_node(const Arg& arg, Fn&& fn) {
  if (const auto* n = arg.get_if<Node*>()) {
    fn(*n);
  } else if (const auto* list = arg.get_if<Arg::List>()) {
    for (const Arg& a : *list) for_each_node(a, fn);
  }
}

using StorageId = std::int32_t;
inline constexpr StorageId kNoStorage = -1;

enum class StorageKind : std::uint8_t {
  kInput,         ///< memory of a caller's input
  kParameter,     ///< registered parameter
  kBuffer,        ///< registered buffer
  kConstant,      ///< a tensor that forward reads but no module owns, or a folded constant
  kState,         ///< declared mutable state; the only non-intermediate that may be written
  kIntermediate,  ///< made by a node
};
std::string_view storage_kind_name(StorageKind kind) noexcept;  ///< "input", "parameter", ...
std::optional<StorageKind> storage_kind_from_name(std::string_view name) noexcept;

/// One block of memory that tensors view. `name` is the fully qualified name for parameters,
/// buffers, state and constants, the placeholder's target for inputs, empty for intermediates.
struct Storage {
  StorageId id = kNoStorage;
  StorageKind kind = StorageKind::kIntermediate;
  std::string name;
  std::int64_t nbytes = 0;
  Device device;
  bool operator==(const Storage&) const = default;
};

/// One tensor result: its type and the storage it lives in (kNoStorage if undefined).
struct Value {
  TensorType type;
  StorageId storage = kNoStorage;
  bool operator==(const Value&) const = default;
};

enum class NodeKind : std::uint8_t { kPlaceholder, kGetAttr, kCallFunction, kOutput };
std::string_view node_kind_name(NodeKind kind) noexcept;  ///< "placeholder", ...

/// Facts that dispatch knows and passes need. Printed as `traits=(random,)`.
struct Traits {
  bool random = false;            ///< draws random numbers: never folded, merged or removed
  bool nondeterministic = false;  ///< contents undefined (aten.empty): never merged or folded
  bool operator==(const Traits&) const = default;
};

class Node {
 public:
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  NodeKind kind() const noexcept { return kind_; }
  const std::string& name() const noexcept { return name_; }  ///< unique in the graph
  /// placeholder: input name; get_attr: fully qualified name; call: "aten.linear.default",
  /// "operator.getitem" or "fusion.NAME"; output: "output".
  const std::string& target() const noexcept { return target_; }
  const std::vector<Arg>& args() const noexcept { return args_; }
  const Kwargs& kwargs() const noexcept { return kwargs_; }
  const Arg* kwarg(std::string_view name) const noexcept;  ///< nullptr if absent

  /// True if the result is a list of tensors (also of length one); else one tensor or nothing.
  bool is_list() const noexcept { return is_list_; }
  const std::vector<Value>& values() const noexcept { return values_; }
  bool has_tensor() const noexcept { return !is_list_ && values_.size() == 1; }
  const Value& value() const;  ///< the single tensor; Error(kInternal) otherwise
  const TensorType& type() const { return value().type; }
  StorageId storage() const { return value().storage; }

  /// Nodes whose storage this call writes (in-place, out=, state updates), in argument order.
  const std::vector<Node*>& writes() const noexcept { return writes_; }
  bool is_call(std::string_view target) const noexcept {
    return kind_ == NodeKind::kCallFunction && target_ == target;
  }

  /// Distinct nodes that use this node's result (as argument, write or output), by ascending id.
  const std::vector<Node*>& users() const noexcept { return users_; }
  Graph& graph() const noexcept { return *graph_; }
  std::int32_t id() const noexcept { return id_; }  ///< creation number; not the position

  Traits traits;
  std::string module_path;  ///< region of forward, e.g. "encoder.layer.0"; may be empty
  std::string source;       ///< source location or Python stack line; may be empty

 private:
  friend class Graph;
  Node() = default;
  Graph* graph_ = nullptr;
  std::int32_t id_ = 0;
  NodeKind kind_ = NodeKind::kCallFunction;
  bool is_list_ = false;
  std::string name_;
  std::string target_;
  std::vector<Arg> args_;
  Kwargs kwargs_;
  std::vector<Value> values_;
  std::vector<Node*> writes_;
  std::vector<Node*> users_;
  std::list<std::unique_ptr<Node>>::iterator self_;
};

/// What a call produces. `Graph::call` allocates a storage for each value whose storage is
/// kNoStorage and whose type is defined; otherwise the value aliases the given storage.
struct Results {
  std::vector<Value> values;
  bool is_list = false;
  static Results none() { return {}; }
  static Results tensor(TensorType type, StorageId alias = kNoStorage) {
    return {{Value{std::move(type), alias}}, false};
  }
  static Results list(std::vector<Value> values) { return {std::move(values), true}; }
};

class Graph {
 public:
  using NodeList = std::list<std::unique_ptr<Node>>;

  explicit Graph(std::string name = "graph");
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  /// Deep copy with the same names, node order and storage ids.
  Graph clone() const;

  const std::string& name() const noexcept { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }

  // --- storages ---
  StorageId add_storage(StorageKind kind, std::string name, std::int64_t nbytes,
                        Device device = {});
  const Storage& storage(StorageId id) const;
  void set_storage_kind(StorageId id, StorageKind kind);
  /// Raises the recorded size if `nbytes` is larger.
  void grow_storage(StorageId id, std::int64_t nbytes);
  const std::vector<Storage>& storages() const noexcept { return storages_; }

  // --- building; every function inserts at the insertion point ---
  /// New caller input with its own storage of `nbytes` (default: the type's extent).
  Node* placeholder(const std::string& name, TensorType type, std::int64_t nbytes = -1);
  /// Reads a named tensor. A new storage of `kind` unless `alias` names an existing one.
  Node* get_attr(const std::string& fqn, TensorType type, StorageKind kind,
                 std::int64_t nbytes = -1, StorageId alias = kNoStorage);
  /// `name_hint` defaults to the operator's base name. `writes` must be among the arguments.
  Node* call(const std::string& target, std::vector<Arg> args, Kwargs kwargs, Results results,
             std::vector<Node*> writes = {}, const std::string& name_hint = {});
  /// operator.getitem on a list result; aliases the element.
  Node* getitem(Node* list, std::int64_t index);
  /// The output node; `args` nests as forward's return value does. At most one per graph.
  Node* output(std::vector<Arg> args);

  /// Nodes are inserted before this one; nullptr means at the end (before nothing).
  Node* insertion_point() const noexcept { return insert_before_; }
  void set_insertion_point(Node* before) noexcept { insert_before_ = before; }
  /// Restores the insertion point at scope end.
  class InsertionGuard {
   public:
    InsertionGuard(Graph& graph, Node* before) : graph_(graph), saved_(graph.insertion_point()) {
      graph.set_insertion_point(before);
    }
    ~InsertionGuard() { graph_.set_insertion_point(saved_); }
    InsertionGuard(const InsertionGuard&) = delete;
    InsertionGuard& operator=(const InsertionGuard&) = delete;

   private:
    Graph& graph_;
    Node* saved_;
  };

  // --- reading ---
  const NodeList& nodes() const noexcept { return nodes_; }
  std::size_t size() const noexcept { return nodes_.size(); }
  std::vector<Node*> node_vector() const;  ///< snapshot in order, safe against erasure of others
  std::vector<Node*> placeholders() const;
  Node* output_node() const noexcept { return output_; }  ///< nullptr until output() is called
  Node* find(std::string_view name) const noexcept;       ///< nullptr if absent
  /// The node after / before `node` in order, or nullptr.
  Node* next(const Node* node) const;
  Node* prev(const Node* node) const;

  // --- rewriting ---
  void set_args(Node* node, std::vector<Arg> args, Kwargs kwargs);
  void set_target(Node* node, std::string target);
  void set_writes(Node* node, std::vector<Node*> writes);
  void set_values(Node* node, Results results);
  void rename(Node* node, const std::string& name_hint);
  /// Every use of `from` becomes a use of `to`; cost O(uses). Types aren't compared.
  void replace_all_uses(Node* from, Node* to);
  void move_before(Node* node, Node* before);
  /// Error(kInternal) if the node still has users.
  void erase(Node* node);

  // --- fusions: named subgraphs; a call's target is "fusion.NAME" ---
  Graph& add_subgraph(const std::string& name, Graph graph);
  const std::map<std::string, std::unique_ptr<Graph>>& subgraphs() const noexcept {
    return subgraphs_;
  }
  const Graph* subgraph(std::string_view name) const noexcept;
  void erase_subgraph(const std::string& name);

 private:
  Node* insert(NodeKind kind, const std::string& name_hint, std::string target);
  std::string unique_name(const std::string& hint);
  void add_uses(Node* node);
  void drop_uses(Node* node);
  void bind_results(Node* node, Results results);

  std::string name_;
  NodeList nodes_;
  std::vector<Storage> storages_;
  std::map<std::string, Node*, std::less<>> by_name_;
  std::map<std::string, std::int32_t, std::less<>> name_counts_;
  std::map<std::string, std::unique_ptr<Graph>> subgraphs_;
  Node* insert_before_ = nullptr;
  Node* output_ = nullptr;
  std::int32_t next_id_ = 0;
};

/// True if `node` costs no launch: a call without writes, at least one result, and every result
/// in a storage that some earlier node defined (views, getitem, no-op contiguous).
bool is_view(const Node& node) noexcept;

/// The node that first defines `id` (placeholder, get_attr or call), or nullptr. O(nodes).
Node* storage_root(const Graph& graph, StorageId id);

}  // namespace monograph::ir
