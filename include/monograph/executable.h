// Executable: one plan on one device, ready to replay.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/error.h>
#include <monograph/options.h>
#include <monograph/program.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace monograph {

/// Figures of one executable. Bytes are bytes, times milliseconds.
struct Report {
  std::string backend;
  std::size_t nodes_traced = 0;
  std::size_t nodes_final = 0;
  std::size_t launches = 0;
  std::int64_t arena_bytes = 0;
  std::int64_t arena_lower_bound = 0;
  std::int64_t weight_bytes = 0;
  double trace_ms = 0;
  double passes_ms = 0;
  double build_ms = 0;  ///< lowering, planning and building
  std::vector<PassSummary> passes;
  /// Launches whose operator has no out-variant, so that its kernel allocates on every replay:
  /// "node (aten.op.overload)".
  std::vector<std::string> allocating_launches;
  std::string to_string() const;  ///< a short table for a terminal
};

/// Move-only. At most one replay in flight: a second concurrent call throws
/// Error(kInvalidState). Keeps its Program, hence every weight, alive.
class Executable {
 public:
  /// Lowers, plans and builds `program` for `options.backend`.
  static Executable build(const Program& program, const Options& options = {});

  /// Runs the plan on `inputs`, which must match the signature in count, rank, dtype, sizes,
  /// strides and device: Error(kInvalidArgument) names the argument, what was expected and what
  /// came, and nothing has changed. Inputs are read in place, never copied on the host, never
  /// written. Returns fresh tensors owned by the caller; with OutputMode::kBorrowed, tensors over
  /// memory of this executable, whose next such replay makes every use of their data an error that
  /// says so (c10::Error; clone what has to stay).
  std::vector<at::Tensor> replay(const std::vector<at::Tensor>& inputs);
  /// The same into the caller's `outputs` (checked alike; must not overlap inputs, each other or
  /// weights). On the host nothing is allocated but inside kernels listed in the report.
  void replay(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs);

  /// Number of the newest replay into borrowed memory, which is the one whose outputs are valid.
  std::uint64_t generation() const noexcept;

  /// Replays read `weights` from now on instead of the tensors of those names: kernels' parameters
  /// are patched, copies on the device are renewed. Every name must be a weight of the program and
  /// every tensor like the one it replaces (dtype, sizes, strides, device, place in its storage);
  /// weights that share memory must be replaced together, by tensors that do. Throws
  /// Error(kInvalidArgument) for those, Error(kInvalidState) for a weight that can't be replaced
  /// (constant folding has used it, or a captured library call holds its address), and nothing has
  /// changed; after any other error replays throw Error(kInvalidState). Not with a replay in flight
  /// on another thread. `program()` keeps the weights it was made with.
  void rebind_weights(const std::vector<NamedTensor>& weights);

  const Program& program() const;
  const Report& report() const;
  /// Text of a stage: "graph", "launches", "plan". Error(kInvalidOption) lists the stages.
  std::string dump(std::string_view stage) const;

  class Impl;
  explicit Executable(std::unique_ptr<Impl> impl);
  ~Executable();
  Executable(Executable&&) noexcept;
  Executable& operator=(Executable&&) noexcept;
  Impl& impl() { return *impl_; }
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace monograph
