#include "kernels/fusion/pointwise.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/fusion/source.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kThreads = 256;

enum class Access { kVector, kUniform, kScalar };

/// One program of the kernel, and the blocks that run it.
struct Segment {
  const Program* program = nullptr;
  Space space;
  std::int64_t width = 1;
  bool tail = false;  ///< the last thread has fewer elements
  bool wide = false;
  std::vector<Access> access;  ///< loads, then stores
  std::vector<bool> uniform;   ///< nodes that are the same for all elements of a thread
  std::int64_t blocks = 0;

  explicit Segment(const Program& p);
};

Segment::Segment(const Program& p) : program(&p), space(collapse(p, false)) {
  width = vector_width(p, space, nullptr);
  wide = needs_wide_index(p);
  tail = space.sizes.back() % width != 0;
  const auto operands = operands_of(p);
  for (std::size_t o = 0; o < operands.size(); ++o) {
    const std::int64_t stride = space.strides[o].back();
    access.push_back(stride == 0                                            ? Access::kUniform
                     : stride == 1 && width > 1 && operands[o]->tensor >= 0 ? Access::kVector
                                                                            : Access::kScalar);
  }
  for (const Node& n : p.nodes) {
    bool same = n.kind != Node::Kind::kLoad ||
                access[static_cast<std::size_t>(n.operand)] == Access::kUniform;
    for (const int a : n.args) same = same && uniform[static_cast<std::size_t>(a)];
    uniform.push_back(same);
  }
  // What is found by a position that differs from element to element is loaded one by one.
  for (std::size_t o = 0; o < operands.size(); ++o) {
    for (const Gather& g : operands[o]->gathers) {
      if (!uniform[static_cast<std::size_t>(g.node)]) width = 1;
    }
  }
  if (width == 1) {
    tail = false;
    for (Access& a : access) a = a == Access::kVector ? Access::kScalar : a;
  }
  const std::int64_t threads = (space.elements() + width - 1) / width;
  blocks = (threads + kThreads - 1) / kThreads;
}

/// Element `k` of operand `o`, without vectors.
std::string element(const Operand& operand, bool output, std::size_t o, std::int64_t stride) {
  const std::string at =
      stride == 0 ? fmt::format("o{}", o) : fmt::format("o{} + k * {}", o, stride);
  if (operand.tensor == Operand::kCoordinate) return fmt::format("static_cast<long long>({})", at);
  return fmt::format("{}[{}]", pointer(operand, output), at);
}

std::string node_line(const Segment& s, std::size_t n, bool vectors) {
  const Node& node = s.program->nodes[n];
  std::string value;
  if (node.kind == Node::Kind::kLoad) {
    const auto o = static_cast<std::size_t>(node.operand);
    const bool vector = vectors && s.access[o] == Access::kVector;
    value = vector ? fmt::format("p{}.v[k]", o)
                   : element(s.program->loads[o], false, o, s.space.strides[o].back());
    value = fmt::format("mg::convert<{}>({})", type_text(node.type), value);
  } else {
    std::vector<std::string> names;
    for (const int a : node.args) names.push_back(fmt::format("v{}", a));
    value = value_text(*s.program, node, names);
  }
  return fmt::format("      const {} v{} = {};\n", type_text(node.type), n, value);
}

/// Statements that compute every node for element k and store the results.
std::string element_lines(const Segment& s, bool vectors) {
  std::string text;
  for (std::size_t n = 0; n < s.program->nodes.size(); ++n) {
    if (!s.uniform[n]) text += node_line(s, n, vectors);
  }
  for (std::size_t i = 0; i < s.program->stores.size(); ++i) {
    const std::size_t o = s.program->loads.size() + i;
    const Operand& operand = s.program->stores[i].operand;
    const bool vector = vectors && s.access[o] == Access::kVector;
    text += fmt::format(
        "      {} = mg::convert<{}>(v{});\n",
        vector ? fmt::format("p{}.v[k]", o) : element(operand, true, o, s.space.strides[o].back()),
        device_type(operand.dtype), s.program->stores[i].node);
  }
  return text;
}

std::string vector_part(const Segment& s) {
  std::string text;
  const auto operands = operands_of(*s.program);
  const std::size_t loads = s.program->loads.size();
  for (std::size_t o = 0; o < operands.size(); ++o) {
    if (s.access[o] != Access::kVector) continue;
    const std::string_view type = device_type(operands[o]->dtype);
    text += o < loads
                ? fmt::format(
                      "    const mg::Pack<{0}, {1}> p{2} = mg::load_pack<{0}, {1}>({3} + o{2});\n",
                      type, s.width, o, pointer(*operands[o], false))
                : fmt::format("    mg::Pack<{}, {}> p{};\n", type, s.width, o);
  }
  text += fmt::format("#pragma unroll\n    for (int k = 0; k < {}; ++k) {{\n", s.width);
  text += element_lines(s, true) + "    }\n";
  for (std::size_t o = loads; o < operands.size(); ++o) {
    if (s.access[o] != Access::kVector) continue;
    text +=
        fmt::format("    mg::store_pack<{}, {}>({} + o{}, p{});\n", device_type(operands[o]->dtype),
                    s.width, pointer(*operands[o], true), o, o);
  }
  return text;
}

std::string segment_text(const Segment& s, std::int64_t first_block) {
  const char* type = s.wide ? "long long" : "int";
  const std::int64_t n = s.space.elements();
  std::string text = fmt::format(
      "  const {0} i = ((static_cast<{0}>(blockIdx.x) - {1}) * {2} + threadIdx.x) * {3};\n", type,
      first_block, kThreads, s.width);
  text += fmt::format("  if (i >= {}{}) return;\n", n, s.wide ? "LL" : "");
  text += offset_lines(s.space, "i", s.wide, "o", std::vector<bool>(s.space.strides.size(), true));
  for (std::size_t k = 0; k < s.program->nodes.size(); ++k) {
    if (s.uniform[k]) text += node_line(s, k, false);
  }
  if (s.tail) text += fmt::format("  if (i + {} <= {}) {{\n", s.width, n);
  text += s.tail ? vector_part(s) : "  {\n" + vector_part(s) + "  }\n";
  if (s.tail) {
    text += fmt::format("  }} else {{\n    for (int k = 0; i + k < {}; ++k) {{\n", n);
    text += element_lines(s, false) + "    }\n  }\n";
  }
  return text;
}

std::string source_text(const std::vector<Segment>& segments, const Signature& signature,
                        const std::string& entry) {
  std::string s = "#include \"mg/device.cuh\"\n#include \"mg/elementwise.cuh\"\n\n";
  s += fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{\n", kThreads,
                   entry, signature.text);
  s += "  mg::pdl_launch();\n" + signature.early + "  mg::pdl_wait();\n";
  std::int64_t block = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (!last) s += fmt::format("  if (blockIdx.x < {}) {{\n", block + segments[i].blocks);
    s += segment_text(segments[i], block);
    if (!last) s += "  return;\n  }\n";
    block += segments[i].blocks;
  }
  return s + fmt::format("}}\nKERNEL_EXPORT({})\n", entry);
}

}  // namespace

Match pointwise_instance(const Call& call, const Target&, const std::string& entry) {
  Segments built = build_segments(call);
  if (built.programs.empty()) return Match::no(std::move(built.reason));
  std::vector<Segment> segments;
  Instance i;
  std::int64_t blocks = 0;
  for (const Program& p : built.programs) {
    const auto reduces = [](const Node& n) { return n.kind == Node::Kind::kReduce; };
    if (std::ranges::any_of(p.nodes, reduces)) return Match::no("it reduces");
    segments.emplace_back(p);
    blocks += segments.back().blocks;
    const Roofline r = roofline(p);
    i.roofline.bytes += r.bytes;
    i.roofline.flops += r.flops;
  }
  if (blocks > std::numeric_limits<std::int32_t>::max()) return Match::no("too many elements");
  const Signature sig = signature(built.programs, call);
  i.source = entry + ".cu";
  i.text = source_text(segments, sig, entry);
  i.entry = entry;
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(kThreads), 1, 1};
  i.geometry.programmatic = true;
  i.params = sig.params;
  i.register_budget = 128;
  return {std::move(i), {}};
}

}  // namespace monograph::kernels::fusion
