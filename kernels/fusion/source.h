// From programs to source text: pieces that the generators share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/fusion/program.h"

namespace monograph::kernels::fusion {

/// Some axes of a program after joining neighbours that every operand walks through without a jump.
struct Space {
  std::vector<std::int64_t> sizes;                 ///< outermost first; at least one
  std::vector<std::vector<std::int64_t>> strides;  ///< by operand: loads, then stores
  std::int64_t elements() const noexcept;
};
/// `reduced` chooses which axes: those that reductions run along, or the others.
Space collapse(const Program& program, bool reduced);

/// Loads, then stores.
std::vector<const Operand*> operands_of(const Program& program);

/// Most elements, a power of two, that can travel together along the innermost dimension of
/// `inner`: at most 16 bytes of the narrowest operand, 32 of the widest, and only if every operand
/// that walks along it element by element is aligned for that in `inner` and `outer`.
std::int64_t vector_width(const Program& program, const Space& inner, const Space* outer);

/// Whether offsets of elements need 64 bits.
bool needs_wide_index(const Program& program);

/// Pointer expression of an operand of a load, or of a store if `output`; what it gathers by must
/// be in scope as v<node>.
std::string pointer(const Operand& operand, bool output);

/// C++ type of a value: "float", "double", "long long" or "bool".
std::string type_text(DType type);
/// The value of a compute node over `names[i]` of its args.
std::string value_text(const Program& program, const Node& node,
                       const std::vector<std::string>& names);
/// Lines that take `index` apart into coordinates of `space` and add them to offsets "o<operand>"
/// for operands whose flag is set.
std::string offset_lines(const Space& space, const std::string& index, bool wide,
                         const std::string& prefix, const std::vector<bool>& wanted);

/// Parameter list and parameters: inputs that are read, in order, then outputs.
struct Signature {
  std::string text;  ///< "const float* in0, mg::bf16* out0"
  std::vector<Param> params;
  std::string early;  ///< lines that bring small constants near before the kernel waits for others
};
Signature signature(const std::vector<Program>& programs, const Call& call);

/// Bytes that must move at least, and operations, counted as Roofline says.
Roofline roofline(const Program& program);

}  // namespace monograph::kernels::fusion
