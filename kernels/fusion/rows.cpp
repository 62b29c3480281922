#include "kernels/fusion/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "kernels/elementwise/elementwise.h"
#include "kernels/fusion/source.h"

namespace monograph::kernels::fusion {
namespace {

constexpr std::int64_t kBlock = 128;         // threads of a block where rows are short
constexpr std::int64_t kMostThreads = 1024;  // of a row
constexpr std::int64_t kCachedBytes = 128;   // of a row, a thread
constexpr std::int64_t kColumnWarps = 8;

std::int64_t power_of_two_from(std::int64_t n) {
  std::int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

struct Plan {
  Space rows, columns;
  std::int64_t width = 1;    // elements of a row that travel together
  std::int64_t threads = 1;  // of a row
  std::int64_t rows_per_block = 1;
  std::int64_t chunks = 1;  // vectors of a row a thread
  bool by_column = false;   // lanes take rows
  bool cached = false;      // a thread's part of the row stays in registers
  bool wide = false;
  std::int64_t block() const { return threads * rows_per_block; }
};

/// Whether neighbours in memory belong to different rows.
bool walks_down(const Program& program, const Plan& p) {
  int along = 0;
  int across = 0;
  for (std::size_t o = 0; o < program.loads.size(); ++o) {
    if (p.columns.strides[o].back() == 1) ++along;
    if (p.columns.strides[o].back() > 1 && p.rows.strides[o].back() == 1) ++across;
  }
  return across > along;
}

std::int64_t column_bytes(const Program& program, const Plan& p) {
  std::int64_t bytes = 0;
  for (const Node& n : program.nodes) {
    if (n.kind != Node::Kind::kLoad || n.row) continue;
    const Operand& o = program.loads[static_cast<std::size_t>(n.operand)];
    bytes += std::max<std::int64_t>(4, p.width * itemsize(o.dtype));
  }
  return bytes;
}

Plan make_plan(const Program& program, const Target& target) {
  Plan p;
  p.rows = collapse(program, false);
  p.columns = collapse(program, true);
  p.wide = needs_wide_index(program);
  const std::int64_t rows = p.rows.elements();
  const std::int64_t columns = p.columns.elements();
  p.by_column = walks_down(program, p) && rows >= 32;
  if (p.by_column) {
    p.threads = std::min(kColumnWarps, power_of_two_from(columns));
    p.rows_per_block = 32;
    p.chunks = (columns + p.threads - 1) / p.threads;
    return p;
  }
  p.width = vector_width(program, p.columns, &p.rows);
  const std::int64_t vectors = (columns + p.width - 1) / p.width;
  const bool few = rows < 2 * target.multiprocessors;
  p.threads = std::clamp<std::int64_t>(power_of_two_from(few ? vectors : (vectors + 1) / 2), 4,
                                       kMostThreads);
  p.rows_per_block = std::max<std::int64_t>(1, kBlock / p.threads);
  while (p.rows_per_block > 1 && p.rows_per_block / 2 >= rows &&
         p.threads * p.rows_per_block > 32) {
    p.rows_per_block /= 2;
  }
  p.chunks = (vectors + p.threads - 1) / p.threads;
  p.cached = p.chunks * column_bytes(program, p) <= kCachedBytes;
  return p;
}

class Writer {
 public:
  Writer(const Program& program, const Plan& plan) : program_(program), plan_(plan) {
    for (const Node& n : program.nodes) levels_ = std::max(levels_, n.level);
  }

  std::string source(const Signature& signature, const std::string& entry) {
    text_ = "#include \"mg/device.cuh\"\n#include \"mg/rows.cuh\"\n\n";
    line("extern \"C\" __global__ void __launch_bounds__({}) {}({}) {{", plan_.block(), entry,
         signature.text);
    line("  mg::pdl_launch();\n  mg::pdl_wait();");
    row_start();
    row_nodes(0);
    if (plan_.cached) fill_cache();
    for (int level = 1; level <= levels_; ++level) {
      reduce(level);
      row_nodes(level);
    }
    finish();
    line("}}\nKERNEL_EXPORT({})", entry);
    return std::move(text_);
  }

 private:
  template <class... A>
  void line(fmt::format_string<A...> format, A&&... args) {
    text_ += fmt::format(format, std::forward<A>(args)...) + "\n";
  }

  const char* index_type() const { return plan_.wide ? "long long" : "int"; }

  bool in_column(std::size_t operand) const {
    return std::ranges::any_of(plan_.columns.strides[operand],
                               [](std::int64_t s) { return s != 0; });
  }
  const Operand& operand(std::size_t o) const { return *operands_of(program_)[o]; }

  std::string pointer(std::size_t o) const {
    return fusion::pointer(operand(o), o >= program_.loads.size());
  }

  void row_start() {
    const char* type = index_type();
    if (plan_.by_column) {
      line("  const int t = static_cast<int>(threadIdx.x) / 32;");
      line("  {0} row = static_cast<{0}>(blockIdx.x) * 32 + static_cast<int>(threadIdx.x) % 32;",
           type);
    } else {
      line("  const int t = static_cast<int>(threadIdx.x) % {};", plan_.threads);
      line("  {0} row = static_cast<{0}>(blockIdx.x) * {1} + static_cast<int>(threadIdx.x) / {2};",
           type, plan_.rows_per_block, plan_.threads);
    }
    // Threads beyond the last row work on it too, because reductions need every thread.
    line("  const bool live = row < {};\n  if (!live) row = {};", plan_.rows.elements(),
         plan_.rows.elements() - 1);
    text_ += offset_lines(plan_.rows, "row", plan_.wide, "o",
                          std::vector<bool>(plan_.rows.strides.size(), true));
  }

  std::string node_value(std::size_t n) {
    std::vector<std::string> names;
    for (const int a : program_.nodes[n].args) names.push_back(fmt::format("v{}", a));
    return value_text(program_, program_.nodes[n], names);
  }

  /// Nodes that are the same all along the row and depend on `level` reductions.
  void row_nodes(int level) {
    for (std::size_t n = 0; n < program_.nodes.size(); ++n) {
      const Node& node = program_.nodes[n];
      if (!node.row || node.level != level || node.kind == Node::Kind::kReduce) continue;
      const std::string type = type_text(node.type);
      if (node.kind == Node::Kind::kLoad) {
        const auto o = static_cast<std::size_t>(node.operand);
        line("  const {} v{} = mg::convert<{}>({}[o{}]);", type, n, type, pointer(o), o);
      } else {
        line("  const {} v{} = {};", type, n, node_value(n));
      }
    }
  }

  /// Nodes that vary along the row and are needed for `roots`, in order.
  std::vector<bool> needed(const std::vector<int>& roots) const {
    std::vector<bool> mark(program_.nodes.size(), false);
    for (const int r : roots) mark[static_cast<std::size_t>(r)] = true;
    for (std::size_t n = program_.nodes.size(); n-- > 0;) {
      const Node& node = program_.nodes[n];
      if (!mark[n] || node.row || node.kind == Node::Kind::kReduce) continue;
      for (const int a : node.args) mark[static_cast<std::size_t>(a)] = true;
    }
    for (std::size_t n = 0; n < mark.size(); ++n) {
      if (program_.nodes[n].row) mark[n] = false;
    }
    return mark;
  }

  std::vector<bool> loads_of(const std::vector<bool>& nodes) const {
    std::vector<bool> loads(program_.loads.size(), false);
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (nodes[n] && program_.nodes[n].kind == Node::Kind::kLoad) {
        loads[static_cast<std::size_t>(program_.nodes[n].operand)] = true;
      }
    }
    return loads;
  }

  bool is_vector(std::size_t o) const {
    return plan_.width > 1 && plan_.columns.strides[o].back() == 1;
  }

  void fill_cache() {
    std::vector<bool> all(program_.loads.size(), false);
    for (const Node& n : program_.nodes) {
      if (n.kind == Node::Kind::kLoad && !n.row) all[static_cast<std::size_t>(n.operand)] = true;
    }
    for (std::size_t o = 0; o < all.size(); ++o) {
      if (!all[o]) continue;
      line("  mg::Pack<{}, {}> p{}[{}];", device_type(operand(o).dtype), plan_.width, o,
           plan_.chunks);
    }
    chunk_start(all);
    for (std::size_t o = 0; o < all.size(); ++o) {
      if (all[o]) load_chunk(o, fmt::format("p{}[j]", o));
    }
    chunk_end();
  }

  /// Opens the loop over this thread's chunks and computes offsets of the operands in `wanted`.
  void chunk_start(const std::vector<bool>& wanted) {
    line("#pragma unroll {}", plan_.cached ? plan_.chunks : 1);
    line("  for (int j = 0; j < {}; ++j) {{", plan_.chunks);
    line("    const {0} c = (static_cast<{0}>(j) * {1} + t) * {2};", index_type(), plan_.threads,
         plan_.width);
    line("    if (c >= {}) continue;", plan_.columns.elements());
    std::vector<bool> used = wanted;
    used.resize(program_.loads.size() + program_.stores.size(), false);
    for (std::size_t o = 0; o < used.size(); ++o) used[o] = used[o] && in_column(o);
    text_ += offset_lines(plan_.columns, "c", plan_.wide, "q", used);
  }
  void chunk_end() { line("  }}"); }

  void load_chunk(std::size_t o, const std::string& to) {
    const std::string at = fmt::format("{} + o{} + q{}", pointer(o), o, o);
    if (is_vector(o)) {
      line("    {} = mg::load_pack<{}, {}>({});", to, device_type(operand(o).dtype), plan_.width,
           at);
      return;
    }
    line("#pragma unroll\n    for (int k = 0; k < {}; ++k) {}.v[k] = ({})[k * {}];", plan_.width,
         to, at, plan_.columns.strides[o].back());
  }

  /// Opens the loops over chunks and elements with every marked node computed as v<n>.
  void element_start(const std::vector<bool>& nodes, const std::vector<bool>& also) {
    std::vector<bool> loads = loads_of(nodes);
    std::vector<bool> wanted = plan_.cached ? std::vector<bool>(loads.size(), false) : loads;
    wanted.resize(also.size(), false);
    for (std::size_t o = 0; o < also.size(); ++o) wanted[o] = wanted[o] || also[o];
    chunk_start(wanted);
    for (std::size_t o = 0; o < loads.size() && !plan_.cached; ++o) {
      if (!loads[o]) continue;
      line("    mg::Pack<{}, {}> p{};", device_type(operand(o).dtype), plan_.width, o);
      load_chunk(o, fmt::format("p{}", o));
    }
    for (std::size_t o = program_.loads.size(); o < also.size(); ++o) {
      if (also[o]) line("    mg::Pack<{}, {}> p{};", device_type(operand(o).dtype), plan_.width, o);
    }
    line("#pragma unroll\n    for (int k = 0; k < {}; ++k) {{", plan_.width);
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      if (!nodes[n]) continue;
      const Node& node = program_.nodes[n];
      const std::string type = type_text(node.type);
      if (node.kind == Node::Kind::kLoad) {
        line("      const {} v{} = mg::convert<{}>(p{}{}.v[k]);", type, n, type, node.operand,
             plan_.cached ? "[j]" : "");
      } else {
        line("      const {} v{} = {};", type, n, node_value(n));
      }
    }
  }

  struct Reduction {
    std::string value_type, initial, op;
    bool place = false;
  };
  static Reduction describe(const Node& node) {
    const bool integer = node.compute == DType::kI64;
    const std::string type = type_text(node.compute);
    const std::string infinity = node.compute == DType::kF64 ? "mg::inf64()" : "mg::inf32()";
    const std::string lowest = integer ? "(-9223372036854775807LL - 1)" : "-" + infinity;
    const std::string highest = integer ? "9223372036854775807LL" : infinity;
    const std::string place = fmt::format("mg::Place<{}>", type);
    constexpr const char* kFar = "9223372036854775807LL";
    switch (node.reduce) {
      case ReduceKind::kSum:
        return {type, "0", "mg::Add()"};
      case ReduceKind::kProduct:
        return {type, "1", "mg::Multiply()"};
      case ReduceKind::kMax:
        return {type, lowest, "mg::Larger()"};
      case ReduceKind::kMin:
        return {type, highest, "mg::Smaller()"};
      case ReduceKind::kArgMax:
        return {place, fmt::format("{{{}, {}}}", lowest, kFar), "mg::LargestPlace()", true};
      case ReduceKind::kArgMin:
        return {place, fmt::format("{{{}, {}}}", highest, kFar), "mg::SmallestPlace()", true};
    }
    return {};
  }

  void reduce(int level) {
    std::vector<int> roots;
    std::vector<std::size_t> found;
    for (std::size_t n = 0; n < program_.nodes.size(); ++n) {
      const Node& node = program_.nodes[n];
      if (node.kind != Node::Kind::kReduce || node.level != level) continue;
      found.push_back(n);
      roots.push_back(node.args[0]);
    }
    for (const std::size_t n : found) {
      const Reduction r = describe(program_.nodes[n]);
      line("  {} a{} = {};", r.value_type, n, r.initial);
    }
    element_start(needed(roots), std::vector<bool>(operands_of(program_).size(), false));
    for (const std::size_t n : found) {
      const Reduction r = describe(program_.nodes[n]);
      const int arg = program_.nodes[n].args[0];
      const std::string value =
          r.place ? fmt::format("{}{{v{}, static_cast<long long>(c) + k}}", r.value_type, arg)
                  : fmt::format("v{}", arg);
      line("      a{} = {}(a{}, {});", n, r.op, n, value);
    }
    line("    }}");
    chunk_end();
    for (const std::size_t n : found) combine(n);
  }

  void combine(std::size_t n) {
    const Reduction r = describe(program_.nodes[n]);
    const bool shared = plan_.by_column || plan_.threads > 32;
    if (shared)
      line("  __shared__ {} part{}[{}];", r.value_type, n,
           plan_.by_column ? plan_.block() : plan_.block() / 32);
    const std::string part =
        shared ? fmt::format("part{}", n) : fmt::format("static_cast<{}*>(nullptr)", r.value_type);
    line("  const {} v{} = mg::{}_reduce<{}>(a{}, {}, {}){};", type_text(program_.nodes[n].type), n,
         plan_.by_column ? "column" : "group", plan_.threads, n, r.op, part,
         r.place ? ".index" : "");
  }

  void finish() {
    const auto operands = operands_of(program_);
    std::vector<int> roots;
    std::vector<bool> full(operands.size(), false);
    for (std::size_t i = 0; i < program_.stores.size(); ++i) {
      const std::size_t o = program_.loads.size() + i;
      if (in_column(o)) {
        full[o] = true;
        roots.push_back(program_.stores[i].node);
        continue;
      }
      line("  if (live && t == 0) {}[o{}] = mg::convert<{}>(v{});", pointer(o), o,
           device_type(operands[o]->dtype), program_.stores[i].node);
    }
    if (roots.empty()) return;
    element_start(needed(roots), full);
    for (std::size_t o = program_.loads.size(); o < full.size(); ++o) {
      if (!full[o]) continue;
      line("      p{}.v[k] = mg::convert<{}>(v{});", o, device_type(operands[o]->dtype),
           program_.stores[o - program_.loads.size()].node);
    }
    line("    }}");
    for (std::size_t o = program_.loads.size(); o < full.size(); ++o) {
      if (full[o]) store_chunk(o);
    }
    chunk_end();
  }

  void store_chunk(std::size_t o) {
    const std::string at = fmt::format("{} + o{} + q{}", pointer(o), o, o);
    if (is_vector(o)) {
      line("    if (live) mg::store_pack<{}, {}>({}, p{});", device_type(operand(o).dtype),
           plan_.width, at, o);
      return;
    }
    line(
        "    if (live) {{\n#pragma unroll\n      for (int k = 0; k < {}; ++k) "
        "({})[k * {}] = p{}.v[k];\n    }}",
        plan_.width, at, plan_.columns.strides[o].back(), o);
  }

  const Program& program_;
  const Plan& plan_;
  int levels_ = 0;
  std::string text_;
};

}  // namespace

Match rows_instance(const Call& call, const Target& target, const std::string& entry) {
  Built built = build(call);
  if (!built.program) return Match::no(std::move(built.reason));
  const Program& program = *built.program;
  if (std::find(program.reduced.begin(), program.reduced.end(), true) == program.reduced.end() &&
      std::ranges::none_of(program.nodes,
                           [](const Node& n) { return n.kind == Node::Kind::kReduce; })) {
    return Match::no("it doesn't reduce");
  }
  for (const Operand& o : program.loads) {
    if (o.tensor == Operand::kCoordinate) return Match::no("a concatenation with a reduction");
    for (const Gather& g : o.gathers) {
      const Node& position = program.nodes[static_cast<std::size_t>(g.node)];
      if (!position.row || position.level > 0) return Match::no("a lookup along a row");
    }
  }
  const Plan plan = make_plan(program, target);
  const Signature sig = signature({program}, call);
  Instance i;
  i.source = entry + ".cu";
  i.text = Writer(program, plan).source(sig, entry);
  i.entry = entry;
  const std::int64_t blocks =
      (plan.rows.elements() + plan.rows_per_block - 1) / plan.rows_per_block;
  if (blocks > std::numeric_limits<std::int32_t>::max()) return Match::no("too many rows");
  i.geometry.grid = {static_cast<std::uint32_t>(blocks), 1, 1};
  i.geometry.block = {static_cast<std::uint32_t>(plan.block()), 1, 1};
  i.geometry.programmatic = true;
  i.params = sig.params;
  i.roofline = roofline(program);
  i.register_budget = plan.block() > 512 ? 64 : 128;
  return {std::move(i), {}};
}

}  // namespace monograph::kernels::fusion
