// What is relied on of libraries: one that does as it should is used, one that fails, loses NaN or
// leaves something unwritten isn't.
#include "runtime/cuda/library/planner.h"

#include <gmock/gmock.h>
#include <monograph/error.h>

#include "tests/vgpu/fixture.h"

namespace monograph::cuda::test {
namespace {

using testing::HasSubstr;

/// How the library misbehaves; the same for all its ways.
enum class Conduct { kGood, kLosesNaN, kLeavesTheEnd, kFails, kHasNone };
Conduct conduct = Conduct::kGood;
int bound = 0;

/// Fills the result with NaN, or not.
class FakeCall final : public LibraryCall {
 public:
  FakeCall(const Driver& driver, CUdeviceptr result, std::size_t bytes)
      : driver_(driver), result_(result), bytes_(bytes) {}
  void enqueue(CUstream stream) override {
    if (conduct == Conduct::kFails) throw Error(Code::kDeviceFault, "out of order");
    const unsigned char value = conduct == Conduct::kLosesNaN ? 0 : 0xff;
    const std::size_t bytes = conduct == Conduct::kLeavesTheEnd ? bytes_ - 4 : bytes_;
    driver_.MemsetD8Async(result_, value, bytes, stream);
  }

 private:
  const Driver& driver_;
  CUdeviceptr result_;
  std::size_t bytes_;
};

class FakeLibrary final : public MathLibrary {
 public:
  explicit FakeLibrary(ContextRef context) : context_(std::move(context)) {}
  std::string name() const override { return "fake"; }
  std::string version() const override { return "7"; }
  bool takes(const LibraryProblem& problem) const noexcept override {
    return std::holds_alternative<MatmulProblem>(problem);
  }
  std::vector<LibraryWay> ways(const LibraryProblem&, std::string* why) const override {
    if (conduct != Conduct::kHasNone) return {{"first", 0, {}}, {"second", 512, {}}};
    *why = "fake has no algorithm";
    return {};
  }
  std::shared_ptr<LibraryCall> bind(const LibraryProblem& problem, const LibraryWay& way,
                                    const LibraryAddresses& at) const override {
    ++bound;
    EXPECT_EQ(way.workspace_bytes > 0, way.name == "second");
    EXPECT_TRUE(way.workspace_bytes == 0 || at.workspace != 0);
    return std::make_shared<FakeCall>(context_->driver(), at.operands[kResult],
                                      static_cast<std::size_t>(operand_bytes(problem)[kResult]));
  }

 private:
  ContextRef context_;
};

const MathLibraryRegistration kFake({
    .name = "fake",
    .serves = [](const Driver&) { return true; },
    .open = [](const ContextRef& c) { return std::make_shared<FakeLibrary>(c); },
});

class Planner : public vgpu_test::VirtualGpu {
 protected:
  LibraryPlan plan(bool tuning, bool tries, kernels::DType dtype = kernels::DType::kF16) {
    Tuner::Settings settings;
    settings.on = tuning;
    settings.directory = "none";
    settings.limits.rounds = 3;
    settings.limits.most_bytes = 1 << 16;
    settings.stopwatch = [](const std::string& name, PlanRunner&, const Ports&, CUstream) {
      return name == "second" ? 10.0 : 20.0;
    };
    LibraryPlanner planner(context, std::make_shared<Tuner>(context, settings), tries);
    MatmulProblem p;
    p.m = 3;
    p.n = 10;
    p.k = 4;
    p.a = {dtype, false, 4, 0, 16};
    p.b = {dtype, false, 10, 0, 16};
    p.d = {dtype, false, 10, 0, 16};
    p.activation = Activation::kRelu;
    const LibraryPlan& first = planner.plan(p);
    EXPECT_EQ(&first, &planner.plan(p)) << "a problem is planned once";
    return first;
  }
  void SetUp() override {
    VirtualGpu::SetUp();
    conduct = Conduct::kGood;
    bound = 0;
  }
};

TEST_F(Planner, TakesTheFastestWayThatWorks) {
  for (const auto dtype :
       {kernels::DType::kF16, kernels::DType::kBF16, kernels::DType::kF32, kernels::DType::kF64}) {
    const LibraryPlan p = plan(true, true, dtype);
    ASSERT_NE(p.library, nullptr) << p.reason;
    EXPECT_EQ(p.way.name, "second");
    EXPECT_GT(p.microseconds, 0);
  }
}

TEST_F(Planner, TriesNothingUnlessAskedTo) {
  conduct = Conduct::kFails;
  const LibraryPlan p = plan(false, false);
  ASSERT_NE(p.library, nullptr);
  EXPECT_EQ(p.way.name, "first");
  EXPECT_EQ(bound, 0);
}

TEST_F(Planner, LeavesALibraryThatDoesNotDoAsItShould) {
  const auto reason = [this](Conduct how) {
    conduct = how;
    EXPECT_EQ(plan(false, true).library, nullptr);
    const LibraryPlan p = plan(true, true);
    EXPECT_EQ(p.library, nullptr);
    return p.reason;
  };
  EXPECT_THAT(reason(Conduct::kLosesNaN), HasSubstr("30 of 30 results of NaN aren't NaN"));
  EXPECT_THAT(reason(Conduct::kLeavesTheEnd), HasSubstr("2 of 30 results of NaN aren't NaN"));
  EXPECT_THAT(reason(Conduct::kFails), HasSubstr("out of order"));
  EXPECT_THAT(reason(Conduct::kHasNone), HasSubstr("fake has no algorithm"));
}

TEST_F(Planner, SaysWhenNoLibraryDoesTheProblem) {
  LibraryPlanner planner(context, std::make_shared<Tuner>(context, Tuner::Settings{false, "none"}));
  const LibraryPlan& p = planner.plan(ConvolutionProblem{});
  EXPECT_EQ(p.library, nullptr);
  EXPECT_THAT(p.reason, HasSubstr("no library"));
}

}  // namespace
}  // namespace monograph::cuda::test
