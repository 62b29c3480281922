#include "kernels/fusion/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <limits>
#include <set>

#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kVectorBytes = 16;
constexpr std::int64_t kWidestBytes = 32;

bool aligned(const Operand& o, const std::vector<std::int64_t>& strides, std::size_t count,
             std::int64_t bytes) {
  if (o.alignment % bytes != 0) return false;
  for (const Gather& g : o.gathers) {
    if (g.stride * itemsize(o.dtype) % bytes != 0) return false;
  }
  for (std::size_t d = 0; d < count; ++d) {
    if (strides[d] * itemsize(o.dtype) % bytes != 0) return false;
  }
  return true;
}

}  // namespace

std::int64_t Space::elements() const noexcept {
  std::int64_t n = 1;
  for (const std::int64_t s : sizes) n *= s;
  return n;
}

std::vector<const Operand*> operands_of(const Program& program) {
  std::vector<const Operand*> out;
  for (const Operand& o : program.loads) out.push_back(&o);
  for (const Store& s : program.stores) out.push_back(&s.operand);
  return out;
}

Space collapse(const Program& program, bool reduced) {
  const auto operands = operands_of(program);
  Space space;
  space.strides.resize(operands.size());
  for (std::size_t a = 0; a < program.axes.size(); ++a) {
    if (program.reduced[a] != reduced) continue;
    const std::int64_t size = program.axes[a];
    bool joins = !space.sizes.empty();
    for (std::size_t o = 0; o < operands.size() && joins; ++o) {
      joins = space.strides[o].back() == operands[o]->strides[a] * size;
    }
    if (joins) space.sizes.back() *= size;
    if (!joins) space.sizes.push_back(size);
    for (std::size_t o = 0; o < operands.size(); ++o) {
      if (joins) space.strides[o].pop_back();
      space.strides[o].push_back(operands[o]->strides[a]);
    }
  }
  if (space.sizes.empty()) {
    space.sizes.push_back(1);
    for (auto& s : space.strides) s.push_back(0);
  }
  return space;
}

std::int64_t vector_width(const Program& program, const Space& inner, const Space* outer) {
  const auto operands = operands_of(program);
  std::int64_t narrowest = kVectorBytes;
  std::int64_t widest = 1;
  for (std::size_t o = 0; o < operands.size(); ++o) {
    if (inner.strides[o].back() != 1 || operands[o]->tensor < 0) continue;
    narrowest = std::min(narrowest, itemsize(operands[o]->dtype));
    widest = std::max(widest, itemsize(operands[o]->dtype));
  }
  const std::int64_t most =
      std::min({kVectorBytes / std::max<std::int64_t>(narrowest, 2), kWidestBytes / widest});
  for (std::int64_t w = most; w > 1; w /= 2) {
    // A dense one-dimensional space has a tail of its own; others are cut evenly.
    const bool dense = outer == nullptr && inner.sizes.size() == 1;
    bool fits = dense || inner.sizes.back() % w == 0;
    for (std::size_t o = 0; o < operands.size() && fits; ++o) {
      const auto& strides = inner.strides[o];
      if (operands[o]->tensor < 0) continue;
      if (strides.back() != 1) {
        // A result that is scattered gains nothing from vectors elsewhere.
        fits = strides.back() == 0 || o < program.loads.size();
        continue;
      }
      const std::int64_t bytes = std::min(kVectorBytes, w * itemsize(operands[o]->dtype));
      fits = aligned(*operands[o], strides, strides.size() - 1, bytes) &&
             (outer == nullptr ||
              aligned(*operands[o], outer->strides[o], outer->strides[o].size(), bytes));
    }
    if (fits) return w;
  }
  return 1;
}

bool needs_wide_index(const Program& program) {
  std::int64_t reach = 1;
  for (const std::int64_t a : program.axes) reach *= a;
  for (const Operand* o : operands_of(program)) {
    if (!o->gathers.empty()) return true;
    std::int64_t extent = std::abs(o->offset) + 1;
    for (std::size_t a = 0; a < program.axes.size(); ++a) {
      extent += (program.axes[a] - 1) * std::abs(o->strides[a]);
    }
    reach = std::max(reach, extent);
  }
  // Room for the threads beyond the end.
  return reach > std::numeric_limits<std::int32_t>::max() - (1 << 20);
}

std::string pointer(const Operand& o, bool output) {
  std::string base = fmt::format("{}{}", output && !o.state ? "out" : "in", o.tensor);
  if (o.offset != 0) base += fmt::format(" + {}LL", o.offset);
  for (const Gather& g : o.gathers) base += fmt::format(" + v{} * {}LL", g.node, g.stride);
  return base.find(' ') == std::string::npos ? base : "(" + base + ")";
}

std::string type_text(DType type) {
  return std::string(device_type(type));
}

std::string value_text(const Program& program, const Node& node,
                       const std::vector<std::string>& names) {
  std::string out;
  const std::string& t = node.text;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const bool starts = i == 0 || (std::isalnum(static_cast<unsigned char>(t[i - 1])) == 0 &&
                                   t[i - 1] != '_' && t[i - 1] != '.');
    if (t[i] != 'x' || !starts || i + 1 >= t.size() ||
        std::isdigit(static_cast<unsigned char>(t[i + 1])) == 0) {
      out += t[i];
      continue;
    }
    const auto which = static_cast<std::size_t>(t[++i] - '0');
    const Node& arg = program.nodes[static_cast<std::size_t>(node.args[which])];
    out += arg.type == node.compute
               ? names[which]
               : fmt::format("mg::convert<{}>({})", type_text(node.compute), names[which]);
  }
  return fmt::format("mg::convert<{}>({})", type_text(node.type), out);
}

std::string offset_lines(const Space& space, const std::string& index, bool wide,
                         const std::string& prefix, const std::vector<bool>& wanted) {
  const char* type = wide ? "long long" : "int";
  const char* suffix = wide ? "LL" : "";
  std::string s;
  for (std::size_t o = 0; o < wanted.size(); ++o) {
    if (wanted[o]) s += fmt::format("    {} {}{} = 0;\n", type, prefix, o);
  }
  s += fmt::format("    {} {}rest = {};\n", type, prefix, index);
  for (std::size_t d = space.sizes.size(); d-- > 0;) {
    if (d == 0) {
      s += fmt::format("    const {} {}c0 = {}rest;\n", type, prefix, prefix);
    } else {
      s += fmt::format("    const {0} {1}c{2} = {1}rest % {3};\n    {1}rest /= {3};\n", type,
                       prefix, d, space.sizes[d]);
    }
    for (std::size_t o = 0; o < wanted.size(); ++o) {
      if (!wanted[o] || space.strides[o][d] == 0) continue;
      s += fmt::format("    {0}{1} += {0}c{2} * {3}{4};\n", prefix, o, d, space.strides[o][d],
                       suffix);
    }
    s += fmt::format("    (void){}c{};\n", prefix, d);
  }
  return s;
}

Signature signature(const std::vector<Program>& programs, const Call& call) {
  Signature s;
  std::set<std::int32_t> used;
  std::set<std::int32_t> written;
  for (const Program& program : programs) {
    for (const Operand& o : program.loads) {
      if (o.tensor >= 0) used.insert(o.tensor);
    }
    for (const Store& store : program.stores) {
      if (store.operand.state) written.insert(store.operand.tensor);
    }
  }
  used.insert(written.begin(), written.end());
  for (const std::int32_t t : used) {
    const TensorDesc& d = call.inputs[static_cast<std::size_t>(t)];
    s.text += fmt::format("{}{}{}* in{}", s.text.empty() ? "" : ", ",
                          written.contains(t) ? "" : "const ", device_type(d.dtype), t);
    s.params.push_back(Param::input(t));
    constexpr std::int64_t kLine = 128;
    constexpr std::int64_t kMost = 32 * kLine;  // one a thread of the smallest block
    if (!d.constant || !d.is_contiguous() || d.nbytes() == 0 || d.nbytes() > kMost) continue;
    s.early += fmt::format(
        "  if (threadIdx.x < {}) mg::prefetch_line(reinterpret_cast<const char*>(in{}) + "
        "threadIdx.x "
        "* {});\n",
        (d.nbytes() + kLine - 1) / kLine, t, kLine);
  }
  for (std::size_t o = 0; o < call.outputs.size(); ++o) {
    s.text += fmt::format("{}{}* out{}", s.text.empty() ? "" : ", ",
                          device_type(call.outputs[o].dtype), o);
    s.params.push_back(Param::output(static_cast<std::int32_t>(o)));
  }
  return s;
}

Roofline roofline(const Program& program) {
  Roofline r;
  for (const Operand* o : operands_of(program)) {
    if (o->tensor < 0) continue;
    double elements = 1;
    for (std::size_t a = 0; a < program.axes.size(); ++a) {
      if (o->strides[a] != 0) elements *= static_cast<double>(program.axes[a]);
    }
    r.bytes += elements * static_cast<double>(itemsize(o->dtype));
  }
  double elements = 1;
  for (const std::int64_t a : program.axes) elements *= static_cast<double>(a);
  constexpr double kScalarCost = 16;  // against the tensor cores' rate
  for (const Node& n : program.nodes) {
    if (!n.row && n.kind != Node::Kind::kLoad) r.flops += kScalarCost * elements;
  }
  return r;
}

}  // namespace monograph::kernels::fusion
