// Every option and environment switch of Monograph, in one place.
//
// | switch            | meaning                                                                  |
// |-------------------|--------------------------------------------------------------------------|
// | MONOGRAPH_DUMP    | directory for dumps when Options::dump_path is empty                     |
// | MONOGRAPH_LOG     | off, error (default), warning, info or debug; messages go to stderr      |
// | MONOGRAPH_CACHE   | directory of the kernel and tuning cache (default: XDG cache directory)  |
// | MONOGRAPH_DRIVER  | path of the CUDA driver library when Options::cuda_driver is empty       |
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace monograph {

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
