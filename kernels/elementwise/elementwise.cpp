#include "kernels/elementwise/elementwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace monograph::kernels {
namespace {

constexpr std::int64_t kThreads = 256;
constexpr std::int64_t kVectorBytes = 16;

/// Stride of `operand` along each dimension of `shape`, 0 where it is broadcast; empty if it can't
/// be broadcast to it.
std::vector<std::int64_t> broadcast_strides(const TensorDesc& operand,
                                            const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides(shape.size(), 0);
  const std::size_t lead = shape.size() - operand.sizes.size();
  for (std::size_t d = 0; d < operand.sizes.size(); ++d) {
    if (operand.sizes[d] != 1) strides[lead + d] = operand.strides[d];
  }
  return strides;
}

bool overlaps_itself(const TensorDesc& t) {
  for (std::size_t d = 0; d < t.sizes.size(); ++d) {
    if (t.sizes[d] > 1 && t.strides[d] == 0) return true;
  }
  return false;
}

/// How one operand is read or written by a thread's `width` elements.
enum class Access { kVector, kUniform, kScalar };

struct Layout {
  Collapsed dims;              // operands: inputs..., output
  std::int64_t width = 1;      // elements a thread
  std::vector<Access> access;  // by operand
  bool wide_index = false;     // offsets beyond 31 bits
};

/// Largest power of two that divides `n`, at most `limit`.
std::int64_t power_of_two_divisor(std::int64_t n, std::int64_t limit) {
  std::int64_t w = 1;
  while (w < limit && n % (w * 2) == 0) w *= 2;
  return w;
}

bool vector_aligned(const TensorDesc& t, const std::vector<std::int64_t>& strides,
                    std::int64_t width) {
  const std::int64_t bytes = std::min(kVectorBytes, width * itemsize(t.dtype));
  if (t.alignment % bytes != 0) return false;
  for (std::size_t d = 0; d + 1 < strides.size(); ++d) {
    if (strides[d] * itemsize(t.dtype) % bytes != 0) return false;
  }
  return true;
}

Layout make_layout(const Elementwise& e) {
  std::vector<const TensorDesc*> operands;
  for (const TensorDesc& t : e.inputs) operands.push_back(&t);
  operands.push_back(&e.output);
  Layout l;
  l.dims = collapse(e.output.sizes, operands);
  const std::int64_t inner = l.dims.sizes.empty() ? 1 : l.dims.sizes.back();
  std::int64_t widest = 1;
  for (const TensorDesc* t : operands) widest = std::max(widest, itemsize(t->dtype));
  l.width = power_of_two_divisor(inner, kVectorBytes / widest);
  const auto inner_stride = [&](std::size_t o) {
    return l.dims.strides[o].empty() ? 0 : l.dims.strides[o].back();
  };
  for (std::size_t o = 0; o < operands.size() && l.width > 1; ++o) {
    if (inner_stride(o) == 1 && !vector_aligned(*operands[o], l.dims.strides[o], l.width)) {
      l.width = 1;
    }
  }
  if (inner_stride(operands.size() - 1) != 1) l.width = 1;
  std::int64_t reach = 0;
  for (std::size_t o = 0; o < operands.size(); ++o) {
    Access a = Access::kScalar;
    if (inner_stride(o) == 0) a = Access::kUniform;
    if (inner_stride(o) == 1 && l.width > 1) a = Access::kVector;
    l.access.push_back(a);
    std::int64_t extent = 1;
    for (std::size_t d = 0; d < l.dims.sizes.size(); ++d) {
      extent += (l.dims.sizes[d] - 1) * std::abs(l.dims.strides[o][d]);
    }
    reach = std::max(reach, extent);
  }
  l.wide_index = std::max(reach, e.output.numel()) > std::numeric_limits<std::int32_t>::max();
  return l;
}

/// Lines that turn the thread's first element number `i` into one offset per operand.
std::string index_lines(const Layout& l, std::size_t operands) {
  std::string s;
  const char* type = l.wide_index ? "long long" : "int";
  for (std::size_t o = 0; o < operands; ++o) s += fmt::format("  {} o{} = 0;\n", type, o);
  s += fmt::format("  {} rest = i;\n", type);
  for (std::size_t d = l.dims.sizes.size(); d-- > 0;) {
    const bool outermost = d == 0;
    s += outermost ? fmt::format("  const {} c{} = rest;\n", type, d)
                   : fmt::format("  const {0} c{1} = rest % {2};\n  rest /= {2};\n", type, d,
                                 l.dims.sizes[d]);
    for (std::size_t o = 0; o < operands; ++o) {
      if (l.dims.strides[o][d] == 0) continue;
      s += fmt::format("  o{} += c{} * {}{};\n", o, d, l.dims.strides[o][d],
                       l.wide_index ? "LL" : "");
    }
  }
  return s;
}

std::string load_line(std::size_t o, const TensorDesc& t, Access access, std::int64_t width) {
  const std::string_view type = device_type(t.dtype);
  switch (access) {
    case Access::kVector:
      return fmt::format("  mg::Pack<{0}, {1}> p{2} = mg::load_pack<{0}, {1}>(in{2} + o{2});\n",
                         type, width, o);
    case Access::kUniform:
      return fmt::format("  const {0} u{1} = in{1}[o{1}];\n", type, o);
    case Access::kScalar:
      break;
  }
  return {};
}

std::string element(std::size_t o, const Layout& l, std::string_view compute) {
  const std::string value = l.access[o] == Access::kVector ? fmt::format("p{}.v[k]", o)
                            : l.access[o] == Access::kUniform
                                ? fmt::format("u{}", o)
                                : fmt::format("in{0}[o{0} + k * {1}]", o, l.dims.strides[o].back());
  return fmt::format("    const {} x{} = mg::convert<{}>({});\n", compute, o, compute, value);
}

std::string source_text(const Elementwise& e, const Layout& l) {
  const std::size_t n = e.inputs.size();
  const std::string_view compute = device_type(e.compute);
  const std::string_view out_type = device_type(e.output.dtype);
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/elementwise.cuh\"\n\n";
  s += fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}(", kThreads, e.name);
  for (std::size_t o = 0; o < n; ++o) {
    s += fmt::format("const {}* in{}, ", device_type(e.inputs[o].dtype), o);
  }
  s += fmt::format("{}* out) {{\n", out_type);
  s += "  mg::pdl_launch();\n  mg::pdl_wait();\n";
  s += fmt::format("  const {0} i = (static_cast<{0}>(blockIdx.x) * {1} + threadIdx.x) * {2};\n",
                   l.wide_index ? "long long" : "int", kThreads, l.width);
  s += fmt::format("  if (i >= {}{}) return;\n", e.output.numel(), l.wide_index ? "LL" : "");
  s += index_lines(l, n + 1);
  for (std::size_t o = 0; o < n; ++o) s += load_line(o, e.inputs[o], l.access[o], l.width);
  s += fmt::format("  mg::Pack<{}, {}> r;\n", out_type, l.width);
  s += fmt::format("#pragma unroll\n  for (int k = 0; k < {}; ++k) {{\n", l.width);
  for (std::size_t o = 0; o < n; ++o) s += element(o, l, compute);
  s += fmt::format("    r.v[k] = mg::convert<{}>({});\n  }}\n", out_type, e.expression);
  s += fmt::format("  mg::store_pack<{}, {}>(out + o{}, r);\n}}\n", out_type, l.width, n);
  s += fmt::format("KERNEL_EXPORT({})\n", e.name);
  return s;
}

}  // namespace

Collapsed collapse(const std::vector<std::int64_t>& shape,
                   const std::vector<const TensorDesc*>& operands) {
  std::vector<std::vector<std::int64_t>> strides;
  for (const TensorDesc* t : operands) strides.push_back(broadcast_strides(*t, shape));
  Collapsed c;
  c.strides.resize(operands.size());
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    const bool joins = !c.sizes.empty() && [&] {
      for (std::size_t o = 0; o < operands.size(); ++o) {
        if (c.strides[o].back() != strides[o][d] * shape[d]) return false;
      }
      return true;
    }();
    if (joins) {
      c.sizes.back() *= shape[d];
      for (std::size_t o = 0; o < operands.size(); ++o) c.strides[o].back() = strides[o][d];
    } else {
      c.sizes.push_back(shape[d]);
      for (std::size_t o = 0; o < operands.size(); ++o) c.strides[o].push_back(strides[o][d]);
    }
  }
  if (c.sizes.empty()) {  // one element
    c.sizes.push_back(1);
    for (auto& s : c.strides) s.push_back(1);
  }
  return c;
}

DType compute_type(DType common) noexcept {
  switch (common) {
    case DType::kF64:
      return DType::kF64;
    case DType::kF16:
    case DType::kBF16:
    case DType::kF32:
      return DType::kF32;
    case DType::kBool:
      return DType::kBool;
    default:
      return DType::kI64;
  }
}

std::string literal(double value, DType compute) {
  const char* suffix = compute == DType::kF64 ? "" : "f";
  if (std::isnan(value)) return compute == DType::kF64 ? "mg::nan64()" : "mg::nan32()";
  if (std::isinf(value)) {
    return std::string(value < 0 ? "-" : "") +
           (compute == DType::kF64 ? "mg::inf64()" : "mg::inf32()");
  }
  // Hexadecimal floats are exact; the value is first rounded to the type it is used in.
  const double rounded =
      compute == DType::kF64 ? value : static_cast<double>(static_cast<float>(value));
  return fmt::format("({:a}{})", rounded, suffix);
}

std::string literal(std::int64_t value, DType compute) {
  if (compute == DType::kF32 || compute == DType::kF64) {
    return literal(static_cast<double>(value), compute);
  }
  if (compute == DType::kBool) return value != 0 ? "true" : "false";
  if (value == std::numeric_limits<std::int64_t>::min()) return "(-9223372036854775807LL - 1)";
  return fmt::format("({}LL)", value);
}

Match elementwise_instance(const Elementwise& e, const Target&) {
  if (e.output.numel() == 0) return Match::no("no elements");
  if (overlaps_itself(e.output)) return Match::no("the output overlaps itself");
  for (const TensorDesc& t : e.inputs) {
    if (t.sizes.size() > e.output.sizes.size()) return Match::no("an input has more dimensions");
  }
  const Layout layout = make_layout(e);
  Instance i;
  i.source = e.name + ".cu";
  i.text = source_text(e, layout);
  i.entry = e.name;
  const std::int64_t threads = (e.output.numel() + layout.width - 1) / layout.width;
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  if (blocks > std::numeric_limits<std::int32_t>::max()) return Match::no("too many elements");
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(kThreads), 1, 1};
  i.geometry.programmatic = true;
  for (std::size_t o = 0; o < e.inputs.size(); ++o) {
    i.params.push_back(Param::input(static_cast<std::int32_t>(o)));
    i.roofline.bytes += static_cast<double>(e.inputs[o].nbytes());
  }
  i.params.push_back(Param::output(0));
  i.roofline.bytes += static_cast<double>(e.output.nbytes());
  i.register_budget = 64;
  return {std::move(i), {}};
}

}  // namespace monograph::kernels
