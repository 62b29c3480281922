// Profiles: every launch is timed, figures add up, results stay what they were.
#include "runtime/inspect/profile.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <monograph/region.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/exec/backend.h"
#include "tests/host/support.h"

namespace monograph::test {
namespace {

using inspect::profile;
using inspect::Profile;
using inspect::ProfileSettings;
using nlohmann::json;
using testing::HasSubstr;

constexpr ProfileSettings kQuick{.warm_up = 2, .runs = 7, .ceilings = false};

/// A product that takes far longer than the two operators around it.
Program heavy_in_the_middle(const Tensors& inputs) {
  const at::Tensor w = at::randn({512, 512});
  return trace_program(
      [w](const Tensors& in) -> Tensors { return {at::relu(at::matmul(at::neg(in[0]), w))}; },
      inputs, {{"w", w, false}});
}

/// One thread: where others take the cores, a team of two may wait for its second longer than a
/// product takes.
struct OneThread {
  int before = at::get_num_threads();
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before); }
};

TEST(ProfileTest, TimesEveryLaunchAndFindsTheSlowOne) {
  const OneThread one;
  const Tensors inputs{at::randn({512, 512})};
  Executable executable = build_host(heavy_in_the_middle(inputs));
  const Profile p = profile(executable, inputs, kQuick);
  EXPECT_EQ(p.backend, "host");
  ASSERT_EQ(p.nodes.size(), executable.report().launches);
  ASSERT_EQ(p.last_us.size(), p.nodes.size());
  double sum = 0;
  for (const auto& row : p.nodes) {
    EXPECT_GT(row.median_us, 0) << row.node;
    EXPECT_LE(row.p10_us, row.median_us) << row.node;
    EXPECT_LE(row.median_us, row.p90_us) << row.node;
    EXPECT_GT(row.bytes, 0) << row.node;
    sum += row.median_us;
  }
  EXPECT_DOUBLE_EQ(p.launches_us, sum);
  EXPECT_GT(p.replay_us, 0);
  const auto slowest =
      std::ranges::max_element(p.nodes, {}, [](const auto& row) { return row.median_us; });
  EXPECT_EQ(slowest->flops, 2.0 * 512 * 512 * 512) << slowest->node;
  EXPECT_THAT(inspect::profile_table(p, 2), HasSubstr(slowest->node));
  EXPECT_THAT(inspect::profile_table(p, 1), HasSubstr("2 more"));
}

TEST(ProfileTest, CeilingsMakeFloors) {
  const Tensors inputs{at::randn({512, 512})};
  Executable executable = build_host(heavy_in_the_middle(inputs));
  const Profile p = profile(executable, inputs, {.warm_up = 1, .runs = 2, .ceilings = true});
  EXPECT_GT(p.ceilings.bytes_per_us, 100);  // 0.1 GB/s, 0.1 GFLOP/s: any machine
  EXPECT_GT(p.ceilings.flops_per_us, 100);
  for (const auto& row : p.nodes) {
    EXPECT_DOUBLE_EQ(row.floor_us, std::max(row.bytes / p.ceilings.bytes_per_us,
                                            row.flops / p.ceilings.flops_per_us));
  }
}

TEST(ProfileTest, ResultsStayWhatTheyWere) {
  const Tensors inputs{at::randn({512, 512})};
  Executable executable = build_host(heavy_in_the_middle(inputs));
  const Tensors before = executable.replay(inputs);
  (void)profile(executable, {at::randn({512, 512})}, kQuick);
  poison(executable);
  expect_identical(executable.replay(inputs), before, "after a profile");
}

TEST(ProfileTest, TimelineHoldsLaunchesAndModules) {
  const Tensors inputs{at::randn({4, 4})};
  Executable executable = build_host(trace_program(
      [](const Tensors& in) -> Tensors {
        const Region outer("encoder");
        const at::Tensor a = at::relu(in[0]);
        const Region inner("layer.0");
        return {at::tanh(a)};
      },
      inputs));
  const Profile p = profile(executable, inputs, kQuick);
  const json j = json::parse(inspect::profile_trace(p, "model"));
  std::map<std::string, json> spans;
  for (const auto& e : j["traceEvents"]) {
    if (e["ph"] == "X") spans[e["cat"].get<std::string>() + " " + e["name"].get<std::string>()] = e;
  }
  ASSERT_TRUE(spans.contains("launch relu") && spans.contains("launch tanh"));
  ASSERT_TRUE(spans.contains("module encoder") && spans.contains("module layer"));
  EXPECT_EQ(spans["launch tanh"]["ts"], spans["launch relu"]["dur"]);
  EXPECT_EQ(spans["module encoder"]["ts"], 0);
  EXPECT_EQ(spans["launch tanh"]["args"]["operator"], "aten.tanh.default");
  const json figures = json::parse(inspect::profile_json(p, "model"));
  EXPECT_EQ(figures["nodes"].size(), 2U);
  EXPECT_EQ(figures["nodes"][1]["median_us"], p.nodes[1].median_us);
}

TEST(ProfileTest, RefusesInputsThatDontFit) {
  const Tensors inputs{at::randn({512, 512})};
  Executable executable = build_host(heavy_in_the_middle(inputs));
  try {
    (void)profile(executable, {at::randn({2, 2})}, kQuick);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidArgument);
  }
}

/// A back end that runs everything at once, as one device graph does.
class Opaque final : public exec::Runner {
 public:
  explicit Opaque(std::unique_ptr<Runner> inner) : inner_(std::move(inner)) {}
  void run(const Tensors& inputs, const Tensors& outputs) override { inner_->run(inputs, outputs); }

 private:
  std::unique_ptr<Runner> inner_;
};

const exec::BackendRegistration kOpaque({
    .name = "opaque",
    .choose = [](const ir::Node& node) { return exec::find_backend("host").choose(node); },
    .concurrency = plan::Concurrency::kSequential,
    .unavailable = {},
    .build = [](const exec::Planned& planned, const Options& o) -> std::unique_ptr<exec::Runner> {
      return std::make_unique<Opaque>(exec::find_backend("host").build(planned, o));
    },
});

TEST(ProfileTest, SaysWhenLaunchesCantBeTold) {
  const Tensors inputs{at::randn({3})};
  Options options;
  options.backend = "opaque";
  Executable executable = Executable::build(
      trace_program([](const Tensors& in) -> Tensors { return {at::relu(in[0])}; }, inputs),
      options);
  try {
    (void)profile(executable, inputs, kQuick);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kInvalidOption);
    EXPECT_THAT(e.what(), HasSubstr("'opaque'"));
  }
}

}  // namespace
}  // namespace monograph::test
