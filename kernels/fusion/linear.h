// Products with a weight matrix as parts of fusions: what comes before and after one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/fusion/program.h"
#include "kernels/fusion/source.h"

namespace monograph::kernels::fusion {

/// A call whose core is one aten.linear: y[m, n] = sum over k of x[m, k] weight[n, k], with what is
/// done to x before and to y after. Tensors are indices into Call::inputs.
struct LinearCall {
  enum class Norm { kNone, kRms, kLayer };
  std::int32_t x = -1, weight = -1, bias = -1;
  Norm norm = Norm::kNone;
  std::int32_t norm_weight = -1, norm_bias = -1;
  double epsilon = 0;
  std::int64_t m = 0, units = 0, parts = 1, k = 0;  ///< weight has parts * units rows
  std::int64_t stride = 0;                          ///< between rows of the weight
  DType dtype = DType::kF32;                        ///< of x and the weight
  Program epilogue;                                 ///< over y as its external value
};

/// Recognises `call`; nullopt with the reason if it is something else or its layout doesn't suit.
std::optional<LinearCall> find_linear(const Call& call, std::string* why);

/// Parameters of a kernel for `linear`, and a struct `Epilogue` in source text whose call operator
/// takes (m, n, values of the parts); with `pairs`, also `pair` for units n and n + 1, n even.
/// `arguments` makes one from the kernel's parameters.
struct LinearSource {
  std::string epilogue;    ///< definition of the struct
  std::string parameters;  ///< "const mg::bf16* in0, ..."
  std::string arguments;   ///< "Epilogue{in0, ...}"
  std::vector<Param> params;
};
LinearSource linear_source(const Call& call, const LinearCall& linear, bool pairs = false);

/// Why 16 bytes of x, the weight and the norm's can't be read at a time; empty if they can.
std::string unaligned(const Call& call, const LinearCall& linear);

/// Bytes and operations of the whole.
Roofline linear_roofline(const Call& call, const LinearCall& linear);

/// Calls for samples: plain products, with bias and activations, packed gates, residuals; and with
/// a normalisation before the product.
std::vector<Call> linear_samples(const std::vector<DType>& dtypes,
                                 const std::vector<std::int64_t>& vectors, bool norms);
std::vector<Call> gemv_samples();
std::vector<Call> block_samples();

/// Name of an input in the source, or a null pointer of the element type.
std::string linear_operand(const LinearCall& linear, std::int32_t tensor);

}  // namespace monograph::kernels::fusion
