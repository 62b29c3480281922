// Short ways to register elementwise operators.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/registry.h"

namespace monograph::kernels {

/// Expressions over "x0", "x1" and "x2" for a compute type; empty if the operator has none there.
using Expression = std::function<std::string(DType compute)>;

/// `text` for f32 and f64; "@f" stands for the suffix of float functions and literals ("f" or
/// nothing).
Expression floating(const std::string& text);
/// The same text for every compute type.
Expression any_type(const std::string& text);
/// `text` for bool and i64.
Expression integers(const std::string& text);

/// What one call computes: `text` over `operands` (x0, x1, ...), in type `compute`.
struct Formula {
  std::string text;
  std::vector<Argument> operands;
  DType compute = DType::kF32;
};

struct PointwiseOp {
  std::string name;  ///< kernel name
  std::vector<std::string> ops;
  std::string summary;
  /// The computation of `step`, whose tensor operands have the types that `type_of` gives. nullopt
  /// if there is none for those.
  std::function<std::optional<Formula>(const Step& step,
                                       const std::function<DType(std::int32_t)>& type_of)>
      formula;
  std::function<std::vector<Call>()> samples;
};
Definition pointwise_definition(PointwiseOp op);

struct UnaryOp {
  std::string name;  ///< kernel name
  std::vector<std::string> ops;
  std::string summary;
  Expression expression;  ///< over x0
};
Definition unary_definition(UnaryOp op);

struct BinaryOp {
  std::string name;
  std::vector<std::string> ops;
  std::string summary;
  Expression expression;    ///< over x0 and x1; either may be a number
  bool compares = false;    ///< computed in the operands' type, not the result's
  std::string scaled = {};  ///< what `alpha` multiplies, x0 or x1; empty for operators without one
};
Definition binary_definition(BinaryOp op);

struct OperandsOp {
  std::string name;
  std::vector<std::string> ops;
  std::string summary;
  Expression expression;  ///< over the first `operands` arguments, in their common type
  std::size_t operands = 2;
  std::vector<DType> dtypes;  ///< of samples
  bool predicate = false;     ///< samples give bool, not the operands' type
};
Definition operands_definition(OperandsOp op);

/// Type that LibTorch compares or combines operands in.
DType common_type(const std::vector<Argument>& operands,
                  const std::function<DType(std::int32_t)>& type_of);

/// Row-major tensor.
TensorDesc dense(DType dtype, std::vector<std::int64_t> sizes, std::int64_t alignment = 16);
Argument tensor_argument(std::int32_t index);
Argument number_argument(Scalar value);

/// Tensors for samples: sizes that exercise vector, scalar and broadcast paths.
std::vector<Call> unary_samples(const std::string& op, const std::vector<DType>& dtypes);
std::vector<Call> binary_samples(const std::string& op, const std::vector<DType>& dtypes,
                                 bool compares);

}  // namespace monograph::kernels
