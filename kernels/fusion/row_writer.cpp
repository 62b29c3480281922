#include "kernels/fusion/row_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/elementwise/elementwise.h"

namespace monograph::kernels::fusion {
namespace {

struct Reduction {
  std::string value_type, initial, op;
  bool place = false;
};

class Writer {
 public:
  Writer(const Program& program, const RowPlan& plan) : program_(program), plan_(plan) {
    for (const Node& n : program.nodes) levels_ = std::max(levels_, n.level);
  }

  /// What each thread does, from block `first_block` on.
  std::string body(std::int64_t first_block) {
    first_block_ = first_block;
    return body();
  }
  /// What some warps of a block do.
  std::string body(const SomeRows& rows) {
    some_ = &rows;
    return body();
  }

  /// Parameters for what blocks that share a row tell each other.
  std::string split_parameters() const {
    if (plan_.splits == 1) return {};
    std::string s;
    for (std::size_t n = 0; n < program_.nodes.size(); ++n) {
      if (program_.nodes[n].kind != Node::Kind::kReduce) continue;
      s += fmt::format(", {}* shares{}", describe(program_.nodes[n]).value_type, n);
    }
    return s + ", unsigned* tickets";
  }

 private:
  template <class... A>
  void line(fmt::format_string<A...> format, A&&... args) {
    text_ += fmt::format(format, std::forward<A>(args)...) + "\n";
  }

  std::string body() {
    row_start();
    row_nodes(0);
    if (plan_.cached) fill_cache();
    for (int level = 1; level <= levels_; ++level) {
      reduce(level);
      row_nodes(level);
    }
    finish();
    return std::move(text_);
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
    if (some_) return some_start();
    const std::string block =
        first_block_ == 0 ? "blockIdx.x" : fmt::format("(blockIdx.x - {}u)", first_block_);
    if (plan_.by_column) {
      line("  const int t = static_cast<int>(threadIdx.x) / 32;");
      line("  {0} row = static_cast<{0}>({1}) * 32 + static_cast<int>(threadIdx.x) % 32;", type,
           block);
    } else {
      line("  const int t = static_cast<int>(threadIdx.x) % {};", plan_.threads);
      line("  {0} row = static_cast<{0}>({1}) * {2} + static_cast<int>(threadIdx.x) / {3};", type,
           block, plan_.rows_per_block, plan_.threads);
    }
    if (plan_.splits > 1) line("  const int share = static_cast<int>(blockIdx.y);");
    // Threads beyond the last row work on it too, because reductions need every thread.
    line("  const bool live = row < {};\n  if (!live) row = {};", plan_.rows.elements(),
         plan_.rows.elements() - 1);
    row_offsets();
  }

  void some_start() {
    const char* type = index_type();
    line("  const int t = static_cast<int>(threadIdx.x) % {};", plan_.threads);
    line("  const int some = (static_cast<int>(threadIdx.x) - {}) / {};", some_->first_warp * 32,
         plan_.threads);
    line("  const bool live = some < {};", some_->count);
    line("  const {0} row = static_cast<{0}>({1}) + (live ? some : {2});", type, some_->first,
         some_->count - 1);
    row_offsets();
  }

  void row_offsets() {
    text_ += offset_lines(plan_.rows, "row", plan_.wide, "o",
                          std::vector<bool>(plan_.rows.strides.size(), true));
  }

  std::string node_value(std::size_t n) {
    std::vector<std::string> names;
    for (const int a : program_.nodes[n].args) names.push_back(fmt::format("v{}", a));
    return value_text(program_, program_.nodes[n], names);
  }

  bool is_place(std::size_t o) const { return operand(o).tensor == Operand::kCoordinate; }
  /// Position of element k of a chunk.
  std::string place(std::size_t o) const {
    return fmt::format("static_cast<long long>(o{0} + q{0} + k * {1})", o,
                       plan_.columns.strides[o].back());
  }

  /// Nodes that are the same all along the row and depend on `level` reductions.
  void row_nodes(int level) {
    for (std::size_t n = 0; n < program_.nodes.size(); ++n) {
      const Node& node = program_.nodes[n];
      if (!node.row || node.level != level || node.kind == Node::Kind::kReduce) continue;
      const std::string type = type_text(node.type);
      if (node.kind == Node::Kind::kLoad) {
        const auto o = static_cast<std::size_t>(node.operand);
        line("  const {} v{} = mg::convert<{}>({});", type, n, type,
             is_place(o) ? fmt::format("o{}", o) : fmt::format("{}[o{}]", pointer(o), o));
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
      if (is_place(o)) continue;
      line("  mg::Pack<{}, {}> p{}[{}];", device_type(operand(o).dtype), plan_.width, o,
           plan_.chunks);
    }
    chunk_start(all);
    for (std::size_t o = 0; o < all.size(); ++o) {
      if (all[o] && !is_place(o)) load_chunk(o, fmt::format("p{}[j]", o));
    }
    chunk_end();
  }

  /// Opens the loop over this thread's chunks and computes offsets of the operands in `wanted`.
  void chunk_start(const std::vector<bool>& wanted) {
    line("#pragma unroll {}", plan_.cached ? plan_.chunks : 1);
    line("  for (int j = 0; j < {}; ++j) {{", plan_.chunks);
    line("    const {0} c = (static_cast<{0}>(j) * {1} + {2}t) * {3};", index_type(),
         plan_.threads * plan_.splits,
         plan_.splits > 1 ? fmt::format("share * {} + ", plan_.threads) : "", plan_.width);
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
    std::vector<bool> wanted = loads;
    for (std::size_t o = 0; o < loads.size(); ++o) {
      if (plan_.cached && !is_place(o)) wanted[o] = false;
    }
    wanted.resize(also.size(), false);
    for (std::size_t o = 0; o < also.size(); ++o) wanted[o] = wanted[o] || also[o];
    chunk_start(wanted);
    for (std::size_t o = 0; o < loads.size() && !plan_.cached; ++o) {
      if (!loads[o] || is_place(o)) continue;
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
      if (node.kind == Node::Kind::kLoad && is_place(static_cast<std::size_t>(node.operand))) {
        const auto o = static_cast<std::size_t>(node.operand);
        line("      const {} v{} = mg::convert<{}>({});", type, n, type, place(o));
      } else if (node.kind == Node::Kind::kLoad) {
        line("      const {} v{} = mg::convert<{}>(p{}{}.v[k]);", type, n, type, node.operand,
             plan_.cached ? "[j]" : "");
      } else {
        line("      const {} v{} = {};", type, n, node_value(n));
      }
    }
  }

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
    if (plan_.splits > 1) share_out(found);
    for (const std::size_t n : found) combine(n);
  }

  bool in_shared() const { return plan_.by_column || plan_.threads > 32; }

  void declare_part(std::size_t n, const Reduction& r) {
    if (!in_shared()) return;
    line("  __shared__ {} part{}[{}];", r.value_type, n,
         plan_.by_column ? plan_.block() : plan_.block() / 32);
  }

  /// The block's value of a{n}.
  std::string reduced(std::size_t n, const Reduction& r) const {
    const std::string part = in_shared() ? fmt::format("part{}", n)
                                         : fmt::format("static_cast<{}*>(nullptr)", r.value_type);
    return fmt::format("mg::{}_reduce<{}>(a{}, {}, {})", plan_.by_column ? "column" : "group",
                       plan_.threads, n, r.op, part);
  }

  void combine(std::size_t n) {
    const Reduction r = describe(program_.nodes[n]);
    if (plan_.splits == 1) declare_part(n, r);
    line("  const {} v{} = {}{};", type_text(program_.nodes[n].type), n, reduced(n, r),
         r.place ? ".index" : "");
  }

  /// The block's part of each reduction goes to memory; the last block of the row takes them all
  /// in, in the same order whichever block that is, and goes on alone.
  void share_out(const std::vector<std::size_t>& found) {
    for (const std::size_t n : found) {
      const Reduction r = describe(program_.nodes[n]);
      declare_part(n, r);
      line("  a{} = {};", n, reduced(n, r));
      line("  if (t == 0) shares{0}[row * {1} + share] = a{0};", n, plan_.splits);
    }
    line("  if (!mg::is_last_block(tickets + row, {}u)) return;", plan_.splits);
    for (const std::size_t n : found) {
      const Reduction r = describe(program_.nodes[n]);
      line("  a{} = {};", n, r.initial);
      line("  for (int i = t; i < {}; i += {}) {{", plan_.splits, plan_.threads);
      line("    a{0} = {1}(a{0}, mg::load_share(shares{0} + row * {2} + i));", n, r.op,
           plan_.splits);
      line("  }}");
    }
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
  const RowPlan& plan_;
  std::int64_t first_block_ = 0;
  const SomeRows* some_ = nullptr;  // if not all
  int levels_ = 0;
  std::string text_;
};

}  // namespace

RowText write_rows(const Program& program, const RowPlan& plan, std::int64_t first_block) {
  Writer writer(program, plan);
  std::string parameters = writer.split_parameters();
  return {writer.body(first_block), std::move(parameters)};
}

std::string write_rows(const Program& program, const RowPlan& plan, const SomeRows& rows) {
  return Writer(program, plan).body(rows);
}

}  // namespace monograph::kernels::fusion
