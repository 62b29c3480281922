// Short ways to register elementwise operators.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels {

/// Expression over "x0" (and "x1") for a compute type; empty if the operator has none there.
using Expression = std::function<std::string(DType compute)>;

/// Expressions by kind of compute type. `f32` also serves f64 where `f64` is empty; in both, "@f"
/// stands for the suffix of float functions and literals ("f" or nothing).
Expression floating(const std::string& text);
/// The same text for every compute type.
Expression any_type(const std::string& text);

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
  Expression expression;  ///< over x0 and x1; either may be a number
  bool compares = false;  ///< computed in the operands' type, not the result's
};
/// `alpha` (aten.add, aten.sub) multiplies the second operand.
Definition binary_definition(BinaryOp op);

/// Tensors for samples: sizes that exercise vector, scalar and broadcast paths.
std::vector<Call> unary_samples(const std::string& op, const std::vector<DType>& dtypes);
std::vector<Call> binary_samples(const std::string& op, const std::vector<DType>& dtypes,
                                 bool compares);

}  // namespace monograph::kernels
