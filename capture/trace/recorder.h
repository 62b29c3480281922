// Turns the operator calls of one forward into graph nodes.
#pragma once

#include <monograph/error.h>
#include <monograph/program.h>

#include <exception>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "capture/ir/graph.h"
#include "capture/trace/device_streams.h"
#include "capture/trace/dispatch_key.h"
#include "capture/trace/foreign_work.h"
#include "capture/trace/op_policy.h"
#include "capture/trace/state_snapshot.h"
#include "capture/trace/storage_guard.h"
#include "capture/trace/values.h"

namespace monograph::trace {

/// Thrown through forward when it turned out that it can't be captured. The reason stays with the
/// recorder, so a forward that swallows this doesn't get away with it.
class RecordingAborted final : public std::exception {
 public:
  const char* what() const noexcept override {
    return "monograph: the forward being recorded can't be captured";
  }
};

/// What a recording may write, and who helps it.
struct RecorderSetup {
  std::set<std::size_t> states;    ///< positions of the tensors that are declared state
  bool every_write = false;        ///< weights and constants become state when they are written
  StateSnapshot* state = nullptr;  ///< saves state before it is written; may be null without state
  const ForeignWork* foreign = nullptr;  ///< may be null
  const StorageGuard* guard = nullptr;   ///< of the module's tensors, if they are guarded
};

/// One recording. Calls come in on the thread that traces.
class Recorder final : public CallSink {
 public:
  Recorder(std::string name, const std::vector<NamedTensor>& tensors, RecorderSetup setup = {});

  void add_input(const std::string& name, const at::Tensor& tensor);
  void call(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
            torch::jit::Stack* stack) override;
  void set_outputs(const std::vector<at::Tensor>& outputs);

  const std::optional<Rejection>& rejection() const noexcept { return rejection_; }
  /// After forward: refuses what host code or other threads did to memory that outlives forward.
  void check_after();
  /// The refusal of host code that asked for the memory of guarded tensor `name` just now.
  Rejection stray_write(const std::string& name) const;
  /// Adds to `rejection` the node that made `tensor`, if one did, and shows it.
  void blame_maker(const at::Tensor& tensor, Rejection& rejection);
  /// What to call the last operator that was recorded, for faults of host code: "%add_1".
  std::string last_node() const;
  const ValueTable& values() const noexcept { return values_; }
  ir::Graph& graph() noexcept { return graph_; }
  std::map<std::string, at::Tensor>& weights() noexcept { return values_.weights(); }

 private:
  /// A call as the graph will hold it.
  struct Call {
    std::vector<ir::Arg> args;
    ir::Kwargs kwargs;
    std::vector<ir::Node*> writes;
    std::vector<at::Tensor> written;  ///< the tensors behind `writes`
    Provenance provenance = Provenance::kFixed;
  };
  struct Refusal {
    Code code;
    std::string subject;
    std::string reason;
    std::string remedy;
  };

  void record(const c10::OperatorHandle& op, const OpFacts& facts, c10::DispatchKeySet keys,
              torch::jit::Stack* stack);
  void decompose(const c10::OperatorHandle& op, torch::jit::Stack* stack);
  static void call_tensor_form(const c10::OperatorHandle& form, torch::jit::Stack* stack);
  bool check_before(const OpFacts& facts, const CallArguments& args);
  void check_write(const OpFacts& facts, const CallArguments& args, const at::Tensor& target);
  void refuse_host_write(const StorageRecord& record);
  [[noreturn]] void refuse_mutation(const OpFacts& facts, const CallArguments& args,
                                    const StorageRecord& record);
  void change_geometry(const c10::OperatorHandle& op, const OpFacts& facts,
                       c10::DispatchKeySet keys, torch::jit::Stack* stack);
  void check_foreign(const OpFacts& facts, const CallArguments& args);
  void check_stream(const OpFacts& facts, const CallArguments& args);
  void run_watched(const c10::OperatorHandle& op, const OpFacts& facts, c10::DispatchKeySet keys,
                   torch::jit::Stack* stack);
  void run_guarded(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                   torch::jit::Stack* stack);
  Call describe(const OpFacts& facts, const CallArguments& args);
  ir::Arg argument(const c10::IValue& value, const c10::TypePtr& type);
  ir::Arg tensor_argument(const at::Tensor& tensor);
  void add_node(const c10::OperatorHandle& op, const OpFacts& facts, Call call,
                const torch::jit::Stack& stack);
  void watch(const OpFacts& facts, const Call& call, const std::vector<at::Tensor>& made);
  static std::vector<at::Tensor> returned(const c10::FunctionSchema& schema,
                                          const torch::jit::Stack& stack);
  bool resized_outputs(const Call& call) const;
  std::string functional_target(const c10::OperatorHandle& op, Call& call);
  std::vector<ir::Arg> as_strided_arguments(const CallArguments& args);
  Provenance provenance_of(const c10::IValue& value);
  bool all_fixed(const CallArguments& args);
  std::string inside() const;

  [[noreturn]] void refuse(const OpFacts& facts, const CallArguments* args, Refusal refusal);

  ir::Graph graph_;
  ValueTable values_;
  OpPolicy policy_;
  RecorderSetup setup_;
  const DeviceStreams streams_ = DeviceStreams::read();
  std::vector<std::string> composites_;  ///< composite operators being decomposed, outermost first
  int composites_with_tensors_ = 0;
  std::optional<Rejection> rejection_;
};

}  // namespace monograph::trace
