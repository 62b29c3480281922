// What the recorder refuses although no schema shows it: writes of host code, operators that lie
// about what they write, work of other threads.
#include <c10/util/Exception.h>
#include <monograph/region.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "capture/trace/convert.h"
#include "capture/trace/host_memory.h"
#include "capture/trace/mapped_weights.h"
#include "capture/trace/recorder.h"
#include "capture/trace/reject.h"

namespace monograph::trace {
namespace {

/// The bytes of the arguments that a call says it only reads. For operators from elsewhere than
/// LibTorch, whose schemas nobody has checked.
class ReadOnlyArguments {
 public:
  explicit ReadOnlyArguments(const CallArguments& args) {
    for (std::size_t i = 0; i < args.size(); ++i) {
      const auto* alias = args.argument(i).alias_info();
      const bool written = alias != nullptr && alias->isWrite();
      for_each_tensor(args[i], [&](const at::Tensor& tensor) {
        if (written) {
          written_.push_back(tensor);
        } else if (tensor.has_storage() && tensor.storage().data() != nullptr) {
          kept_.push_back({tensor, storage_bytes(tensor), {}});
        }
      });
    }
    const RecordingPause pause;
    for (Kept& k : kept_) {
      if (k.bytes.defined()) k.copy = k.bytes.clone();
    }
  }

  /// The first argument that changed nevertheless, its old contents put back; undefined if none
  /// did.
  at::Tensor changed() const {
    const RecordingPause pause;
    for (const Kept& k : kept_) {
      const bool allowed = std::any_of(written_.begin(), written_.end(), [&k](const at::Tensor& w) {
        return w.is_alias_of(k.tensor);
      });
      if (allowed || !k.bytes.defined() || k.bytes.equal(k.copy)) continue;
      k.bytes.copy_(k.copy);
      return k.tensor;
    }
    return {};
  }

 private:
  struct Kept {
    at::Tensor tensor;
    at::Tensor bytes;
    at::Tensor copy;
  };
  std::vector<Kept> kept_;
  std::vector<at::Tensor> written_;
};

}  // namespace

/// Runs the operator. If it isn't LibTorch's own, what it writes is compared with what it declares.
void Recorder::run_watched(const c10::OperatorHandle& op, const OpFacts& facts,
                           c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const KernelScope kernel;
  if (facts.target.starts_with("aten.")) {
    const MappedWeights* weights = MappedWeights::current();
    if (weights != nullptr && weights->skip(op, stack)) return;
    return setup_.guard == nullptr ? run_below(op, keys, stack) : run_guarded(op, keys, stack);
  }
  const CallArguments before(op.schema(), *stack);
  const ReadOnlyArguments arguments(before);
  const torch::jit::Stack kept(stack->end() - static_cast<std::ptrdiff_t>(before.size()),
                               stack->end());
  run_below(op, keys, stack);
  const at::Tensor changed = arguments.changed();
  if (!changed.defined()) return;
  const CallArguments args(op.schema(), kept);
  (void)values_.use(changed);
  const StorageRecord& record = *values_.storage_of(changed);
  if (record.kind == ir::StorageKind::kIntermediate) {
    refuse(facts, &args,
           {Code::kRejectedUnsupportedOp,
            {},
            "it writes an argument that its schema declares as only read, so nothing can be "
            "ordered around it",
            "declare what the operator writes: Tensor(a!)"});
  }
  const std::string subject = values_.subject_of(record);
  refuse(facts, &args,
         {Code::kRejectedMutation, subject,
          mutation_reason(record.kind, subject, false) +
              ", and its schema declares that argument as only read",
          "declare what the operator writes (Tensor(a!)), and give it a tensor that forward made"});
}

/// Some kernels of LibTorch ask for writable memory of what they only read. They have it, since
/// their schemas are trusted and have been checked.
void Recorder::run_guarded(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                           torch::jit::Stack* stack) {
  const std::size_t count = op.schema().arguments().size();
  const torch::jit::Stack kept(stack->end() - static_cast<std::ptrdiff_t>(count), stack->end());
  try {
    return run_below(op, keys, stack);
  } catch (const c10::Error& e) {
    if (!StorageGuard::threw(e.what_without_backtrace())) throw;
  }
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : kept) {
    for_each_tensor(value, [&tensors](const at::Tensor& t) { tensors.push_back(t); });
  }
  stack->insert(stack->end(), kept.begin(), kept.end());
  setup_.guard->lifted(tensors, [&] { run_below(op, keys, stack); });
}

Rejection Recorder::stray_write(const std::string& name) const {
  Rejection rejection;
  rejection.code = Code::kRejectedMutation;
  rejection.subject = name;
  rejection.node = last_node();
  rejection.module_path = Region::current();
  rejection.reason =
      "host code asked for writable memory of '" + name + "' " +
      (rejection.node.empty() ? "before the first operator" : "after %" + rejection.node) +
      " (data_ptr, mutable_data_ptr, accessor): a replay runs no host code and "
      "wouldn't write it";
  rejection.remedy = "read through const_data_ptr; write with an operator, or outside of forward";
  const ir::Node* last = graph_.find(rejection.node);
  if (last != nullptr) rejection.excerpt = excerpt(graph_, last);
  return rejection;
}

/// A tensor that another thread made during the trace would be frozen as a constant.
void Recorder::check_foreign(const OpFacts& facts, const CallArguments& args) {
  if (setup_.foreign == nullptr) return;
  for (std::size_t i = 0; i < args.size(); ++i) {
    for_each_tensor(args[i], [&](const at::Tensor& tensor) {
      if (!tensor.has_storage() || values_.storage_of(tensor) != nullptr) return;
      const auto op = setup_.foreign->made(tensor.storage().unsafeGetStorageImpl());
      if (!op) return;
      refuse(facts, nullptr,
             {Code::kRejectedForeignThread,
              {},
              "it reads a tensor that " + *op +
                  " made on another thread during forward: what other threads do isn't recorded, "
                  "so a replay would read a frozen copy",
              "do all of forward's work on the calling thread"});
    });
  }
}

/// A replay is one stream's work, ordered by what reads and writes what. Whoever waits for another
/// stream that forward used would wait for nothing.
void Recorder::check_stream(const OpFacts& facts, const CallArguments& args) {
  bool elsewhere = false;
  for (std::size_t i = 0; i < args.size(); ++i) {
    for_each_tensor(args[i], [&](const at::Tensor& tensor) {
      elsewhere = elsewhere || streams_.moved(tensor.device());
    });
    if (args[i].isDevice()) elsewhere = elsewhere || streams_.moved(args[i].toDevice());
  }
  if (!elsewhere) return;
  refuse(facts, &args,
         {Code::kRejectedForeignThread,
          {},
          "it works on another stream than the one that was current when forward was called: a "
          "replay is work of one stream, and whoever waits for the other one would wait for "
          "nothing",
          "do all of forward's work on the caller's stream; a replay overlaps what may overlap by "
          "itself"});
}

void Recorder::check_after() {
  if (rejection_) return;
  try {
    values_.check_lasting();
  } catch (const HostWrote& wrote) {
    return refuse_host_write(wrote.record());
  }
  if (setup_.foreign == nullptr) return;
  for (const c10::StorageImpl* storage : values_.own_storages()) {
    const auto op = setup_.foreign->touched(storage);
    if (!op) continue;
    Rejection rejection;
    rejection.code = Code::kRejectedForeignThread;
    rejection.op = *op;
    rejection.reason = *op +
                       " ran on another thread during forward, on memory of this forward: what "
                       "other threads do isn't recorded, so a replay would miss it";
    rejection.remedy = "do all of forward's work on the calling thread";
    rejection_ = std::move(rejection);
    return;
  }
}

void Recorder::refuse_host_write(const StorageRecord& record) {
  Rejection rejection;
  rejection.code = Code::kRejectedMutation;
  rejection.subject = values_.subject_of(record);
  rejection.node = last_node();
  rejection.module_path = Region::current();
  rejection.reason =
      "host code wrote the memory of " + std::string(ir::storage_kind_name(record.kind)) + " '" +
      rejection.subject + "' " +
      (rejection.node.empty() ? "before the first operator"
                              : "before the operator that follows %" + rejection.node) +
      ", by a pointer (data_ptr, accessor) that no operator shows: a replay runs no "
      "host code and wouldn't do it";
  rejection.remedy =
      "write with an operator and declare the tensor in Options::mutable_state, or do it outside "
      "of forward";
  const ir::Node* last = graph_.find(rejection.node);
  if (last != nullptr) rejection.excerpt = excerpt(graph_, last);
  rejection_ = std::move(rejection);
}

void Recorder::blame_maker(const at::Tensor& tensor, Rejection& rejection) {
  const ir::Node* node = tensor.defined() ? values_.node_behind(tensor) : nullptr;
  if (node == nullptr) return;
  rejection.op = node->kind() == ir::NodeKind::kCallFunction ? node->target() : std::string();
  rejection.node = node->name();
  rejection.module_path = node->module_path;
  rejection.excerpt = excerpt(graph_, node);
}

std::string Recorder::last_node() const {
  for (auto it = graph_.nodes().rbegin(); it != graph_.nodes().rend(); ++it) {
    if ((*it)->kind() == ir::NodeKind::kCallFunction) return (*it)->name();
  }
  return {};
}

}  // namespace monograph::trace
