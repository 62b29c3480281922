// Every option and environment switch of Monograph, in one place.
//
// | switch            | meaning                                                                  |
// |-------------------|--------------------------------------------------------------------------|
// | MONOGRAPH_DUMP    | directory for dumps when Options::dump_path is empty                     |
// | MONOGRAPH_AOT     | directory into which each first compilation also saves a package         |
// | MONOGRAPH_LOG     | off, error (default), warning, info or debug; messages go to stderr      |
// | MONOGRAPH_CACHE   | directory of the kernel and tuning cache (default: XDG cache directory)  |
// | MONOGRAPH_DRIVER  | path of the CUDA driver library when Options::cuda_driver is empty       |
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace monograph {

namespace exec {
struct Backend;  // runtime/exec/backend.h
}

/// When a call may trace. Read by CompiledModule.
enum class Mode : std::uint8_t {
  kNone,       ///< no compilation: constructing a CompiledModule with it is an error
  kStock,      ///< guards are kept: every call checks them, a miss traces again
  kTraceOnce,  ///< one trace, no guards, one shape; another shape is an InvalidArgument
  kFull,       ///< one trace and one executable per shape key, no guards (default)
};

/// How a plan is replayed on a CUDA device.
enum class GraphMode : std::uint8_t {
  kNone,  ///< launch by launch on a stream, for profilers and bisecting
  kFull,  ///< one CUDA graph per shape (default)
};

/// Who owns the memory of outputs.
enum class OutputMode : std::uint8_t {
  kOwned,     ///< the caller's tensors, or fresh ones per call (default)
  kBorrowed,  ///< tensors on the executable's memory, valid until its next replay
};

/// What a call does whose forward was rejected. Read by CompiledModule.
enum class OnReject : std::uint8_t {
  kThrow,  ///< RejectedError, with the reason (default)
  kEager,  ///< forward itself runs, without gradients; one warning per shape is logged
};

/// What a call does whose shape another thread is compiling. Read by CompiledModule.
enum class FirstCall : std::uint8_t {
  kWait,   ///< waits, then replays (default)
  kEager,  ///< runs forward itself; with declared state it waits all the same
};

/// What a call does that would compile beyond a limit. Read by CompiledModule in Mode::kStock.
enum class OnLimit : std::uint8_t {
  kEager,  ///< forward itself runs; one warning per module is logged (default)
  kError,  ///< Error(kInvalidState)
};

/// Tensors that forward may write: a name or glob ('*', '?') over the names of the module's
/// tensors, or a tensor.
struct StateRef {
  StateRef(const char* name) : pattern(name) {}                       // NOLINT: names convert
  StateRef(std::string name) : pattern(std::move(name)) {}            // NOLINT
  StateRef(at::Tensor the_tensor) : tensor(std::move(the_tensor)) {}  // NOLINT
  std::string pattern;
  at::Tensor tensor;
};

/// Plain value; copied by whoever takes it. Unknown or contradictory settings throw
/// Error(kInvalidOption) when first used.
struct Options {
  Mode mode = Mode::kFull;
  GraphMode graph_mode = GraphMode::kFull;
  OutputMode output_mode = OutputMode::kOwned;

  /// Back end by name: "host", "cuda", or "auto": cuda if the inputs are on a CUDA device.
  std::string backend = "auto";
  /// Path of the driver library for the cuda back end; empty: libcuda.so.1.
  std::string cuda_driver;

  /// A back end itself, instead of its name. `backend` must stay "auto" then.
  std::shared_ptr<const exec::Backend> backend_object;
  /// Options of one back end, as "name.option". Those of another back end than the chosen one, and
  /// those it doesn't know, are an error.
  std::map<std::string, std::string> backend_options;

  /// Declared state: writes to these tensors (KV caches, positions) are effects in forward's order,
  /// and every call makes them once. Tracing works on a snapshot, so that the first call, too,
  /// leaves what eager would. Their addresses are pinned. With GraphMode::kNone every weight that
  /// forward writes counts as declared.
  std::vector<StateRef> mutable_state;
  /// Trace a second forward, on other data of the same shape, and refuse what differs. Off, a
  /// forward that depends on data by ways of the host is replayed as it was traced.
  bool check_twice = true;
  /// Makes the inputs of that second forward from those of the first; they must match in number,
  /// dtype, sizes, strides and device. Empty: floats are redrawn with like statistics, integers
  /// permuted within their own values.
  std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)> probe_inputs;
  /// Trace one more forward with the weights' memory guarded: host code that asks for it writable
  /// is refused at that place. For debugging; refuses host code that reads by `data_ptr`, too.
  bool guard_weights = false;

  OnReject on_reject = OnReject::kThrow;
  FirstCall first_call = FirstCall::kWait;
  /// Mode::kStock: largest numbers of compilations per module and of all modules together.
  std::int64_t recompile_limit = 2048;
  std::int64_t total_recompile_limit = 8192;
  OnLimit on_limit = OnLimit::kEager;

  /// Verification: the first `verify_calls` calls, and later ones with probability `verify_rate`,
  /// run forward itself beside the replay and compare. A difference beyond the tolerances is an
  /// Error(kVerification) that names the first node whose result differs.
  std::int64_t verify_calls = 0;
  double verify_rate = 0;
  double verify_rtol = 1e-4;
  double verify_atol = 1e-5;

  /// Passes in order; empty: the default pipeline. Unknown names are an error.
  std::vector<std::string> passes;
  /// Compute weight-only subgraphs once, at capture. Costs memory for the folded tensors.
  bool fold_constants = true;
  /// Largest folded tensor in bytes; larger subgraphs stay as they are.
  std::int64_t fold_limit_bytes = std::int64_t{64} << 20;

  /// Namespaces whose operators an imported archive may call. Add those of your own operators.
  std::vector<std::string> op_namespaces = {"aten"};

  /// Directory for dumps; empty: MONOGRAPH_DUMP, or none. Never overwritten: each module and
  /// shape key gets a directory of its own.
  std::string dump_path;
  /// Name of the module in dumps and messages.
  std::string name = "module";
};

}  // namespace monograph
