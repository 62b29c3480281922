// Faults of the driver, one at a time, at every call that building and replaying makes; and what is
// left after them. Only the virtual GPU can do that.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <numeric>
#include <random>

#include "tests/cuda/small_bert.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;

/// MiniLM but for its width and its table of words: one layer, or all of it where every call is
/// made to fail. With MONOGRAPH_TEST_WHOLE_MINILM as wide as it is.
bench::BertConfig config() {
  const char* whole = std::getenv("MONOGRAPH_TEST_WHOLE_MINILM");
  const bool wide = whole != nullptr && *whole != '\0';
  if (!wide && !exhaustive()) return small_bert(1, bench::Attention::kFused);
  bench::BertConfig c;
  c.vocab_size = 1000;
  if (wide) return c;
  c.hidden_size = 96;
  c.intermediate_size = 384;
  return c;
}

/// Short where it is read thousands of times.
Tensors sentence() {
  const std::vector<std::int64_t> sizes =
      exhaustive() ? std::vector<std::int64_t>{1, 4} : std::vector<std::int64_t>{2, 8};
  return {at::randint(config().vocab_size, sizes), at::ones(sizes, at::kLong)};
}

/// What a failed attempt may not change.
struct TorchState {
  bool grad = at::GradMode::is_enabled();
  bool inference = c10::InferenceMode::is_enabled();
  int threads = at::get_num_threads();
  at::ScalarType dtype = at::get_default_dtype_as_scalartype();
  std::string keys = c10::toString(c10::impl::tls_local_dispatch_key_set().included_);
  std::string excluded = c10::toString(c10::impl::tls_local_dispatch_key_set().excluded_);
  at::Tensor generator = at::globalContext().defaultGenerator(at::kCPU).get_state();
  bool operator==(const TorchState& o) const {
    return grad == o.grad && inference == o.inference && threads == o.threads && dtype == o.dtype &&
           keys == o.keys && excluded == o.excluded && generator.equal(o.generator);
  }
};

/// The numbers of the calls that are to fail: all of them, or of several processes' this one's
/// (MONOGRAPH_TEST_SHARD=3/16), or a sample.
std::vector<std::uint64_t> chosen(std::uint64_t total) {
  std::vector<std::uint64_t> all(total), some;
  std::iota(all.begin(), all.end(), 1);
  if (exhaustive()) {
    const char* shard = std::getenv("MONOGRAPH_TEST_SHARD");
    unsigned long long mine = 0, of = 1;
    if (shard != nullptr && (std::sscanf(shard, "%llu/%llu", &mine, &of) != 2 || mine >= of)) {
      ADD_FAILURE() << "MONOGRAPH_TEST_SHARD=" << shard << " isn't like 3/16";
    }
    std::erase_if(all, [&](std::uint64_t n) { return n % of != mine; });
    return all;
  }
  constexpr std::size_t kSample = 40;
  std::mt19937 random(test_seed());
  std::ranges::sample(all, std::back_inserter(some), kSample, random);
  return some;
}

const std::vector<const char*> kEntryPoints{
#define MONOGRAPH_CU_ENTRY(name, version, feature) "cu" #name,
#include "runtime/cuda/entry_points.def"
#undef MONOGRAPH_CU_ENTRY
};

class Faults : public testing::TestWithParam<Setting> {
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
    if (GetParam().gate) forget_times();
    Executable e = Executable::build(program, cuda_options(GetParam()));
    e.replay(inputs);
    return e.replay(others);
  }
  /// An attempt whose `nth` call of `entry` fails. False if it threw, as it must unless the call
  /// releases something or only asks; either way nothing is left of it.
  bool survives(const std::string& entry, std::uint64_t nth, const Tensors& want) {
    // Errors of three families; none is one that a context doesn't survive.
    constexpr std::array kCodes{CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE,
                                CUDA_ERROR_OPERATING_SYSTEM};
    std::string at = entry + " call " + std::to_string(nth);
    const TorchState state;
    bool survived = false;
    fail(entry, nth, kCodes[nth % kCodes.size()]);
    try {
      survived = same_bits(attempt()[0], want[0]);
      EXPECT_TRUE(survived) << at << " failed without a word";
    } catch (const Error& e) {
      at += std::string(" (") + e.what() + ")";
      EXPECT_THAT(e.what(), testing::AnyOf(HasSubstr("cu"), HasSubstr("CUDA_ERROR"))) << at;
      // Or of a library on top of it.
      EXPECT_THAT(e.driver_text(), testing::ContainsRegex("CUDA_ERROR_|CU(BLAS|DNN)_STATUS")) << at;
      EXPECT_NE(e.code(), Code::kInternal) << at << ": " << e.what();
      EXPECT_NE(e.code(), Code::kDevicePoisoned) << at << ": " << e.what();
    }
    fail("", 0, CUDA_SUCCESS);
    check_nothing_is_left(at, state, want);
    return survived;
  }
  void check_nothing_is_left(const std::string& at, const TorchState& state, const Tensors& want) {
    ASSERT_EQ(leaks(), "") << "after " << at;
    ASSERT_TRUE(state == TorchState()) << "after " << at;
    try {
      ASSERT_TRUE(same_bits(attempt()[0], want[0])) << "after " << at;
    } catch (const Error& e) {
      FAIL() << "after " << at << ": " << e.what() << "; "
             << control<decltype(&vgpu_message)>("vgpu_message")();
    }
  }
  Tensors inputs = sentence(), others = sentence();
  Program program = bert(config(), inputs);
};

TEST(DriverCalls, TheFirstReplayMakesThoseOfEveryOther) {
  for (const GraphMode mode : {GraphMode::kFull, GraphMode::kNone}) {
    Executable e = Executable::build(bert(config(), sentence()), cuda_options(mode));
    const auto replay = [&] {
      const auto before = calls("");
      (void)e.replay(sentence());
      return calls("") - before;
    };
    const auto uploads = calls("cuGraphUpload") + calls("cuGraphInstantiateWithParams");
    const auto first = replay();
    EXPECT_EQ(first, replay());
    EXPECT_EQ(first, replay());
    EXPECT_EQ(calls("cuGraphUpload") + calls("cuGraphInstantiateWithParams"), uploads);
    if (mode == GraphMode::kFull) {
      EXPECT_LT(first, 12u);
    }
  }
}

void log_progress(std::uint64_t nth, std::uint64_t total) {
  std::printf("call %llu of %llu\n", static_cast<unsigned long long>(nth),
              static_cast<unsigned long long>(total));
  std::fflush(stdout);
}

TEST_P(Faults, EveryCallMayFailAndTheNextAttemptSucceeds) {
  const Tensors want = attempt();
  const auto before = calls("");
  const auto graphs = calls("cuGraphInstantiateWithParams");
  ASSERT_TRUE(same_bits(attempt()[0], want[0]));
  const std::uint64_t total = calls("") - before;
  ASSERT_GT(total, 100u);
  ASSERT_EQ(calls("cuGraphInstantiateWithParams") - graphs, GetParam().gate ? 2u
                                                            : GetParam().mode == GraphMode::kFull
                                                                ? 1u
                                                                : 0u);
  std::uint64_t thrown = 0;
  const std::vector<std::uint64_t> numbers = chosen(total);
  std::uint64_t done = 0;
  for (const std::uint64_t nth : numbers) {
    thrown += survives("", nth, want) ? 0 : 1;
    ASSERT_FALSE(HasFatalFailure());
    if (++done % 100 == 0) log_progress(nth, total);
  }
  // A comparison that fails costs nothing but itself.
  EXPECT_GT(thrown, numbers.size() / (GetParam().gate ? 4 : 2));
  std::printf("%llu calls, %llu of them made to fail, %llu of those threw\n",
              static_cast<unsigned long long>(total),
              static_cast<unsigned long long>(numbers.size()),
              static_cast<unsigned long long>(thrown));
}

TEST_P(Faults, TheFirstCallOfEveryEntryPointMayFail) {
  const Tensors want = attempt();
  std::map<std::string, std::uint64_t> made;
  for (const char* entry : kEntryPoints) made[entry] -= calls(entry);
  ASSERT_TRUE(same_bits(attempt()[0], want[0]));
  for (const char* entry : kEntryPoints) made[entry] += calls(entry);
  std::erase_if(made, [](const auto& m) { return m.second == 0; });
  ASSERT_GT(made.size(), 20u);
  int used = 0, thrown = 0;
  for (const auto& [entry, count] : made) {
    ++used;
    thrown += survives(entry, 1, want) ? 0 : 1;
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_GT(thrown, used / 2);
  std::printf("%d entry points, %d of them threw\n", used, thrown);
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
      EXPECT_THAT(e.what(), HasSubstr(exhaustive() ? "i64[1,4], i64[1,4]" : "i64[2,8], i64[2,8]"));
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

INSTANTIATE_TEST_SUITE_P(Modes, Faults,
                         testing::Values(Setting{GraphMode::kFull}, Setting{GraphMode::kNone},
                                         Setting{GraphMode::kFull, true}),
                         [](const auto& setting) { return name_of(setting.param); });

}  // namespace
}  // namespace monograph::test
