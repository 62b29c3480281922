// Every registered kernel through NVRTC for the architectures we support: no spills, within its
// register budget. Prints what each one uses.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <utility>

#include "kernels/compile/compiler.h"
#include "kernels/registry.h"

namespace kernels_test {
namespace {

using namespace monograph::kernels;

/// What tells a kernel from others: each combination of dtypes among the samples, or, where source
/// is written by hand, whose specialisations differ in more than that, its text.
std::string key_of(const Definition& d, const Call& call, const Instance& i) {
  if (!d.expand && !i.text.empty()) return i.text;
  std::string key = i.text.empty() ? i.source : "";
  for (const auto& [name, value] : i.constants) key += name + "=" + value + ";";
  for (const TensorDesc& t : call.inputs) key += std::string(dtype_name(t.dtype)) + ",";
  for (const TensorDesc& t : call.outputs) key += std::string(dtype_name(t.dtype)) + ",";
  return key;
}

/// Also for few multiprocessors: samples are small, and some kernels choose their tiles by what a
/// multiprocessor has to do.
std::vector<Instance> distinct(const Definition& d, const Target& target) {
  std::vector<Instance> out;
  std::set<std::string> seen;
  Target few = target;
  few.multiprocessors = 4;
  for (const Call& call : d.samples()) {
    for (const Target* t : {&target, &std::as_const(few)}) {
      Match m = d.match(call, *t);
      // Only sm_90 has to do for every sample.
      if (target.arch != "sm_90" && m.reason.starts_with("needs ")) continue;
      EXPECT_TRUE(m.instance || t == &few) << d.name << ": " << m.reason;
      if (!m.instance) continue;
      m.instance->kernel = d.name;
      if (seen.insert(key_of(d, call, *m.instance)).second) {
        out.push_back(std::move(*m.instance));
      }
    }
  }
  return out;
}

class CompileCheck : public testing::TestWithParam<std::string> {};

TEST_P(CompileCheck, EveryKernelFitsInRegisters) {
  Target target;
  target.arch = GetParam();
  target.multiprocessors = target.arch == "sm_80" ? 108 : 132;
  target.has_programmatic_launch = target.arch != "sm_80";
  target.shared_per_block = target.arch == "sm_80" ? 166912 : 232448;
  target.shared_per_multiprocessor = target.arch == "sm_80" ? 167936 : 233472;
  std::vector<Instance> all;
  for (const Definition& d : definitions()) {
    ASSERT_TRUE(d.samples) << d.name;
    std::vector<Instance> some = distinct(d, target);
    ASSERT_TRUE(!some.empty() || d.name == "tiles") << d.name << " has no sample that it matches";
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  std::vector<const Instance*> wanted;
  for (const Instance& i : all) wanted.push_back(&i);
  const Compiler compiler(KERNEL_CACHE, 2);
  const std::vector<Compiled> built = compiler.compile(wanted, target.arch);
  double milliseconds = 0;
  std::printf("%-18s %-32s %5s %6s %7s %6s %7s\n", target.arch.c_str(), "entry", "block", "regs",
              "shared", "spills", "blocks");
  for (std::size_t i = 0; i < built.size(); ++i) {
    const Instance& k = all[i];
    const Resources& r = built[i].resources;
    const auto& b = k.geometry.block;
    std::printf("%-18s %-32s %5u %6d %7d %6d %7.0f\n", k.kernel.c_str(), k.entry.c_str(),
                b[0] * b[1] * b[2], r.registers,
                r.static_shared_bytes + static_cast<int>(k.geometry.dynamic_shared_bytes),
                r.spill_stores + r.spill_loads, r.blocks_per_multiprocessor);
    milliseconds += built[i].milliseconds;
    EXPECT_GT(r.registers, 0) << k.kernel << ": no figures from the compiler";
    EXPECT_EQ(r.spill_stores, 0) << k.kernel << "\n" << k.text;
    EXPECT_EQ(r.spill_loads, 0) << k.kernel;
    EXPECT_GE(r.blocks_per_multiprocessor, 1) << k.kernel;
    if (k.register_budget > 0) {
      EXPECT_LE(r.registers, k.register_budget) << k.kernel;
    }
  }
  std::printf("%zu kernels, %.0f ms of compiling for %s\n", built.size(), milliseconds,
              target.arch.c_str());
}

INSTANTIATE_TEST_SUITE_P(Architectures, CompileCheck, testing::Values("sm_80", "sm_90", "sm_100"),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace kernels_test
