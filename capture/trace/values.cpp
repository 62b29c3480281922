#include "capture/trace/values.h"

#include <algorithm>
#include <tuple>

#include "capture/trace/convert.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/host_memory.h"

namespace monograph::trace {
namespace {

const c10::StorageImpl* storage_key(const at::Tensor& tensor) {
  return tensor.storage().unsafeGetStorageImpl();
}

std::int64_t begin_byte(const at::Tensor& tensor) {
  return tensor.storage_offset() * static_cast<std::int64_t>(tensor.itemsize());
}

ir::StorageKind weight_kind(const NamedTensor& weight) {
  if (weight.is_constant) return ir::StorageKind::kConstant;
  return weight.is_buffer ? ir::StorageKind::kBuffer : ir::StorageKind::kParameter;
}

/// A tensor of its own on the same memory: what happens to the original's geometry or storage later
/// doesn't reach it.
at::Tensor kept_alias(const at::Tensor& tensor) {
  const RecordingPause pause;
  return tensor.detach();
}

/// False for memory that LibTorch was only lent (from_blob without a deleter).
bool owns_memory(const at::Tensor& tensor) {
  return tensor.storage().nbytes() == 0 || tensor.storage().data_ptr().get_context() != nullptr;
}

at::Tensor kept_copy(const at::Tensor& tensor) {
  const RecordingPause pause;
  return tensor.clone();
}

}  // namespace

ValueTable::ValueTable(ir::Graph& graph, const std::vector<NamedTensor>& tensors,
                       const std::set<std::size_t>& states, StateSnapshot* keeper)
    : graph_(graph), tensors_(tensors), keeper_(keeper) {
  std::set<const c10::StorageImpl*> written;
  for (const std::size_t i : states) written.insert(storage_key(tensors[i].tensor));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i].tensor;
    if (!tensor.defined() || !tensor.has_storage()) continue;
    owned_.try_emplace(tensor.unsafeGetTensorImpl(), i);
    if (memory_.contains(storage_key(tensor))) continue;
    StorageRecord record;
    record.kind =
        written.contains(storage_key(tensor)) ? ir::StorageKind::kState : weight_kind(tensors[i]);
    record.end = static_cast<std::int64_t>(tensor.storage().nbytes());
    record.owner = i;
    record.provenance = Provenance::kWeights;
    watch_lasting(tensor, add_record(tensor, std::move(record)));
  }
}

StorageRecord& ValueTable::add_record(const at::Tensor& tensor, StorageRecord record) {
  Memory& memory =
      memory_.try_emplace(storage_key(tensor), Memory{tensor.storage().getWeakStorageImpl(), {}})
          .first->second;
  memory.records.push_back(std::move(record));
  return memory.records.back();
}

void ValueTable::add_input(const std::string& name, const at::Tensor& tensor) {
  // An input's memory begins with the tensor: where in a larger storage the caller's tensor lies
  // is the caller's business and may differ from call to call.
  ir::TensorType type = type_of(tensor);
  type.offset = 0;
  const std::int64_t extent = type.storage_extent();
  ir::Node* node = graph_.placeholder(name, std::move(type));
  StorageRecord record;
  record.id = node->storage();
  record.kind = ir::StorageKind::kInput;
  record.origin = begin_byte(tensor);
  record.end = record.origin + extent;
  watch_lasting(tensor, add_record(tensor, std::move(record)));
  bind(tensor, node, -1);
}

StorageRecord* ValueTable::storage_of(const at::Tensor& tensor) {
  const auto it = memory_.find(storage_key(tensor));
  if (it == memory_.end() || it->second.records.empty()) return nullptr;
  std::vector<StorageRecord>& records = it->second.records;
  if (records.size() == 1) return &records.front();
  const std::int64_t begin = begin_byte(tensor);
  const auto at = std::find_if(records.begin(), records.end(), [begin](const StorageRecord& r) {
    return begin >= r.origin && begin < r.end;
  });
  return at == records.end() ? nullptr : &*at;
}

const ir::Node* ValueTable::node_behind(const at::Tensor& tensor) {
  const StorageRecord* record = tensor.has_storage() ? storage_of(tensor) : nullptr;
  if (record == nullptr) return nullptr;
  return record->nodes.empty() ? record->list : record->nodes.front();
}

std::string ValueTable::subject_of(const StorageRecord& record) const {
  if (record.id == ir::kNoStorage) return tensors_[record.owner].name;
  return graph_.storage(record.id).name;
}

ir::Value ValueTable::value_of(const at::Tensor& tensor, const StorageRecord& record) const {
  ir::TensorType type = type_of(tensor);
  const auto itemsize = static_cast<std::int64_t>(tensor.itemsize());
  if (record.origin > begin_byte(tensor) || record.origin % itemsize != 0) {
    throw CannotRepresent("it views memory before the beginning of '" + subject_of(record) + "'");
  }
  type.offset -= record.origin / itemsize;
  if (record.kind == ir::StorageKind::kInput &&
      type.storage_extent() > graph_.storage(record.id).nbytes) {
    throw CannotRepresent("it views memory behind the end of input '" + subject_of(record) + "'");
  }
  return {std::move(type), record.id};
}

ir::Node* ValueTable::use(const at::Tensor& tensor) {
  if (const std::string why = unsupported_reason(tensor); !why.empty()) throw CannotRepresent(why);
  StorageRecord* record = storage_of(tensor);
  if (record == nullptr) return add_constant(tensor);
  check_contents(tensor, *record);
  const c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  const auto owned = owned_.find(impl);
  if (record->id == ir::kNoStorage) {
    read_weight(owned != owned_.end() ? owned->second : record->owner, *record);
  }
  const ir::Value value = value_of(tensor, *record);
  if (const auto known = bindings_.find(impl);
      known != bindings_.end() && known->second.value == value) {
    return element(known->second, *record);
  }
  if (owned != owned_.end()) return read_weight(owned->second, *record);
  ir::Node* node = view(value, *record);
  bind(tensor, node, -1);
  return node;
}

ir::Node* ValueTable::read_weight(std::size_t index, StorageRecord& record) {
  const NamedTensor& weight = tensors_[index];
  if (const std::string why = unsupported_reason(weight.tensor); !why.empty()) {
    throw CannotRepresent("weight '" + weight.name + "': " + why);
  }
  ir::Node* node = graph_.get_attr(weight.name, value_of(weight.tensor, record).type, record.kind,
                                   record.end, record.id);
  record.id = node->storage();
  weights_[weight.name] = kept_alias(weight.tensor);
  bind(weight.tensor, node, -1);
  return node;
}

ir::Node* ValueTable::element(Binding& binding, StorageRecord& record) {
  if (binding.index < 0) return binding.node;
  binding.node = graph_.getitem(binding.node, binding.index);
  binding.index = -1;
  record.nodes.push_back(binding.node);
  return binding.node;
}

ir::Node* ValueTable::root(StorageRecord& record) {
  if (record.nodes.empty()) {
    record.nodes.push_back(graph_.getitem(record.list, record.list_index));
  }
  return record.nodes.front();
}

ir::Node* ValueTable::view(const ir::Value& value, StorageRecord& record) {
  ir::Node* base = root(record);
  for (ir::Node* node : record.nodes) {
    if (node->type() == value.type) return node;
  }
  const auto same_dtype = std::find_if(
      record.nodes.begin(), record.nodes.end(),
      [&value](const ir::Node* node) { return node->type().dtype == value.type.dtype; });
  base = same_dtype != record.nodes.end() ? *same_dtype : flat_base(value.type.dtype, record);
  graph_.grow_storage(record.id, value.type.storage_extent());
  return graph_.call(
      "aten.as_strided.default",
      {base, ir::Arg::ints(value.type.sizes), ir::Arg::ints(value.type.strides), value.type.offset},
      {}, ir::Results::tensor(value.type, record.id));
}

/// All of the storage as one dimension of `dtype`.
ir::Node* ValueTable::flat_base(ir::DType dtype, StorageRecord& record) {
  ir::Node* first = record.nodes.front();
  const ir::TensorType& type = first->type();
  const std::int64_t size = ir::itemsize(dtype);
  const std::int64_t whole = graph_.storage(record.id).nbytes / size * size;
  const std::int64_t count = whole / ir::itemsize(type.dtype);
  auto flat = ir::TensorType::contiguous(type.dtype, {count}, type.device);
  ir::Node* bytes =
      graph_.call("aten.as_strided.default",
                  {first, ir::Arg::ints(flat.sizes), ir::Arg::ints(flat.strides), std::int64_t{0}},
                  {}, ir::Results::tensor(flat, record.id));
  auto cast =
      ir::TensorType::contiguous(dtype, {count * ir::itemsize(type.dtype) / size}, type.device);
  ir::Node* node = graph_.call("aten.view.dtype", {bytes, dtype}, {},
                               ir::Results::tensor(std::move(cast), record.id));
  record.nodes.push_back(node);
  return node;
}

ir::Node* ValueTable::constant_node(const at::Tensor& kept) {
  std::string name;
  do {
    name = "_tensor_constant" + std::to_string(constants_++);
  } while (weights_.contains(name) ||
           std::any_of(tensors_.begin(), tensors_.end(),
                       [&name](const NamedTensor& weight) { return weight.name == name; }));
  weights_[name] = kept;
  if (kept.device().is_cpu() &&
      static_cast<std::int64_t>(kept.storage().nbytes()) <= kWatchedFactoryBytes) {
    sums_[name] = checksum(kept);
  }
  return graph_.get_attr(name, type_of(kept), ir::StorageKind::kConstant,
                         static_cast<std::int64_t>(kept.storage().nbytes()));
}

/// True if `tensor`, whose storage isn't known, lies in memory that another storage made known as
/// an input or a result: a constant of it would freeze what changes from run to run.
bool ValueTable::shares_run_memory(const at::Tensor& tensor) const {
  const auto range = [](const c10::StorageImpl& storage) {
    const auto* begin = static_cast<const char*>(storage.data());
    return std::pair(begin, begin + storage.nbytes());
  };
  const auto [begin, end] = range(*storage_key(tensor));
  return std::any_of(memory_.begin(), memory_.end(), [&, first = begin, last = end](const auto& m) {
    const auto& records = m.second.records;
    const auto storage = m.second.pin.lock();
    if (!storage || records.empty() || storage->device() != tensor.device()) return false;
    const ir::StorageKind kind = records.front().kind;
    const auto [other_begin, other_end] = range(*storage);
    return (kind == ir::StorageKind::kInput || kind == ir::StorageKind::kIntermediate) &&
           first < other_end && other_begin < last;
  });
}

ir::Node* ValueTable::add_constant(const at::Tensor& tensor) {
  if (shares_run_memory(tensor)) {
    throw CannotRepresent(
        "it is a second storage (from_blob) on the memory of an input or of another operator's "
        "result");
  }
  ir::Node* node = constant_node(owns_memory(tensor) ? kept_alias(tensor) : kept_copy(tensor));
  StorageRecord record;
  record.id = node->storage();
  record.kind = ir::StorageKind::kConstant;
  record.end = static_cast<std::int64_t>(tensor.storage().nbytes());
  record.provenance = Provenance::kWeights;
  record.copied = !owns_memory(tensor);
  StorageRecord& added = add_record(tensor, std::move(record));
  watch_lasting(tensor, added);
  if (keeper_ != nullptr && added.watched && !added.copied) keeper_->save(tensor);
  bind(tensor, node, -1);
  return node;
}

ir::Value ValueTable::result(const at::Tensor& tensor, const StorageRecord& fresh) {
  if (const std::string why = unsupported_reason(tensor); !why.empty()) throw CannotRepresent(why);
  StorageRecord* record = storage_of(tensor);
  if (record == nullptr) {
    StorageRecord added = fresh;
    const ir::TensorType type = type_of(tensor);
    added.id = graph_.add_storage(ir::StorageKind::kIntermediate, {}, 0, type.device);
    added.end = static_cast<std::int64_t>(tensor.storage().nbytes());
    record = &add_record(tensor, std::move(added));
  } else if (record->id == ir::kNoStorage) {
    read_weight(record->owner, *record);  // a view of a weight by an operator that wasn't given it
  }
  ir::Value value = value_of(tensor, *record);
  graph_.grow_storage(value.storage, value.type.storage_extent());
  return value;
}

void ValueTable::bind_result(const at::Tensor& tensor, ir::Node* node, int index) {
  const auto known = bindings_.find(tensor.unsafeGetTensorImpl());
  const bool made = known == bindings_.end() || known->second.made;
  bind(tensor, node, index).made = made;
}

ValueTable::Binding& ValueTable::bind(const at::Tensor& tensor, ir::Node* node, int index) {
  Binding binding{
      c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>(tensor.getIntrusivePtr()),
      node, index, node->values()[static_cast<std::size_t>(std::max(index, 0))]};
  StorageRecord* record = storage_of(tensor);
  if (record != nullptr && index >= 0 && record->nodes.empty() && record->list == nullptr) {
    record->list = node;
    record->list_index = index;
  }
  if (record != nullptr && index < 0) {
    const auto same = std::find_if(
        record->nodes.begin(), record->nodes.end(),
        [&binding](const ir::Node* other) { return other->type() == binding.value.type; });
    if (same != record->nodes.end()) {
      *same = node;
    } else {
      record->nodes.push_back(node);
    }
  }
  return bindings_.insert_or_assign(tensor.unsafeGetTensorImpl(), std::move(binding)).first->second;
}

bool ValueTable::outlives_forward(const at::Tensor& tensor) {
  const c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  const StorageRecord* record = storage_of(tensor);
  if (owned_.contains(impl) || record == nullptr) return true;
  if (const auto known = bindings_.find(impl); known != bindings_.end()) {
    return !known->second.made && record->kind != ir::StorageKind::kIntermediate;
  }
  // A tensor that no operator returned. Nobody else has one on the private copy of an input.
  return record->kind != ir::StorageKind::kIntermediate && record->kind != ir::StorageKind::kInput;
}

void ValueTable::forget_storage(const at::Tensor& tensor) {
  if (const auto it = memory_.find(storage_key(tensor)); it != memory_.end()) {
    it->second.records.clear();
  }
}

void ValueTable::make_writable(const at::Tensor& tensor) {
  StorageRecord* record = storage_of(tensor);
  if (record == nullptr || !record->lifted) return;
  ir::Node* constant = record->nodes.front();
  ir::TensorType type = constant->type();
  ir::Node* clone =
      graph_.call("aten.clone.default", {constant}, {}, ir::Results::tensor(std::move(type)));
  record->id = clone->storage();
  record->kind = ir::StorageKind::kIntermediate;
  record->lifted = false;
  record->nodes = {clone};
}

void ValueTable::refresh_contents(const at::Tensor& tensor) {
  StorageRecord* record = storage_of(tensor);
  if (record == nullptr) return;
  if (record->kind == ir::StorageKind::kState) return watch_lasting(tensor, *record);
  if (record->kind != ir::StorageKind::kIntermediate && !record->lifted) return;
  const std::int64_t limit =
      record->provenance >= Provenance::kWeights ? kWatchedBytes : kWatchedFactoryBytes;
  record->watched =
      tensor.device().is_cpu() && static_cast<std::int64_t>(tensor.storage().nbytes()) <= limit;
  if (record->watched) record->checksum = checksum(tensor);
}

void ValueTable::check_contents(const at::Tensor& tensor, StorageRecord& record) {
  if (!record.watched || checksum(tensor) == record.checksum) return;
  if (record.kind != ir::StorageKind::kIntermediate && !record.lifted) throw HostWrote(record);
  if (record.provenance >= Provenance::kWeights || record.in_composite) {
    throw CannotRepresent(
        "its memory was changed between two operators by code that the recorder can't see");
  }
  lift(tensor, record);
}

/// Memory that outlives forward must not change between operators either.
void ValueTable::watch_lasting(const at::Tensor& tensor, StorageRecord& record) {
  record.watched = tensor.device().is_cpu() && tensor.storage().data() != nullptr &&
                   static_cast<std::int64_t>(tensor.storage().nbytes()) <= kWatchedBytes;
  if (record.watched) record.checksum = checksum(tensor);
}

bool ValueTable::make_state(StorageRecord& record) {
  if (record.kind == ir::StorageKind::kInput || record.copied) return false;
  record.kind = ir::StorageKind::kState;
  graph_.set_storage_kind(record.id, record.kind);
  return true;
}

void ValueTable::check_lasting() {
  const StorageRecord* first = nullptr;
  for (auto& [key, memory] : memory_) {
    const auto storage = memory.pin.lock();
    if (!storage) continue;
    for (const StorageRecord& record : memory.records) {
      const bool lasting = record.kind != ir::StorageKind::kIntermediate && !record.lifted;
      if (!lasting || !record.watched || checksum(*storage) == record.checksum) continue;
      const auto order = [](const StorageRecord& r) { return std::tuple(r.kind, r.owner, r.id); };
      if (first == nullptr || order(record) < order(*first)) first = &record;
    }
  }
  if (first != nullptr) throw HostWrote(*first);
}

std::vector<Survivor> ValueTable::survivors() const {
  std::map<ir::StorageId, Survivor> found;
  for (const auto& [key, memory] : memory_) {
    if (memory.pin.expired()) continue;
    for (const StorageRecord& record : memory.records) {
      if (record.kind != ir::StorageKind::kIntermediate && !record.lifted) continue;
      const ir::Node* node = record.nodes.empty() ? record.list : record.nodes.front();
      if (node == nullptr) continue;
      found.try_emplace(record.id,
                        Survivor{node->name(), node->target(), record.provenance, memory.pin});
    }
  }
  std::vector<Survivor> out;
  for (auto& [id, survivor] : found) out.push_back(std::move(survivor));
  return out;
}

std::vector<const c10::StorageImpl*> ValueTable::own_storages() const {
  std::map<ir::StorageId, const c10::StorageImpl*> found;
  for (const auto& [key, memory] : memory_) {
    for (const StorageRecord& record : memory.records) {
      if (record.kind == ir::StorageKind::kIntermediate || record.kind == ir::StorageKind::kInput) {
        found.emplace(record.id, key);
      }
    }
  }
  std::vector<const c10::StorageImpl*> out;
  for (const auto& [id, storage] : found) out.push_back(storage);
  return out;
}

/// Makes what the host wrote into memory from a factory a constant: the same on every replay.
void ValueTable::lift(const at::Tensor& tensor, StorageRecord& record) {
  const ir::TensorType type = root(record)->type();
  const at::Tensor copy = copy_out(tensor, type, record.origin);
  if (!copy.defined()) {
    throw CannotRepresent("the host wrote into a tensor whose memory has gaps");
  }
  const std::int64_t shift = type.offset * ir::itemsize(type.dtype);
  ir::Node* node = constant_node(copy);
  record.id = node->storage();
  record.kind = ir::StorageKind::kConstant;
  record.origin += shift;
  record.provenance = Provenance::kHost;
  record.lifted = true;
  record.nodes = {node};
  record.list = nullptr;
  refresh_contents(tensor);
}

}  // namespace monograph::trace
