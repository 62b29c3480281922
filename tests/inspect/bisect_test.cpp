// Planted faults: the first wrong pass or the back end is named, and the case cut down to the calls
// that matter, on fresh data.
#include "runtime/inspect/bisect.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "capture/ir/text.h"
#include "capture/passes/pass.h"
#include "runtime/dump/folder.h"
#include "runtime/exec/backend.h"
#include "runtime/inspect/reproducer.h"
#include "tests/inspect/support.h"

namespace monograph::inspect {
namespace {

namespace fs = std::filesystem;
using test::Tensors;
using testing::HasSubstr;
using Where = Finding::Where;

/// Replaces one operator by another wherever it occurs.
passes::PassReport replace(ir::Graph& graph, std::string_view from, const char* to) {
  passes::PassReport report;
  for (ir::Node* node : graph.node_vector()) {
    if (!node->is_call(from)) continue;
    graph.set_target(node, to);
    ++report.changes;
  }
  return report;
}

const passes::Registration kWrongPass({
    .name = "planted_wrong",
    .description = "computes sin where cos is meant",
    .run = [](ir::Graph& g,
              passes::PassContext&) { return replace(g, "aten.cos.default", "aten.sin.default"); },
});
const passes::Registration kThrowingPass({
    .name = "planted_throw",
    .description = "can't stand sigmoid",
    .run = [](ir::Graph& g, passes::PassContext&) -> passes::PassReport {
      for (const auto& node : g.nodes()) {
        if (node->is_call("aten.sigmoid.default"))
          throw Error(Code::kInternal, "sigmoid", node->name());
      }
      return {};
    },
});

bool has(const ir::Graph& graph, std::string_view target) {
  for (const auto& node : graph.nodes()) {
    if (node->is_call(target)) return true;
  }
  return false;
}

/// Runs on the host and spoils the results of graphs with an operator in them.
class Crooked final : public exec::Runner {
 public:
  Crooked(std::unique_ptr<Runner> inner, double first, double step)
      : inner_(std::move(inner)), add_(first), step_(step) {}
  void run(const Tensors& inputs, const Tensors& outputs) override {
    inner_->run(inputs, outputs);
    for (const at::Tensor& t : outputs) {
      if (add_ != 0) at::Tensor(t).add_(add_);
    }
    add_ += step_;
  }

 private:
  std::unique_ptr<Runner> inner_;
  double add_;
  double step_;
};

exec::Backend crooked(const char* name, double first, double step) {
  return {
      .name = name,
      .choose = [](const ir::Node& node) { return exec::find_backend("host").choose(node); },
      .concurrency = plan::Concurrency::kSequential,
      .unavailable = {},
      .build = [=](const exec::Planned& planned,
                   const Options& o) -> std::unique_ptr<exec::Runner> {
        auto inner = exec::find_backend("host").build(planned, o);
        if (!has(*planned.graph, "aten.tanh.default")) return inner;
        return std::make_unique<Crooked>(std::move(inner), first, step);
      },
  };
}
const exec::BackendRegistration kCrooked(crooked("crooked", 0.5, 0));
const exec::BackendRegistration kForgetful(crooked("forgetful", 0, 0.25));

/// A forward of some depth with every planted operator once, a write, views and two outputs.
Module network() {
  const at::Tensor w1 = at::randn({16, 16});
  const at::Tensor w2 = at::randn({16, 16});
  Module module;
  module.forward = [=](const Tensors& in) -> Tensors {
    at::Tensor x = at::linear(in[0], w1);
    x.add_(in[1]);
    const at::Tensor c = at::cos(x).transpose(0, 1);
    const at::Tensor s = at::sigmoid(at::matmul(c, in[0]));
    const at::Tensor t = at::tanh(at::linear(s, w2));
    const at::Tensor y = at::softmax(t + s, -1);
    return {at::relu(y - t), y.sum({0})};
  };
  module.tensors = {{"w1", w1, false}, {"w2", w2, false}};
  return module;
}

Tensors fresh_inputs() {
  return {at::randn({16, 16}), at::randn({16, 16})};
}

Options with(std::vector<std::string> passes, const std::string& backend = "host") {
  Options options;
  options.backend = backend;
  options.passes = std::move(passes);
  return options;
}

TEST(Bisect, FindsNothingWhereNothingIsWrong) {
  const Finding f = bisect(network(), fresh_inputs(), with({}));
  EXPECT_EQ(f.where, Where::kNowhere) << f.to_string();
}

TEST(Bisect, NamesTheFirstWrongPassAndCutsItOut) {
  const Finding f = bisect(
      network(), fresh_inputs(),
      with({"dead_code", "functionalize", "planted_wrong", "dead_code", "materialize_outputs"}));
  ASSERT_EQ(f.where, Where::kPass) << f.to_string();
  EXPECT_EQ(f.pass, "planted_wrong");
  EXPECT_EQ(f.number, 2U);
  EXPECT_EQ(calls_of(f.reproducer.graph).size(), 1U) << f.to_string();
  EXPECT_TRUE(has(f.reproducer.graph, "aten.cos.default"));
  EXPECT_GE(f.calls, 10U);
  EXPECT_THAT(f.to_string(), HasSubstr("elements differ"));
}

TEST(Bisect, NamesAPassThatThrows) {
  const Finding f = bisect(network(), fresh_inputs(),
                           with({"dead_code", "planted_throw", "materialize_outputs"}));
  ASSERT_EQ(f.where, Where::kPass) << f.to_string();
  EXPECT_EQ(f.pass, "planted_throw");
  EXPECT_THAT(f.message, HasSubstr("throws Internal: sigmoid"));
  EXPECT_EQ(calls_of(f.reproducer.graph).size(), 1U) << f.to_string();
  EXPECT_TRUE(has(f.reproducer.graph, "aten.sigmoid.default"));
}

TEST(Bisect, NamesTheBackEndAndCutsItsFaultOut) {
  const Finding f = bisect(network(), fresh_inputs(), with({}, "crooked"));
  ASSERT_EQ(f.where, Where::kBackend) << f.to_string();
  EXPECT_EQ(f.backend, "crooked");
  EXPECT_EQ(calls_of(f.reproducer.graph).size(), 1U) << f.to_string();
  EXPECT_TRUE(has(f.reproducer.graph, "aten.tanh.default"));
}

TEST(Bisect, SeesWhatOnlyASecondReplayShows) {
  const Finding f = bisect(network(), fresh_inputs(), with({}, "forgetful"));
  ASSERT_EQ(f.where, Where::kBackend) << f.to_string();
  EXPECT_THAT(f.message, HasSubstr("second replay"));
  EXPECT_TRUE(has(f.reproducer.graph, "aten.tanh.default"));
}

TEST(Bisect, ForwardThatIsNotWhatItWasIsTheTracesFault) {
  Module module;
  auto calls = std::make_shared<int>(0);
  module.forward = [calls](const Tensors& in) -> Tensors {
    return {++*calls < 2 ? at::relu(in[0]) : at::neg(in[0])};
  };
  Options options = with({});
  options.check_twice = false;  // a second traced forward would see the settled one
  const Finding f = bisect(module, {at::randn({32})}, options);
  EXPECT_EQ(f.where, Where::kTrace) << f.to_string();
}

TEST(Bisect, ReproducersComeBackAndStillFail) {
  const fs::path folder = dump::claim_folder(fs::temp_directory_path(), "monograph_reproducer");
  const Finding f = bisect(network(), fresh_inputs(), with({}, "crooked"));
  write_reproducer(f, folder / "case");
  for (const char* file : {"graph.txt", "inputs.safetensors", "weights.safetensors",
                           "expected.safetensors", "case.mono", "finding.txt"}) {
    EXPECT_TRUE(fs::exists(folder / "case" / file)) << file;
  }
  const Subject again = read_reproducer(folder / "case");
  EXPECT_TRUE(ir::same(again.graph, f.reproducer.graph));
  const Finding second = bisect(again, with({}, "crooked"));
  EXPECT_EQ(second.where, Where::kBackend) << second.to_string();
  EXPECT_EQ(bisect(again, with({}, "host")).where, Where::kNowhere);
  EXPECT_THROW(write_reproducer(f, folder / "case"), fs::filesystem_error);
  EXPECT_THROW(read_reproducer(folder / "nothing"), Error);
  fs::remove_all(folder);
}

Subject chain() {
  return record(
      [](const Tensors& in) -> Tensors {
        return {at::neg(at::exp(at::tanh(at::cos(at::relu(at::sigmoid(in[0]))))))};
      },
      {at::randn({8})});
}

/// The predicate alone decides: what it needs stays together, with what lies between.
TEST(Minify, KeepsWhatTheFaultNeeds) {
  const auto fails = [](const Subject& s) {
    return has(s.graph, "aten.relu.default") && has(s.graph, "aten.tanh.default");
  };
  const Minified small = minify(chain(), fails);
  EXPECT_TRUE(fails(small.subject));
  EXPECT_EQ(calls_of(small.subject.graph).size(), 3U) << ir::text(small.subject.graph);
  EXPECT_LE(small.trials, 40);
}

TEST(Minify, StopsAtTheLimit) {
  int calls = 0;
  const auto fails = [&calls](const Subject&) { return ++calls > 0; };
  EXPECT_EQ(minify(chain(), fails, {.max_trials = 2, .max_seconds = 60}).trials, 2);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace monograph::inspect
