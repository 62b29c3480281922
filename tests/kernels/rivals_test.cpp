// Of several kernels for one product the fastest is taken, as a stopwatch says that the test holds;
// they all run on the virtual GPU, on memory as the tuner lays it out.
#include "runtime/cuda/backend/rivals.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "kernels/elementwise/definitions.h"
#include "kernels/fusion/attention.h"
#include "tests/kernels/device.h"

namespace kernels_test {
namespace {

using namespace monograph;
using namespace monograph::kernels;

struct Rig {
  cuda::ContextRef context = cuda::Context::retain(cuda::Driver::open([] {
    const char* name = std::getenv("MONOGRAPH_TEST_DRIVER");
    return std::string(name != nullptr && *name != '\0' ? name : VGPU_LIBRARY);
  }()));
  Compiler compiler{KERNEL_CACHE, 1};
  std::set<std::string> timed;  ///< names that the stopwatch was asked about

  /// A tuner to whose stopwatch `fastest` takes a microsecond and everything else two.
  cuda::Tuner tuner(const std::string& fastest, bool on = true) {
    cuda::Tuner::Settings s;
    s.on = on;
    s.directory = "none";
    s.stopwatch = [this, fastest](const std::string& name, cuda::PlanRunner& graph,
                                  const cuda::Ports& ports, CUstream stream) {
      timed.insert(name);
      graph.launch(ports, stream);
      return name == fastest ? 1.0 : 2.0;
    };
    return cuda::Tuner(context, std::move(s));
  }
  Match select(const Call& call, cuda::Tuner& tuner) {
    return cuda::select_timed(call, test_target(), compiler, context, tuner);
  }
};

Call product(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k) {
  Call c;
  c.op = "aten.linear.default";
  c.inputs = {dense(dtype, {m, k}), dense(dtype, {n, k})};
  c.inputs[1].constant = true;
  c.args = {tensor_argument(0), tensor_argument(1)};
  c.outputs = {dense(dtype, {m, n})};
  return c;
}

TEST(Rivals, TheFastestIsTakenWithTheTimesAsReason) {
  const Call call = product(DType::kBF16, 2, 40, 512);
  for (const char* fastest : {"tiles", "gemv", "skinny_gemm"}) {
    Rig rig;
    cuda::Tuner tuner = rig.tuner(fastest);
    const Match m = rig.select(call, tuner);
    ASSERT_TRUE(m.instance) << m.reason;
    EXPECT_EQ(m.instance->kernel, fastest);
    EXPECT_NE(m.reason.find("us"), std::string::npos) << m.reason;
    EXPECT_EQ(rig.timed, (std::set<std::string>{"gemv", "skinny_gemm", "tiles"}));
    rig.timed.clear();
    EXPECT_EQ(rig.select(call, tuner).instance->kernel, fastest);
    EXPECT_TRUE(rig.timed.empty()) << "timed again";
    // Another shape is another problem.
    rig.select(product(DType::kBF16, 2, 48, 512), tuner);
    EXPECT_FALSE(rig.timed.empty());
  }
}

TEST(Rivals, AttentionWithAndWithoutTheTensorCores) {
  // Views of a packed projection, whose rows lie apart: operands reach as far as their last
  // element.
  Call call = fusion::attention_call(DType::kF16, {1, 2, 1, 40, 40, 64});
  for (std::size_t i = 0; i < 3; ++i) call.inputs[i].strides = {40 * 384, 64, 384, 1};
  for (const char* fastest : {"prefill_attention", "attention"}) {
    Rig rig;
    cuda::Tuner tuner = rig.tuner(fastest);
    const Match m = rig.select(call, tuner);
    ASSERT_TRUE(m.instance) << m.reason;
    EXPECT_EQ(m.instance->kernel, fastest);
    EXPECT_EQ(rig.timed, (std::set<std::string>{"attention", "prefill_attention"}));
  }
}

TEST(Rivals, ScratchOfTheOneThatNeedsItIsThere) {
  Rig rig;
  cuda::Tuner tuner = rig.tuner("gemv");
  // Few long rows: blocks of gemv share them, with partial sums and tickets.
  const Call call = product(DType::kF16, 1, 3, 4096);
  const Match m = rig.select(call, tuner);
  ASSERT_TRUE(m.instance) << m.reason;
  EXPECT_EQ(m.instance->kernel, "gemv");
  EXPECT_GT(m.instance->state_bytes, 0);
}

TEST(Rivals, NothingIsTimedWithoutAChoiceOrWithTuningOff) {
  Rig rig;
  cuda::Tuner off = rig.tuner("gemv", false);
  const Call call = product(DType::kBF16, 1, 40, 512);
  EXPECT_EQ(rig.select(call, off).instance->kernel, select(call, test_target()).instance->kernel);
  cuda::Tuner on = rig.tuner("gemv");
  const Call alone = product(DType::kF32, 1, 40, 512);  // no halves: gemv's alone
  EXPECT_EQ(rig.select(alone, on).instance->kernel, "gemv");
  Call other;
  other.op = "aten.relu.default";
  other.inputs = {dense(DType::kF32, {64})};
  other.args = {tensor_argument(0)};
  other.outputs = {dense(DType::kF32, {64})};
  EXPECT_EQ(rig.select(other, on).instance->kernel, "relu");
  EXPECT_TRUE(rig.timed.empty());
}

}  // namespace
}  // namespace kernels_test
