// A roofline table of our kernels: the least that each sample call of a definition must move and
// compute, and how long that takes at best on one H100 and one H200.
//
//   kernel_roofline [--all] [KERNEL...]     the largest sample of each kernel, or all of them
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "kernels/registry.h"

namespace {

using namespace monograph::kernels;

Target target(double read_bytes_per_us, double boundary_us) {
  Target t;
  t.read_bytes_per_us = read_bytes_per_us;
  t.boundary_us = boundary_us;
  return t;
}

std::string shapes(const Call& call) {
  std::string text;
  for (const TensorDesc& input : call.inputs) {
    text += text.empty() ? "" : ", ";
    text += dtype_name(input.dtype);
    text += '[';
    for (std::size_t i = 0; i < input.sizes.size(); ++i) {
      text += fmt::format("{}{}", i > 0 ? "," : "", input.sizes[i]);
    }
    text += ']';
  }
  return text;
}

struct Line {
  const Call* call;
  Roofline roofline;
  std::int64_t blocks;
};

void print(const Definition& definition, bool all) {
  if (!definition.samples) return;
  const Target h100 = target(3.08e6, 0.95);
  const Target h200 = target(4.6e6, 0.75);
  const std::vector<Call> calls = definition.samples();
  std::vector<Line> lines;
  for (const Call& call : calls) {
    const Match match = definition.match(call, h200);
    if (!match.instance) continue;
    const auto& grid = match.instance->geometry.grid;
    lines.push_back({&call, match.instance->roofline, std::int64_t{grid[0]} * grid[1] * grid[2]});
  }
  std::ranges::stable_sort(lines, std::ranges::greater{},
                           [](const Line& l) { return l.roofline.bytes; });
  if (!all && lines.size() > 1) lines.resize(1);
  for (const Line& l : lines) {
    fmt::print("| {} | {} {} | {} | {:.0f} | {:.0f} | {:.3f} | {:.3f} |\n", definition.name,
               l.call->op, shapes(*l.call), l.blocks, l.roofline.bytes, l.roofline.flops,
               l.roofline.predicted_us(h100), l.roofline.predicted_us(h200));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> given(argv + 1, static_cast<std::size_t>(argc - 1));
  std::set<std::string> wanted(given.begin(), given.end());
  const bool all = wanted.erase("--all") > 0;
  for (const std::string& name : wanted) {
    if (find_definition(name) != nullptr) continue;
    fmt::print(stderr, "error: no kernel is called '{}'; there are", name);
    for (const Definition& d : definitions()) fmt::print(stderr, " {}", d.name);
    fmt::print(stderr, "\n");
    return 2;
  }
  fmt::print(
      "| kernel | call | blocks | bytes | FLOP | us at best, H100 | us at best, H200 |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const Definition& d : definitions()) {
    if (wanted.empty() || wanted.contains(d.name)) print(d, all);
  }
  return 0;
}
