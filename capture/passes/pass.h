// Graph-to-graph passes: one file each, self-registered, run in one ordered list.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::passes {

/// A tensor computed from weights alone, now known to the program under `attr`.
struct FoldedConstant {
  std::string attr;
  ir::TensorType type;
  std::int64_t nbytes = 0;
};

/// The one way in which passes reach real tensors. Implemented with LibTorch by capture/trace.
class ConstantEvaluator {
 public:
  virtual ~ConstantEvaluator() = default;
  /// Runs `node`, whose tensor arguments are all get_attr nodes, and keeps its results as new
  /// named constants. nullopt: declined (too large, random, unknown operator); the graph stays.
  virtual std::optional<std::vector<FoldedConstant>> evaluate(const ir::Node& node) = 0;
  /// As `evaluate`, for weights put together in other memory of the same size: no limit on size.
  virtual std::optional<std::vector<FoldedConstant>> evaluate_packed(const ir::Node& node) {
    return evaluate(node);
  }
  /// The constant `attr` from an earlier `evaluate` is no longer wanted: nothing in the graph reads
  /// it. An evaluator may free it or, as by default, leave that to whoever collects the weights.
  virtual void discard(const std::string& attr) { static_cast<void>(attr); }
};

struct PassContext {
  ConstantEvaluator* constants = nullptr;  ///< nullptr: constant folding does nothing
};

/// What a pass did. `changes` counts rewrites; `notes` are one line each, for dumps.
struct PassReport {
  std::string pass;
  std::int64_t changes = 0;
  std::size_t nodes_before = 0;
  std::size_t nodes_after = 0;
  double milliseconds = 0;
  std::vector<std::string> notes;
};

struct Pass {
  std::string name;         ///< file name without suffix, e.g. "dead_code"
  std::string description;  ///< one line
  std::function<PassReport(ir::Graph&, PassContext&)> run;
};

/// Registers at static initialisation; a duplicate name terminates the process with a message.
struct Registration {
  explicit Registration(Pass pass);
};

/// Throws Error(kInvalidOption) naming the known passes.
const Pass& find_pass(std::string_view name);
std::vector<std::string> registered_passes();  ///< sorted by name

/// The ordered list that capture runs.
const std::vector<std::string>& default_pipeline();
/// The list for back ends that run fusions with kernels of their own. Arithmetic may be reordered
/// within a fusion, and weights are put together; see docs/fusion.md.
const std::vector<std::string>& fused_pipeline();

/// Called after each pass that changed the graph (and before the first, with an empty report).
using Observer = std::function<void(const ir::Graph&, const PassReport&)>;

/// Runs `names` in order over `graph`, verifying after each pass that changed it.
std::vector<PassReport> run_passes(ir::Graph& graph, const std::vector<std::string>& names,
                                   PassContext& context, const Observer& observer = {});

}  // namespace monograph::passes
