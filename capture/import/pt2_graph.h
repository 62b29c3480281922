// The graph and signature of a `.pt2` file as the archive states them, checked for form. No torch.
#pragma once

#include <complex>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "capture/import/pt2_archive.h"
#include "capture/ir/types.h"

namespace monograph::importer {

struct Pt2Graph;

/// Reference to the result of a node or to an input, by name.
struct Pt2Name {
  std::string name;
};

/// Something a node may take that has no place in a graph of tensors.
struct Pt2Foreign {
  std::string what;  ///< "custom object of class X", "operator X"
};

/// An argument. References are to names that were defined before.
struct Pt2Argument {
  using List = std::vector<Pt2Argument>;
  std::variant<std::monostate, bool, std::int64_t, double, std::complex<double>, std::string,
               ir::DType, ir::Layout, ir::MemoryFormat, ir::Device, Pt2Name, List,
               std::shared_ptr<const Pt2Graph>, Pt2Foreign>
      value;
  template <class T>
  const T* get_if() const noexcept {
    return std::get_if<T>(&value);
  }
};

struct Pt2Node {
  std::string name;    ///< may be empty in archives before schema 8.9
  std::string target;  ///< "torch.ops.aten.linear.default", "_operator.add"
  std::vector<std::pair<std::string, Pt2Argument>> inputs;  ///< names may be empty: by position
  /// Names of results, nested where an operator returns a list; None where one isn't there.
  std::vector<Pt2Argument> outputs;
  std::string module_path;  ///< "encoder.layer.0"
  std::string stack_trace;  ///< Python's, innermost frame last
};

/// One dimension of an input: a number, or the name of a symbol with the size it had at export.
struct Pt2Dimension {
  std::optional<std::int64_t> size;  ///< empty: symbolic
  std::string symbol;                ///< "s77" if it is one symbol, empty for other expressions
  std::optional<std::int64_t> hint;  ///< the size at export
};

struct Pt2TensorMeta {
  ir::DType dtype = ir::DType::kUndefined;
  std::vector<Pt2Dimension> sizes;
  ir::Device device;
};

struct Pt2Graph {
  std::vector<Pt2Argument> inputs;
  std::vector<Pt2Argument> outputs;
  std::vector<Pt2Node> nodes;
  std::map<std::string, Pt2TensorMeta> tensors;              ///< of inputs only
  std::map<std::string, std::optional<std::int64_t>> hints;  ///< of symbolic inputs
};

struct Pt2InputSpec {
  enum class Kind : std::uint8_t { kUser, kParameter, kBuffer, kTensorConstant, kConstant };
  Kind kind = Kind::kUser;
  std::string name;    ///< of the graph's input; empty if it is no reference
  std::string target;  ///< fully qualified name of a parameter, buffer or constant
};

struct Pt2OutputSpec {
  enum class Kind : std::uint8_t {
    kUser,
    kBufferMutation,
    kParameterMutation,
    kInputMutation,
    kOther
  };
  Kind kind = Kind::kUser;
  std::string target;  ///< what is mutated, or what kind of output it is
};

/// Least and greatest size that a symbol may have.
struct Pt2Range {
  std::optional<std::int64_t> least;
  std::optional<std::int64_t> greatest;
};

struct Pt2Model {
  Pt2Graph graph;
  std::vector<Pt2InputSpec> input_specs;    ///< one for each input of the graph, in order
  std::vector<Pt2OutputSpec> output_specs;  ///< one for each output of the graph, in order
  std::map<std::string, Pt2Range> ranges;   ///< by symbol
  std::string in_spec;                      ///< pytree of the inputs, as PyTorch writes it
  std::string out_spec;
  std::string torch_version;
};

/// Reads the model of `archive`. Error(kInvalidFile) naming the entry and field for anything
/// malformed: unknown kinds of argument, names used before they are defined or defined twice,
/// signatures that don't fit the graph, weights that the archive doesn't have.
Pt2Model read_pt2_model(const Pt2Archive& archive);

}  // namespace monograph::importer
