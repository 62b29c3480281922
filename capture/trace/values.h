// Which tensors and storages the recorder knows, and which graph nodes stand for them.
//
// Tensors are identified by TensorImpl, storages by StorageImpl; weak references keep their
// addresses from being used again without keeping memory alive. What is known about a tensor is
// checked against it at every use, so that a tensor whose geometry or storage was changed behind
// the dispatcher (set_data, resize_, a second TensorImpl) is found by its storage instead.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/trace/state_snapshot.h"

namespace monograph::trace {

/// A tensor that the graph can't describe; the recorder turns it into a Rejection.
class CannotRepresent final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct StorageRecord;

/// Host code wrote memory that outlives forward, between two operators.
class HostWrote final : public std::runtime_error {
 public:
  explicit HostWrote(const StorageRecord& record)
      : std::runtime_error("host code wrote memory that outlives forward"), record_(&record) {}
  const StorageRecord& record() const noexcept { return *record_; }

 private:
  const StorageRecord* record_;
};

/// What the contents of a storage depend on; of several, the largest counts.
enum class Provenance : std::uint8_t {
  kFixed,    ///< on nothing: factories and what is computed from them
  kHost,     ///< on memory that the host wrote without an operator
  kWeights,  ///< on weights or constants, the same in every call
  kRun,      ///< on inputs
};

/// What one IR storage is in LibTorch's memory.
struct StorageRecord {
  ir::StorageId id = ir::kNoStorage;  ///< kNoStorage: a weight that no node has read yet
  ir::StorageKind kind = ir::StorageKind::kIntermediate;
  std::int64_t origin = 0;  ///< byte of the StorageImpl at which the IR storage begins
  std::int64_t end = 0;     ///< first byte behind it
  std::size_t owner = 0;    ///< index into the module's tensors, for weights
  Provenance provenance = Provenance::kRun;
  bool lifted = false;        ///< a constant that copies memory written by the host
  bool copied = false;        ///< a constant whose memory LibTorch was only lent: a copy stands in
  bool in_composite = false;  ///< made inside a composite operator that was given tensors
  bool watched = false;       ///< `checksum` is that of its bytes after the last recorded write
  std::uint64_t checksum = 0;
  /// Single-tensor nodes that live in it, one per type; the first was there first.
  std::vector<ir::Node*> nodes;
  /// List result that defines it, where no single-tensor node does.
  ir::Node* list = nullptr;
  int list_index = 0;
};

/// A tensor that an operator of forward made and that outlives forward, kept by somebody.
struct Survivor {
  std::string node;  ///< that made it
  std::string op;
  Provenance provenance = Provenance::kRun;
  c10::weak_intrusive_ptr<c10::StorageImpl> storage;
};

class ValueTable {
 public:
  /// `graph` and `tensors` must outlive the table. `states` has the positions in `tensors` of those
  /// that forward may write. `keeper` saves small constants before anything happens to them.
  ValueTable(ir::Graph& graph, const std::vector<NamedTensor>& tensors,
             const std::set<std::size_t>& states = {}, StateSnapshot* keeper = nullptr);

  /// Makes the placeholder for an input.
  void add_input(const std::string& name, const at::Tensor& tensor);

  /// The node that stands for `tensor` now: known, a weight read for the first time, an element of
  /// a list, a view that must be made up, or a new constant. Throws CannotRepresent.
  ir::Node* use(const at::Tensor& tensor);

  /// The record of the storage that `tensor` lives in; nullptr if it isn't known. Weights have a
  /// record before their first use.
  StorageRecord* storage_of(const at::Tensor& tensor);
  /// The first node that stands for the memory of `tensor`; nullptr if none does.
  const ir::Node* node_behind(const at::Tensor& tensor);
  /// What a message calls that storage: the weight's name, the input's, the constant's.
  std::string subject_of(const StorageRecord& record) const;

  /// True if changing the geometry of `tensor` would show outside of forward: it is an input, a
  /// weight, or a tensor that was there before. Tensors that operators made are forward's own,
  /// whatever memory they view.
  bool outlives_forward(const at::Tensor& tensor);

  /// Value for a tensor that a call returned. A storage seen for the first time becomes an
  /// intermediate described by `fresh`. Throws CannotRepresent.
  ir::Value result(const at::Tensor& tensor, const StorageRecord& fresh);
  /// From now on `tensor`, which a call returned, is element `index` of `node` (-1: the node's one
  /// tensor).
  void bind_result(const at::Tensor& tensor, ir::Node* node, int index);
  /// Forgets the storage of `tensor`, whose memory was replaced as a whole.
  void forget_storage(const at::Tensor& tensor);

  /// Replaces a constant copied from host memory by a clone that may be written.
  void make_writable(const at::Tensor& tensor);
  /// Starts watching, or takes the checksum again after a recorded write.
  void refresh_contents(const at::Tensor& tensor);

  /// Makes a weight or constant state, which may be written. False if it can't be: an input, or a
  /// constant whose memory is a copy.
  bool make_state(StorageRecord& record);

  /// Throws HostWrote for a watched weight, constant or input whose bytes changed since its last
  /// use.
  void check_lasting();
  /// Memory that operators of forward made and that is still held by somebody, in order of storage.
  std::vector<Survivor> survivors() const;
  /// Storages that only this forward can have handed to others: private copies of inputs, and what
  /// its operators made. In order; dead ones are still listed, their addresses not in use again.
  std::vector<const c10::StorageImpl*> own_storages() const;
  /// Checksums of constants at their first use, by target; those too large or on a device miss.
  const std::map<std::string, std::uint64_t>& constant_sums() const noexcept { return sums_; }

  /// Tensors behind get_attr nodes, by target.
  std::map<std::string, at::Tensor>& weights() noexcept { return weights_; }

 private:
  struct Binding {
    c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> pin;
    ir::Node* node = nullptr;
    int index = -1;
    ir::Value value;
    bool made = false;  ///< by an operator of forward
  };
  struct Memory {
    c10::weak_intrusive_ptr<c10::StorageImpl> pin;
    std::vector<StorageRecord> records;  ///< more than one only where inputs share a StorageImpl
  };

  Binding& bind(const at::Tensor& tensor, ir::Node* node, int index);
  ir::Value value_of(const at::Tensor& tensor, const StorageRecord& record) const;
  StorageRecord& add_record(const at::Tensor& tensor, StorageRecord record);
  ir::Node* read_weight(std::size_t index, StorageRecord& record);
  ir::Node* element(Binding& binding, StorageRecord& record);
  ir::Node* root(StorageRecord& record);
  ir::Node* view(const ir::Value& value, StorageRecord& record);
  ir::Node* flat_base(ir::DType dtype, StorageRecord& record);
  bool shares_run_memory(const at::Tensor& tensor) const;
  ir::Node* add_constant(const at::Tensor& tensor);
  ir::Node* constant_node(const at::Tensor& kept);
  void check_contents(const at::Tensor& tensor, StorageRecord& record);
  static void watch_lasting(const at::Tensor& tensor, StorageRecord& record);
  void lift(const at::Tensor& tensor, StorageRecord& record);

  ir::Graph& graph_;
  const std::vector<NamedTensor>& tensors_;
  StateSnapshot* keeper_;
  std::unordered_map<const c10::TensorImpl*, std::size_t> owned_;  // looked up only
  std::unordered_map<const c10::TensorImpl*, Binding> bindings_;   // looked up only
  std::unordered_map<const c10::StorageImpl*, Memory> memory_;     // looked up only
  std::map<std::string, at::Tensor> weights_;
  std::map<std::string, std::uint64_t> sums_;
  int constants_ = 0;
};

}  // namespace monograph::trace
