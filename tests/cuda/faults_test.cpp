// Faults of the driver, one at a time, at every call that building and replaying makes; and what is
// left after them. Only the virtual GPU can do that.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <array>
#include <cstdlib>

#include "bench/models/bert.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;
using Tensors = std::vector<at::Tensor>;

bool whole_model() {
  const char* set = std::getenv("MONOGRAPH_TEST_WHOLE_MINILM");
  return set != nullptr && *set != '\0';
}

/// MiniLM with one narrow layer; all of it, with random weights, where time allows.
bench::BertConfig config() {
  bench::BertConfig c;
  if (whole_model()) return c;
  c.vocab_size = 100;
  c.hidden_size = 32;
  c.num_hidden_layers = 1;
  c.num_attention_heads = 2;
  c.intermediate_size = 64;
  c.max_position_embeddings = 16;
  return c;
}

Program encoder() {
  bench::BertSentenceEncoder model(config());
  model->eval();
  for (auto& p : model->parameters()) p.requires_grad_(false);
  auto traced =
      Program::trace(make_module<2>(model, {"input_ids", "attention_mask"}),
                     {at::randint(config().vocab_size, {2, 8}), at::ones({2, 8}, at::kLong)}, {});
  return std::get<Program>(std::move(traced));
}

/// What a failed attempt may not change.
struct TorchState {
  bool grad = at::GradMode::is_enabled();
  bool inference = c10::InferenceMode::is_enabled();
  int threads = at::get_num_threads();
  at::ScalarType dtype = at::get_default_dtype_as_scalartype();
  std::string keys = c10::toString(c10::impl::tls_local_dispatch_key_set().included_);
  std::string excluded = c10::toString(c10::impl::tls_local_dispatch_key_set().excluded_);
  std::string generator =
      at::globalContext().defaultGenerator(at::kCPU).get_state().sum().item().toDouble() >= 0
          ? std::to_string(at::globalContext()
                               .defaultGenerator(at::kCPU)
                               .get_state()
                               .to(at::kLong)
                               .sum()
                               .item<std::int64_t>())
          : "";
  bool operator==(const TorchState&) const = default;
};

class Faults : public testing::TestWithParam<GraphMode> {
 protected:
  void SetUp() override {
    ASSERT_FALSE(driver_under_test().empty());
    seed(1);
    ASSERT_EQ(leaks(), "");
  }
  void TearDown() override {
    fail("", 0, CUDA_SUCCESS);
    control<decltype(&vgpu_reset)>("vgpu_reset")();
    EXPECT_EQ(leaks(), "");
    seed(0);
  }
  Tensors attempt() {
    Executable e = Executable::build(program, cuda_options(GetParam()));
    e.replay(inputs);
    return e.replay(others);
  }
  Program program = encoder();
  Tensors inputs{at::randint(config().vocab_size, {2, 8}), at::ones({2, 8}, at::kLong)};
  Tensors others{at::randint(config().vocab_size, {2, 8}), at::ones({2, 8}, at::kLong)};
};

TEST_P(Faults, EveryCallMayFailAndTheNextAttemptSucceeds) {
  const Tensors want = attempt();
  const auto before = calls("");
  ASSERT_TRUE(same_bits(attempt()[0], want[0]));
  const std::uint64_t total = calls("") - before;
  ASSERT_GT(total, 100u);
  const TorchState state;
  // Errors of three families; none is one that a context doesn't survive.
  constexpr std::array kCodes{CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE,
                              CUDA_ERROR_OPERATING_SYSTEM};
  std::uint64_t thrown = 0;
  for (std::uint64_t nth = 1; nth <= total; ++nth) {
    const CUresult code = kCodes[nth % kCodes.size()];
    fail("", nth, code);
    try {
      const Tensors got = attempt();
      // The call that failed releases something, or only asks.
      EXPECT_TRUE(same_bits(got[0], want[0])) << "call " << nth << " failed without a word";
    } catch (const Error& e) {
      ++thrown;
      EXPECT_THAT(e.what(), testing::AnyOf(HasSubstr("cu"), HasSubstr("CUDA_ERROR"))) << nth;
      EXPECT_THAT(e.driver_text(), HasSubstr("CUDA_ERROR_")) << nth;
      EXPECT_NE(e.code(), Code::kInternal) << nth << ": " << e.what();
      EXPECT_NE(e.code(), Code::kDevicePoisoned) << nth << ": " << e.what();
    }
    fail("", 0, CUDA_SUCCESS);
    ASSERT_EQ(leaks(), "") << "after call " << nth;
    ASSERT_TRUE(state == TorchState()) << "after call " << nth;
    if (nth % 8 == 0) {
      ASSERT_TRUE(same_bits(attempt()[0], want[0])) << "after call " << nth;
    }
  }
  EXPECT_GT(thrown, total / 2);
  ASSERT_TRUE(same_bits(attempt()[0], want[0]));
  std::printf("%llu calls, %llu of them threw\n", static_cast<unsigned long long>(total),
              static_cast<unsigned long long>(thrown));
}

TEST_P(Faults, AnExecutableSurvivesAReplayThatFailed) {
  Executable e = Executable::build(program, cuda_options(GetParam()));
  const Tensors want = e.replay(inputs);
  const auto before = calls("");
  e.replay(inputs);
  const std::uint64_t total = calls("") - before;
  for (std::uint64_t nth = 1; nth <= total; ++nth) {
    fail("", nth, CUDA_ERROR_INVALID_VALUE);
    try {
      EXPECT_TRUE(same_bits(e.replay(inputs)[0], want[0])) << nth;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kDeviceFault) << error.what();
    }
    fail("", 0, CUDA_SUCCESS);
    ASSERT_TRUE(same_bits(e.replay(inputs)[0], want[0])) << "after call " << nth;
  }
}

TEST_P(Faults, ALostDevicePoisonsExecutableAndSession) {
  {
    CompiledModule compiled(
        [&] {
          Module m;
          m.forward = [](const Tensors& in) -> Tensors { return {at::exp(in[0]) + 1}; };
          return m;
        }(),
        cuda_options(GetParam()));
    const at::Tensor x = at::randn({5});
    (void)compiled({x});
    fail("cuStreamSynchronize", 1, CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_THROW(compiled({x}), Error);
    // Nothing reaches the driver any more, for this shape and for others.
    for (const std::int64_t n : {5, 6}) {
      const auto launches = calls("cuGraphLaunch") + calls("cuLaunchKernelEx");
      try {
        (void)compiled({at::randn({n})});
        ADD_FAILURE() << "a lost device was used";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kDevicePoisoned);
        EXPECT_THAT(e.what(), HasSubstr("restart the process"));
        EXPECT_THAT(e.what(), HasSubstr("cuStreamSynchronize"));
        EXPECT_THAT(e.what(), HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
      }
      EXPECT_EQ(calls("cuGraphLaunch") + calls("cuLaunchKernelEx"), launches);
    }
  }
  control<decltype(&vgpu_reset)>("vgpu_reset")();
  // A context made anew starts without the errors of the last.
  EXPECT_EQ(attempt().size(), 1u);
}

TEST_P(Faults, OutOfMemorySaysForWhatAndHowMuch) {
  auto* set = control<decltype(&vgpu_set)>("vgpu_set");
  const auto tell = [&](std::uint64_t bytes) {
    set("memory_bytes", bytes);
    try {
      (void)attempt();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kDeviceOutOfMemory);
      EXPECT_THAT(e.what(), HasSubstr("i64[2,8], i64[2,8]"));
      EXPECT_THAT(e.what(), testing::ContainsRegex("[0-9]+ bytes for"));
      EXPECT_THAT(e.what(),
                  testing::ContainsRegex("[0-9]+ of [0-9]+ bytes of device memory are free"));
      EXPECT_EQ(leaks(), "");
      set("memory_bytes", std::uint64_t{8} << 30);
      EXPECT_EQ(attempt().size(), 1u);
      return true;
    }
    set("memory_bytes", std::uint64_t{8} << 30);
    return false;
  };
  EXPECT_TRUE(tell(1 << 20)) << "the arena fits into a mebibyte?";
  int told = 0;
  // Room for the arena and less and less of the rest.
  for (std::uint64_t more = 0; more < 40; ++more) told += tell((2 << 20) + (more << 14)) ? 1 : 0;
  EXPECT_GE(told, 1);
}

INSTANTIATE_TEST_SUITE_P(Modes, Faults, testing::Values(GraphMode::kFull, GraphMode::kNone),
                         [](const auto& mode) {
                           return mode.param == GraphMode::kFull ? "graph" : "stream";
                         });

}  // namespace
}  // namespace monograph::test
