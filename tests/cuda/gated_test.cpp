// Whole programs through the gate of cuda.gate: whichever graph it ships, results and state are
// the same to the bit, and what is remembered ships.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "runtime/cuda/tune/cache.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using Tensors = std::vector<at::Tensor>;

/// A row's softmax scaled by a weight and added to a sum that is kept: three launches at least,
/// each of which waits for the one before it.
constexpr const char* kProgram = R"(graph kept {
  %x : f32[3,40] = placeholder[target=x]
  %w : f32[40] = get_attr[target=w, kind=parameter]
  %total : f32[3,40] = get_attr[target=total, kind=state]
  %softmax : f32[3,40] = call_function[target=aten._softmax.default](args = (%x, -1, False), kwargs = {})
  %mul : f32[3,40] = call_function[target=aten.mul.Tensor](args = (%softmax, %w), kwargs = {})
  %sum : f32[3,1] = call_function[target=aten.sum.dim_IntList](args = (%mul, [-1], True), kwargs = {})
  %sub : f32[3,40] = call_function[target=aten.sub.Tensor](args = (%mul, %sum), kwargs = {alpha: 1})
  %add_ : f32[3,40]{alias=%total} = call_function[target=aten.add_.Tensor, writes=(%total,)](args = (%total, %sub), kwargs = {})
  %softmax_1 : f32[3,40] = call_function[target=aten._softmax.default](args = (%add_, -1, False), kwargs = {})
  return (%softmax_1, %sum)
})";

class Gated : public testing::Test {
 protected:
  struct Run {
    std::vector<Tensors> outputs;
    at::Tensor state;
    std::string device, nodes;
  };
  /// Built with or without the gate; the same replays each time, the last with another weight.
  Run run(const Setting& setting) {
    const at::Tensor total = start.clone();
    Executable e = Executable::build(Program::parse(kProgram, {{"w", w}, {"total", total, true}}),
                                     cuda_options(setting));
    EXPECT_TRUE(same_bits(total, start)) << "building has written state";
    Run r;
    for (const at::Tensor& x : xs) r.outputs.push_back(e.replay({x}));
    e.rebind_weights({{"w", other_w}});
    r.outputs.push_back(e.replay({xs[0]}));
    r.state = total.clone();
    r.device = e.dump("device");
    r.nodes = e.dump("graph_nodes");
    return r;
  }
  static void expect_same(const Run& got, const Run& want) {
    ASSERT_EQ(got.outputs.size(), want.outputs.size());
    for (std::size_t i = 0; i < got.outputs.size(); ++i) {
      for (std::size_t o = 0; o < got.outputs[i].size(); ++o) {
        EXPECT_TRUE(same_bits(got.outputs[i][o], want.outputs[i][o])) << i << ", output " << o;
      }
    }
    EXPECT_TRUE(same_bits(got.state, want.state));
  }
  /// What the gate has stored: its key and entry.
  std::vector<std::pair<std::string, cuda::TuningEntry>> stored() const {
    std::vector<std::pair<std::string, cuda::TuningEntry>> found;
    for (const auto& file : fs::directory_iterator(cache + "/tuning")) {
      std::ifstream in(file.path(), std::ios::binary);
      const std::string content{std::istreambuf_iterator<char>(in), {}};
      const std::size_t from = content.find('\n') + 1;
      const std::string key = content.substr(from, content.find('\n', from) - from);
      if (!key.starts_with("graph ")) continue;
      const auto entry = cuda::parse_entry(content, key);
      if (entry) found.emplace_back(key, *entry);
    }
    return found;
  }

  const std::string cache = forget_times();
  const at::Tensor w = at::randn({40}), other_w = at::randn({40}), start = at::randn({3, 40});
  const Tensors xs{at::randn({3, 40}), at::randn({3, 40}), at::randn({3, 40})};
};

TEST_F(Gated, ShipsWhatIsRememberedAndComputesTheSameEitherWay) {
  const Run plain = run({GraphMode::kFull});
  ASSERT_THAT(plain.nodes, HasSubstr(" programmatic\n")) << "nothing to compare";
  EXPECT_THAT(plain.device, Not(HasSubstr("us a replay")));
  const Run timed = run({GraphMode::kFull, true});
  EXPECT_THAT(timed.device, HasSubstr("us a replay"));
  EXPECT_THAT(timed.device, Not(HasSubstr("remembered")));
  expect_same(timed, plain);
  const auto entries = stored();
  ASSERT_EQ(entries.size(), 1u);
  ASSERT_EQ(entries[0].second.timed.size(), 2u);
  EXPECT_GT(entries[0].second.timed[0].microseconds, 0);
  EXPECT_LE(entries[0].second.timed[0].microseconds, entries[0].second.timed[1].microseconds);
  for (const auto& [first, second] : {std::pair("full edges", "programmatic edges"),
                                      std::pair("programmatic edges", "full edges")}) {
    cuda::TuningCache(cache).store(entries[0].first, {{{first, 3}, {second, 4}}});
    const Run r = run({GraphMode::kFull, true});
    EXPECT_THAT(r.device, HasSubstr(std::string(first) + ": 3.00 us a replay, " + second +
                                    ": 4.00, remembered\n"));
    const bool full = std::string(first) == "full edges";
    // What is dumped is what ships.
    const auto edges = r.nodes.substr(r.nodes.find("edge "));
    EXPECT_EQ(edges.find("programmatic") == std::string::npos, full) << edges;
    EXPECT_EQ(r.device.find("(0 programmatic)") != std::string::npos, full) << r.device;
    expect_same(r, plain);
  }
}

/// A row goes to where a position points, which moves on and comes to its end after one call.
constexpr const char* kLastRow = R"(graph last {
  %x : f32[1,4] = placeholder[target=x]
  %cache : f32[6,4] = get_attr[target=cache, kind=state]
  %position : i64[1] = get_attr[target=position, kind=state]
  %index_copy_ : f32[6,4]{alias=%cache} = call_function[target=aten.index_copy_.default, writes=(%cache,)](args = (%cache, 0, %position, %x), kwargs = {})
  %add_ : i64[1]{alias=%position} = call_function[target=aten.add_.Tensor, writes=(%position,)](args = (%position, 1), kwargs = {alpha: 1})
  %softmax : f32[6,4] = call_function[target=aten._softmax.default](args = (%index_copy_, -1, False), kwargs = {})
  %sum : f32[1,4] = call_function[target=aten.sum.dim_IntList](args = (%softmax, [0], True), kwargs = {})
  return (%softmax, %sum)
})";

TEST_F(Gated, APositionAtItsEndIsWhereItWasBeforeEveryReplay) {
  const at::Tensor cached = at::randn({6, 4});
  const at::Tensor position = at::full({1}, 5, at::kLong);
  const at::Tensor x = at::randn({1, 4});
  Executable e = Executable::build(
      Program::parse(kLastRow, {{"cache", cached, true}, {"position", position, true}}),
      cuda_options(Setting{GraphMode::kFull, true}));
  EXPECT_THAT(e.dump("device"), HasSubstr("us a replay")) << "nothing was compared";
  at::Tensor want = cached.clone();
  want[5] = x[0];
  expect_close_on_device(e.replay({x})[0], at::softmax(want, -1), "the last row");
  EXPECT_TRUE(same_bits(cached, want));
  EXPECT_EQ(position.item<std::int64_t>(), 6);
}

TEST_F(Gated, AStreamHasNoEdgesToCompare) {
  const Run r = run({GraphMode::kNone, true});
  EXPECT_THAT(r.device, Not(HasSubstr("us a replay")));
  expect_same(r, run({GraphMode::kNone}));
}

}  // namespace
}  // namespace monograph::test
