// Short ways to register operators that reduce.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/elementwise/definitions.h"
#include "kernels/fusion/program.h"

namespace monograph::kernels::fusion {

struct RowOp {
  std::string name;
  std::vector<std::string> ops;
  std::string summary;
  std::string algorithm;
  int (*expand)(Builder&, const Step&, const Mapping&);
  std::vector<Call> (*samples)();
};
/// Matches the operator alone and takes part in fusions.
Definition row_definition(RowOp op);

/// Positions of the dimensions that `argument` (a number or a list) names, in order; all of them if
/// it names none.
std::vector<std::size_t> dimensions(const Argument* argument, std::size_t rank);
/// The number at `argument`, or `otherwise`.
double real(const Argument* argument, double otherwise);

/// `node` reduced by `kind` over `dims` of value `argument`; `mapping` belongs to the result, which
/// lacks those dimensions or has them with size 1. The operand is converted to `type` first.
int reduce_dimensions(Builder& builder, const Step& step, const Mapping& mapping, ReduceKind kind,
                      const std::vector<std::size_t>& dims, DType type);

/// Calls of one operand for samples: `dtypes` by shapes that exercise every way rows are handled.
std::vector<Call> row_samples(const std::string& op, const std::vector<DType>& dtypes,
                              const std::vector<Argument>& more);

/// Samples of an operator (operand, dim, keepdim): `row_samples` reduced along the last dimension
/// with and without keeping it, and a matrix along its first. `dim` makes the argument of a
/// position; results have type `result`, or the operand's.
std::vector<Call> reduction_samples(const std::string& op, const std::vector<DType>& dtypes,
                                    Argument (*dim)(std::int64_t),
                                    std::optional<DType> result = std::nullopt);
/// A position as most reductions take it, as a list of one; and as argmax does, as a number.
Argument dim_list(std::int64_t dim);
Argument dim_number(std::int64_t dim);

}  // namespace monograph::kernels::fusion
