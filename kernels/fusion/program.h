// Fusions as programs over one iteration space: what the generators of pointwise and row kernels
// turn into source.
//
// A body (kernels/types.h) is walked from its results back to its inputs. Every value is looked at
// under a mapping: for each of its dimensions the axes of the iteration space that it follows.
// Views of inputs become strides of a load; reshapes and broadcasts of computed values become other
// mappings, splitting axes where a reshape splits a dimension.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels::fusion {

/// Per dimension of a value the axes it follows, outermost first; none where its size is 1. Below
/// 0: a fixed place along an axis that isn't walked (Builder::fixed).
using Mapping = std::vector<std::vector<int>>;

enum class ReduceKind : std::uint8_t { kSum, kProduct, kMax, kMin, kArgMax, kArgMin };

/// A position that is read from memory: the value of `node` times `stride` elements.
struct Gather {
  int node = -1;
  std::int64_t stride = 0;
  bool operator==(const Gather&) const = default;
};

/// A tensor in memory as the iteration space sees it. Strides per axis, 0 where it is constant.
struct Operand {
  /// Index into Call::inputs, or Call::outputs for a store; kCoordinate: no memory, its offset is
  /// the value.
  std::int32_t tensor = 0;
  static constexpr std::int32_t kCoordinate = -1;
  bool state = false;  ///< a store into an input (Call::inputs), which is state
  DType dtype = DType::kF32;
  std::int64_t alignment = 1;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;  ///< elements
  std::vector<Gather> gathers;
  bool operator==(const Operand&) const = default;
};

/// One value of the program. `type` is f32, f64, i64 or bool.
struct Node {
  enum class Kind : std::uint8_t { kLoad, kCompute, kReduce, kExternal };
  Kind kind = Kind::kCompute;
  DType type = DType::kF32;
  std::string text;  ///< kCompute: C++ over x0, x1, ..., each of type `compute`
  DType compute = DType::kF32;
  std::vector<int> args;  ///< kCompute, kReduce: nodes
  int operand = -1;       ///< kLoad: index into Program::loads
  ReduceKind reduce = ReduceKind::kSum;
  int level = 0;          ///< reductions on the longest way from a load
  bool row = true;        ///< the same along every reduced axis
  std::int64_t part = 0;  ///< kExternal: which of the values made elsewhere
  bool operator==(const Node&) const = default;
};

struct Store {
  int node = -1;
  Operand operand;
};

struct Program {
  std::vector<std::int64_t> axes;  ///< sizes, outermost first
  std::vector<bool> reduced;       ///< by axis
  std::vector<Operand> loads;
  std::vector<Node> nodes;
  std::vector<Store> stores;
  Mapping external;  ///< of the external value, if External::any_order
};

/// A value that is not computed from loads: it comes from whoever calls the program's code. Its
/// last dimension may be taken in `parts` equal slices (packed projections).
struct External {
  std::int32_t value = -1;
  std::int64_t parts = 1;
  bool any_order = false;  ///< it may be looked at in another order than its own
};

/// What a program is to compute: some of a call's results, or what one of its steps writes to
/// state.
struct Wanted {
  std::vector<std::size_t> outputs;  ///< indices into Call::outputs
  std::int32_t effect = -1;          ///< index into Body::steps
};

/// Makes a program step by step. Functions return -1 once something can't be expressed; `reason`
/// says what. Operators describe themselves through it (Definition::expand).
class Builder {
 public:
  Builder(const Call& call, const Body& body, Wanted wanted, std::optional<External> external);

  /// The whole program, or nullopt.
  std::optional<Program> run();
  const std::string& reason() const noexcept { return reason_; }

  // --- for operators ---
  const TensorDesc& desc(std::int32_t value) const;
  /// The node of `argument`, a tensor broadcast to the shape that `mapping` belongs to, or a number
  /// of type `type`.
  int operand(const Argument& argument, const Mapping& mapping, DType type);
  int value(std::int32_t value, const Mapping& mapping);
  int number(double v, DType type);
  int number(std::int64_t v, DType type);
  /// `text` over args x0, x1, ..., converted to `compute`; the result is of type `type`.
  int compute(DType compute, DType type, std::string text, std::vector<int> args);
  /// Over `axes`, in all of which `node` is iterated. Sums of f32 are f32.
  int reduce(ReduceKind kind, int node, const std::vector<int>& axes);
  /// Element of `argument` at the position along dimension `dim` that node `index` gives; `mapping`
  /// is the argument's, without axes in `dim`.
  int gather(const Argument& argument, const Mapping& mapping, std::size_t dim, int index);
  /// Splits what `list` follows into `parts` equal pieces: axes that count pieces, and those within
  /// one. nullopt if sizes don't allow it.
  std::optional<std::pair<std::vector<int>, std::vector<int>>> pieces(const std::vector<int>& list,
                                                                      std::int64_t parts);
  /// Position along `axes`, row-major.
  int coordinate(const std::vector<int>& axes);
  /// Axes along which a reduction of dimensions of `sizes` runs whose result is mapped by
  /// `kept`: those of the iteration space that are free, or new ones.
  std::vector<int> reduction_axes(const std::vector<std::int64_t>& sizes, const Mapping& kept);
  std::int64_t size_of(const std::vector<int>& axes) const;
  /// Whether some of `axes` is a fixed place: the value is looked at in part.
  static bool is_part(const std::vector<int>& axes) noexcept;
  int fail(std::string why);

 private:
  struct Split {
    int axis;
    std::int64_t inner;
  };

  /// A place along an axis of `size` that isn't walked.
  struct Fixed {
    std::int64_t size = 1, place = 0;
    bool operator==(const Fixed&) const = default;
  };

  std::optional<Program> attempt();
  int fixed(Fixed f);
  std::int64_t axis_size(int axis) const;
  std::optional<Mapping> sliced(const Step& step, const std::vector<std::int64_t>& sizes,
                                const Mapping& mapping);
  std::vector<int> new_axes(const std::vector<std::int64_t>& factors, int home);
  bool store_outputs(std::size_t main, const Mapping& mapping);
  bool store_effect(const Mapping& mapping);
  bool finish();
  int step_node(const Step& step, const Mapping& mapping);
  int view_node(const Step& step, const Mapping& mapping);
  int load(std::int32_t input, const TensorDesc& desc, std::int64_t offset, const Mapping& mapping);
  int load_operand(Operand operand, DType type);
  int external(const TensorDesc& desc, std::int64_t offset, const Mapping& mapping);
  std::optional<Mapping> reshaped(const Mapping& mapping, const std::vector<std::int64_t>& sizes);
  std::optional<Mapping> broadcast(const Mapping& mapping, const std::vector<std::int64_t>& sizes);
  Operand make_operand(std::int32_t tensor, const TensorDesc& desc, std::int64_t offset,
                       const Mapping& mapping) const;
  int add(Node node);

  const Call& call_;
  const Body& body_;
  Wanted wanted_;
  std::optional<External> external_;
  std::string reason_;
  std::optional<Split> split_;
  std::vector<std::vector<std::int64_t>> factors_;      ///< per dimension of the main result
  std::vector<std::vector<std::int64_t>> row_factors_;  ///< per reduced dimension outside it
  Program program_;
  std::vector<int> axis_home_;  ///< by axis: index into factors_, or -1 - index into row_factors_
  std::vector<int> axis_rank_;  ///< by axis: position among the factors of its dimension
  std::vector<Fixed> fixed_;    ///< by -1 - axis
  std::vector<int> reduced_;    ///< axes that reductions run along, once known
  std::map<std::pair<std::int32_t, Mapping>, int> memo_;
  std::map<std::int32_t, Mapping> seen_;  ///< a mapping under which each value was needed
};

/// The type a value of `dtype` is computed in: f32 for the halves, i64 for narrow integers.
DType value_type(DType dtype) noexcept;

/// Program of `call` (its body, or the operator itself), or why there is none.
struct Built {
  std::optional<Program> program;
  std::string reason;
};
Built build(const Call& call, std::optional<External> external = std::nullopt);
/// Programs for everything that `call` makes, results of one shape together, writes of
/// state each by itself.
struct Segments {
  std::vector<Program> programs;
  std::string reason;  ///< if there are none
};
Segments build_segments(const Call& call);
/// Whether `step` writes rows of state (its alias).
bool writes_state(const Step& step) noexcept;
/// A body of one step for a call that has none.
Body body_of(const Call& call);

}  // namespace monograph::kernels::fusion
