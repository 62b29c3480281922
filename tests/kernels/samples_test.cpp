// Every registered kernel on the samples that its definition gives: results against long double,
// bit-identical in every order of blocks and threads, nothing else written.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>

#include "kernels/elementwise/definitions.h"
#include "kernels/registry.h"
#include "tests/kernels/device.h"
#include "tests/kernels/reference.h"

namespace kernels_test {
namespace {

using monograph::kernels::Definition;
using monograph::kernels::definitions;
using monograph::kernels::Match;

std::string describe(const Call& call) {
  std::string s = call.op;
  const auto add = [&s](const TensorDesc& t) {
    s += fmt::format(" {}[", monograph::kernels::dtype_name(t.dtype));
    for (std::size_t d = 0; d < t.sizes.size(); ++d) {
      s += fmt::format("{}{}:{}", d == 0 ? "" : ",", t.sizes[d], t.strides[d]);
    }
    s += "]";
  };
  for (const TensorDesc& t : call.inputs) add(t);
  s += " ->";
  for (const TensorDesc& t : call.outputs) add(t);
  return s;
}

/// Definitions whose operators this file has a reference for; others have tests of their own.
/// Kernels whose source is written by hand.
const std::set<std::string> kWritten{"attention",         "batched_copy", "block_gemm", "gemv",
                                     "prefill_attention", "skinny_gemm",  "tiles",      "topk",
                                     "wide_argmax"};

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const Definition& d : definitions()) {
    const bool generated = d.expand || d.name.rfind("fused_", 0) == 0;
    if (generated || kWritten.contains(d.name)) out.push_back(d.name);
  }
  return out;
}

class Samples : public testing::TestWithParam<std::string> {};

/// Positions in tables must exist, and each row of state be written once.
void limit_positions(const std::string& kernel, std::vector<Values>& inputs,
                     std::mt19937_64& random) {
  const bool cached = kernel == "attention";
  if (kernel != "gather_rows" && !cached && kernel.rfind("fused_", 0) != 0) return;
  std::int64_t rows = 10;
  for (const Values& v : inputs) {
    if (cached && v.sizes.size() == 4) rows = std::max(rows, v.sizes[2]);
  }
  for (Values& v : inputs) {
    for (Real& x : v.at) {
      if (v.dtype == DType::kI64) {
        x = static_cast<Real>(random() % static_cast<std::uint64_t>(rows));
      }
    }
  }
}

/// Size of the sums that results come from; single ones may cancel to much less. gelu multiplies by
/// 1 + erf, whose terms cancel for inputs below zero: a unit of erf's is a unit of the input's
/// there (a device's erf is good to two units, the host's to less than one).
Real magnitude(const std::string& kernel, const std::vector<Values>& inputs) {
  if (kernel == "gelu") {
    Real largest = 0;
    for (const Real x : inputs[0].at) {
      // Further down the result is as good as zero, and so is its error.
      if (std::isfinite(x)) largest = std::max(largest, std::min(std::fabs(x), Real{6}));
    }
    return largest;
  }
  if (kernel != "gemv" && kernel != "skinny_gemm" && kernel != "block_gemm" && kernel != "sum" &&
      kernel != "mean") {
    return 0;
  }
  Real largest = 1;
  for (const Real x : inputs[0].at) {
    if (std::isfinite(x)) largest = std::max(largest, std::fabs(x));
  }
  return largest * std::sqrt(static_cast<Real>(inputs[0].sizes.back()));
}

/// One way of running a sample. Twice means: on the same memory, with outputs poisoned again.
struct Order {
  std::uint64_t seed = 0;  ///< of the order of blocks and threads; 0: by number
  int repeats = 1;
};

/// Orders that the results of one call are compared in.
std::vector<Order> orders(Fill fill, std::mt19937_64& random) {
  if (std::getenv("MONOGRAPH_EXHAUSTIVE_TESTS") != nullptr) return {{0, 2}, {1, 2}, {7, 2}};
  // Extreme values take no other way through a kernel than usual ones.
  if (fill == Fill::kExtremes) return {{random(), 1}};
  return {{0, 2}, {random(), 1}};
}

void check(const Definition& definition, const Call& call, Fill fill, std::mt19937_64& random) {
  SCOPED_TRACE(describe(call));
  const Match match = definition.match(call, test_target());
  ASSERT_TRUE(match.instance) << match.reason;
  std::vector<Values> inputs;
  for (const TensorDesc& d : call.inputs) inputs.push_back(random_values(d, fill, random));
  limit_positions(definition.name, inputs, random);
  const auto exact = reference(call, inputs, Rounding::kExact);
  const auto eager = reference(call, inputs, Rounding::kEager);
  const auto states = reference_effects(call, inputs, Rounding::kExact);
  const auto rounded = reference_effects(call, inputs, Rounding::kEager);
  const Real size = magnitude(definition.name, inputs);
  std::vector<std::vector<std::byte>> first;
  for (const Order& order : orders(fill, random)) {
    SCOPED_TRACE(fmt::format("order {}", order.seed));
    const Outcome out =
        run(*match.instance, call, inputs, {.seed = order.seed, .repeats = order.repeats});
    ASSERT_EQ(out.fault, "");
    for (std::size_t o = 0; o < out.outputs.size(); ++o) {
      ASSERT_EQ(compare(out.outputs[o], exact[o], eager[o], size), "") << "output " << o;
    }
    for (std::size_t i = 0; i < states.size(); ++i) {
      ASSERT_EQ(compare(out.states[i], states[i], rounded[i]), "") << "state " << i;
    }
    if (first.empty()) first = out.bytes;
    ASSERT_EQ(out.bytes, first) << "another order of threads gives another result";
  }
}

void check_all(const std::string& name, Fill fill) {
  const Definition* d = monograph::kernels::find_definition(name);
  ASSERT_NE(d, nullptr);
  ASSERT_TRUE(d->samples) << "a definition without samples can't be checked";
  const auto seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("data drawn with seed {}", seed));
  std::mt19937_64 random(seed);
  for (const Call& call : d->samples()) check(*d, call, fill, random);
}

TEST_P(Samples, AgreeWithTheReference) {
  check_all(GetParam(), Fill::kNormal);
}

TEST_P(Samples, TreatExtremesAsTheReference) {
  check_all(GetParam(), Fill::kExtremes);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Samples, testing::ValuesIn(names()),
                         [](const auto& p) { return p.param; });

TEST(Reductions, AScalarHasNoDimensionThatTheyGoAlong) {
  using monograph::kernels::number_argument;
  using monograph::kernels::tensor_argument;
  for (const char* name : {"softmax", "log_softmax"}) {
    const Definition* d = monograph::kernels::find_definition(name);
    ASSERT_NE(d, nullptr);
    for (const std::int64_t dim : {0, -1}) {
      Call call;
      call.op = d->ops.front();
      call.inputs = call.outputs = {monograph::kernels::dense(monograph::kernels::DType::kF32, {})};
      call.args = {tensor_argument(0), number_argument(dim), number_argument(false)};
      EXPECT_NE(d->match(call, test_target()).reason.find("of a scalar"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace kernels_test
