#include "kernels/fusion/pointwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/fusion/source.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kThreads = 256;

enum class Access { kVector, kUniform, kScalar };

struct Plan {
  Space space;
  std::int64_t width = 1;
  bool tail = false;  ///< the last thread has fewer elements
  bool wide = false;
  std::vector<Access> access;  ///< loads, then stores
};

Plan make_plan(const Program& program) {
  Plan p;
  p.space = collapse(program, false);
  p.width = vector_width(program, p.space, nullptr);
  p.wide = needs_wide_index(program);
  p.tail = p.space.sizes.back() % p.width != 0;
  for (const auto& strides : p.space.strides) {
    p.access.push_back(strides.back() == 0                  ? Access::kUniform
                       : strides.back() == 1 && p.width > 1 ? Access::kVector
                                                            : Access::kScalar);
  }
  return p;
}

std::string pointer(const Operand& o, bool output) {
  const std::string base = fmt::format("{}{}", output ? "out" : "in", o.tensor);
  return o.offset == 0 ? base : fmt::format("({} + {}LL)", base, o.offset);
}

/// Element `k` of operand `o`, without vectors.
std::string element(const Operand& operand, bool output, std::size_t o, std::int64_t stride) {
  return stride == 0 ? fmt::format("{}[o{}]", pointer(operand, output), o)
                     : fmt::format("{}[o{} + k * {}]", pointer(operand, output), o, stride);
}

/// Statements that compute every node for element k and hand the results to `store`.
std::string body_lines(const Program& program, const Plan& plan, bool vectors) {
  std::string s;
  for (std::size_t n = 0; n < program.nodes.size(); ++n) {
    const Node& node = program.nodes[n];
    std::string value;
    if (node.kind == Node::Kind::kLoad) {
      const auto o = static_cast<std::size_t>(node.operand);
      const bool vector = vectors && plan.access[o] == Access::kVector;
      value = vector ? fmt::format("p{}.v[k]", o)
                     : element(program.loads[o], false, o, plan.space.strides[o].back());
      value = fmt::format("mg::convert<{}>({})", type_text(node.type), value);
    } else {
      std::vector<std::string> names;
      for (const int a : node.args) names.push_back(fmt::format("v{}", a));
      value = value_text(program, node, names);
    }
    s += fmt::format("      const {} v{} = {};\n", type_text(node.type), n, value);
  }
  for (std::size_t i = 0; i < program.stores.size(); ++i) {
    const std::size_t o = program.loads.size() + i;
    const Operand& operand = program.stores[i].operand;
    const std::string value =
        fmt::format("mg::convert<{}>(v{})", device_type(operand.dtype), program.stores[i].node);
    const bool vector = vectors && plan.access[o] == Access::kVector;
    s += fmt::format("      {} = {};\n",
                     vector ? fmt::format("p{}.v[k]", o)
                            : element(operand, true, o, plan.space.strides[o].back()),
                     value);
  }
  return s;
}

std::string vector_part(const Program& program, const Plan& plan) {
  std::string s;
  const auto operands = operands_of(program);
  for (std::size_t o = 0; o < operands.size(); ++o) {
    if (plan.access[o] != Access::kVector) continue;
    const std::string_view type = device_type(operands[o]->dtype);
    s += o < program.loads.size()
             ? fmt::format(
                   "    const mg::Pack<{0}, {1}> p{2} = mg::load_pack<{0}, {1}>({3} + o{2});\n",
                   type, plan.width, o, pointer(*operands[o], false))
             : fmt::format("    mg::Pack<{}, {}> p{};\n", type, plan.width, o);
  }
  s += fmt::format("#pragma unroll\n    for (int k = 0; k < {}; ++k) {{\n", plan.width);
  s += body_lines(program, plan, true) + "    }\n";
  for (std::size_t o = program.loads.size(); o < operands.size(); ++o) {
    if (plan.access[o] != Access::kVector) continue;
    s +=
        fmt::format("    mg::store_pack<{}, {}>({} + o{}, p{});\n", device_type(operands[o]->dtype),
                    plan.width, pointer(*operands[o], true), o, o);
  }
  return s;
}

std::string source_text(const Program& program, const Plan& plan, const Signature& signature,
                        const std::string& entry) {
  const char* type = plan.wide ? "long long" : "int";
  const std::int64_t n = plan.space.elements();
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/elementwise.cuh\"\n\n";
  s += fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                   entry, signature.text);
  s += "  mg::pdl_launch();\n  mg::pdl_wait();\n";
  s += fmt::format("  const {0} i = (static_cast<{0}>(blockIdx.x) * {1} + threadIdx.x) * {2};\n",
                   type, kThreads, plan.width);
  s += fmt::format("  if (i >= {}{}) return;\n", n, plan.wide ? "LL" : "");
  s += offset_lines(plan.space, "i", plan.wide, "o",
                    std::vector<bool>(plan.space.strides.size(), true));
  if (plan.tail) s += fmt::format("  if (i + {} <= {}) {{\n", plan.width, n);
  s += plan.tail ? vector_part(program, plan) : "  {\n" + vector_part(program, plan) + "  }\n";
  if (plan.tail) {
    s += fmt::format("  }} else {{\n    for (int k = 0; i + k < {}; ++k) {{\n", n);
    s += body_lines(program, plan, false) + "    }\n  }\n";
  }
  s += fmt::format("}}\nKERNEL_EXPORT({})\n", entry);
  return s;
}

}  // namespace

Match pointwise_instance(const Call& call, const Target&, const std::string& entry) {
  Built built = build(call);
  if (!built.program) return Match::no(std::move(built.reason));
  const Program& program = *built.program;
  if (std::find(program.reduced.begin(), program.reduced.end(), true) != program.reduced.end()) {
    return Match::no("it reduces");
  }
  const Plan plan = make_plan(program);
  const Signature sig = signature(program, call);
  Instance i;
  i.source = entry + ".cu";
  i.text = source_text(program, plan, sig, entry);
  i.entry = entry;
  const std::int64_t threads = (plan.space.elements() + plan.width - 1) / plan.width;
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  if (blocks > std::numeric_limits<std::int32_t>::max()) return Match::no("too many elements");
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(kThreads), 1, 1};
  i.geometry.programmatic = true;
  i.params = sig.params;
  i.roofline = roofline(program);
  i.register_budget = 128;
  return {std::move(i), {}};
}

}  // namespace monograph::kernels::fusion
