// The gate for whole graphs: which edges ship, what is remembered, what a failure leaves. Runs on
// the virtual GPU with a stopwatch that says what the test wants to hear.
#include "runtime/cuda/tune/gate.h"

#include <gmock/gmock.h>
#include <monograph/error.h>

#include <filesystem>
#include <limits>
#include <map>

#include "tests/cuda/folder.h"
#include "tests/cuda/works.h"

namespace monograph::cuda::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using vgpu_test::controls;
using vgpu_test::leaks;

constexpr const char* kProgrammatic = "programmatic edges";
constexpr const char* kFull = "full edges";
constexpr float kCount = 7;

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++n;
  return n;
}

class GateTest : public PlanTest {
 protected:
  void SetUp() override {
    PlanTest::SetUp();
    a = room();
    b = room();
    one = constant(1);
    ten = constant(10);
    out = room();
    state = constant(kCount);
    kept = constant(kCount);
    call = std::make_shared<Call>(
        [this](CUstream s) { cu().MemcpyDtoDAsync(b.get(), a.get(), kBytes, s); });
  }
  void TearDown() override {
    call.reset();
    for (DeviceBuffer* x : {&a, &b, &one, &ten, &out, &state, &kept}) *x = {};
    PlanTest::TearDown();
  }
  const Driver& cu() const { return context->driver(); }

  /// a = in0 * 2 + w0; state = state * 1 + w0; b = a by a captured call; out0 = b * 3 + state.
  /// Four edges, of which those to `count` and from it can be programmatic.
  GraphProblem problem() {
    const auto at = [](const DeviceBuffer& x) { return Address::fixed(x.get()); };
    const Address weight = Address::weight(0, 0);
    GraphProblem p;
    p.works.push_back(work("a", Address::input(0, 0), weight, at(a), 2, true));
    p.works.push_back(work("count", at(state), weight, at(state), 1, true));
    p.works.push_back({-1, "call", LibraryWork{call}});
    p.works.push_back(work("sum", at(b), at(state), Address::output(0, 0), 3, true));
    p.edges = {{0, 1}, {0, 2}, {1, 3}, {2, 3}};
    p.ports = {{ten.get()}, {out.get()}, {one.get()}};
    p.stream = stream.get();
    p.key = [this] {
      ++keys;
      return std::string("sources");
    };
    p.prepare = [this] {
      ++prepared;
      cu().MemcpyDtoDAsync(state.get(), kept.get(), kBytes, stream.get());
    };
    return p;
  }
  Gate::Settings settings(const std::string& folder = "none") {
    Gate::Settings s;
    s.on = true;
    s.directory = folder;
    s.rounds = 3;
    s.stopwatch = [this](const std::string& name, PlanRunner& graph, const Ports& ports,
                         CUstream on) {
      graph.launch(ports, on);
      EXPECT_EQ(value(state.get()), kCount + 1) << "a replay found what another had left";
      EXPECT_EQ(value(out.get()), kResult);
      EXPECT_EQ(graph.report().programmatic_edges, name == kProgrammatic ? 2u : 0u);
      timed.push_back(name);
      return times.at(name);
    };
    return s;
  }
  /// It replays, follows ports and weights, and says which edges it has.
  void expect_works(PlanRunner& graph, bool programmatic) {
    EXPECT_EQ(graph.report().programmatic_edges, programmatic ? 2u : 0u);
    EXPECT_EQ(graph.report().edges, 4u);
    EXPECT_EQ(graph.report().kernel_nodes, 3u);
    EXPECT_EQ(graph.report().child_graphs, 1u);
    EXPECT_EQ(count(graph.text(), "edge "), 4u);
    EXPECT_EQ(count(graph.text(), "-> 1 programmatic\n"), programmatic ? 1u : 0u);
    EXPECT_EQ(count(graph.text(), "-> 3 programmatic\n"), programmatic ? 1u : 0u);
    Ports ports = problem().ports;
    DeviceBuffer other = room();
    for (const DeviceBuffer* weight : {&one, &ten}) {
      for (const std::uint64_t order : {0, 1, 2, 3}) {
        controls().seed(order);
        ports.inputs[0] = order % 2 == 0 ? ten.get() : one.get();
        ports.outputs[0] = order < 2 ? out.get() : other.get();
        for (DeviceBuffer* x : {&a, &b, &out, &other}) {
          cu().MemsetD8Async(x->get(), 0xff, kBytes, stream.get());
        }
        cu().MemcpyDtoDAsync(state.get(), kept.get(), kBytes, stream.get());
        graph.launch(ports, stream.get());
        const float w = weight == &one ? 1 : 10;
        const float in = order % 2 == 0 ? 10 : 1;
        EXPECT_EQ(value(ports.outputs[0]), (in * 2 + w) * 3 + kCount + w);
        EXPECT_EQ(value(state.get()), kCount + w);
      }
      graph.rebind({ten.get()});
      ports.weights = {ten.get()};
    }
    stream.synchronize();
  }
  static constexpr float kResult = (10 * 2 + 1) * 3 + kCount + 1;

  DeviceBuffer a, b, one, ten, out, state, kept;
  std::shared_ptr<Call> call;
  std::map<std::string, double> times{{kProgrammatic, 5}, {kFull, 6}};
  std::vector<std::string> timed;
  int keys = 0;
  int prepared = 0;
};

TEST_F(GateTest, ShipsTheFaster) {
  struct Case {
    double programmatic, full;
    bool takes_programmatic;
  };
  for (const Case& c : {Case{5, 6, true}, Case{6, 5, false}, Case{5, 5, true}}) {
    times = {{kProgrammatic, c.programmatic}, {kFull, c.full}};
    timed.clear();
    call->enqueued = 0;
    Gate gate(context, settings());
    const GatedGraph built = gate.build(problem());
    EXPECT_EQ(call->enqueued, 1) << "a call was captured again";
    EXPECT_THAT(timed,
                ElementsAre(kProgrammatic, kFull, kFull, kProgrammatic, kProgrammatic, kFull));
    EXPECT_THAT(built.verdict, HasSubstr(c.takes_programmatic ? "programmatic edges: 5.00 us"
                                                              : "full edges: 5.00 us"));
    EXPECT_THAT(built.verdict, HasSubstr(c.full == 5 && c.programmatic == 5 ? "5.00" : "6.00"));
    expect_works(*built.graph, c.takes_programmatic);
  }
}

TEST_F(GateTest, TheMedianDecides) {
  std::map<std::string, std::vector<double>> rounds{{kProgrammatic, {4, 7, 6}}, {kFull, {5, 9, 5}}};
  Gate::Settings s = settings();
  s.stopwatch = [&](const std::string& name, PlanRunner& graph, const Ports& ports, CUstream on) {
    graph.launch(ports, on);
    const double us = rounds[name].back();
    rounds[name].pop_back();
    return us;
  };
  Gate gate(context, s);
  const GatedGraph built = gate.build(problem());
  EXPECT_EQ(built.verdict, "full edges: 5.00 us a replay, programmatic edges: 6.00");
  expect_works(*built.graph, false);
}

TEST_F(GateTest, RemembersByGraphSourcesAndDevice) {
  const Folder folder;
  for (const bool programmatic : {false, true}) {
    times = {{kProgrammatic, programmatic ? 2 : 4}, {kFull, 3}};
    GraphProblem p = problem();
    p.key = [programmatic] { return programmatic ? "these" : "those"; };
    { (void)Gate(context, settings(folder.path)).build(p); }
    EXPECT_EQ(timed.size(), 6u) << "other sources are another problem";
    timed.clear();
    times = {{kProgrammatic, 3}, {kFull, 3}};
    Gate gate(context, settings(folder.path));
    prepared = 0;
    const auto made = controls().calls("cuGraphInstantiateWithParams");
    const GatedGraph built = gate.build(p);
    EXPECT_EQ(controls().calls("cuGraphInstantiateWithParams"), made + 1);
    EXPECT_THAT(timed, IsEmpty());
    EXPECT_EQ(prepared, 0);
    EXPECT_THAT(built.verdict, HasSubstr(", remembered"));
    expect_works(*built.graph, programmatic);
    // Another graph of the same sources.
    std::get<KernelWork>(p.works[1].what).grid = {3, 1, 1};
    EXPECT_THAT(gate.build(p).verdict, testing::Not(HasSubstr("remembered")));
    EXPECT_EQ(timed.size(), 6u);
    timed.clear();
    const std::string key = gate.full_key(p);
    EXPECT_THAT(key, HasSubstr(context->info().name));
    EXPECT_THAT(key, HasSubstr("driver " + std::to_string(context->driver().version())));
  }
}

TEST_F(GateTest, AnEntryThatSaysSomethingElseIsMadeAgain) {
  Gate gate(context, settings());
  gate.cache().store(gate.full_key(problem()), {{{"no edges", 1}, {kFull, 2}}});
  EXPECT_THAT(gate.build(problem()).verdict, testing::StartsWith(kProgrammatic));
  EXPECT_EQ(timed.size(), 6u);
}

TEST_F(GateTest, TimesNothingWhenOffOrWithoutAChoice) {
  Gate::Settings off = settings();
  off.on = false;
  const GatedGraph ungated = Gate(context, off).build(problem());
  EXPECT_EQ(ungated.verdict, "");
  expect_works(*ungated.graph, true);
  GraphProblem p = problem();
  for (Work& w : p.works) {
    if (auto* k = std::get_if<KernelWork>(&w.what)) k->programmatic = false;
  }
  Gate gate(context, settings());
  const GatedGraph built = gate.build(p);
  EXPECT_EQ(built.verdict, "");
  expect_works(*built.graph, false);
  GraphProblem wrong = problem();
  wrong.edges = {{0, 7}};
  EXPECT_THROW(gate.build(wrong), Error) << "a plan's defect isn't the gate's to hide";
  EXPECT_THAT(timed, IsEmpty());
  EXPECT_EQ(keys, 0);
  EXPECT_EQ(prepared, 0);
}

TEST_F(GateTest, RunsToWarmUpFindTheStateToo) {
  call = std::make_shared<Call>(
      [this](CUstream s) { cu().MemcpyDtoDAsync(b.get(), a.get(), kBytes, s); }, 2);
  Gate::Settings off = settings();
  off.on = false;
  const GatedGraph built = Gate(context, off).build(problem());
  EXPECT_EQ(call->enqueued, 3);
  EXPECT_EQ(prepared, 2);
  EXPECT_EQ(value(state.get()), kCount + 1) << "two runs have counted";
  expect_works(*built.graph, true);
}

TEST_F(GateTest, WhatCannotBeTimedKeepsProgrammaticEdgesAndSaysSoOnce) {
  const auto good = settings().stopwatch;
  const auto fails_after = [&](int rounds, double bad) {
    return [&good, rounds, bad, n = 0](const std::string& name, PlanRunner& graph,
                                       const Ports& ports, CUstream on) mutable {
      const double us = good(name, graph, ports, on);
      if (n++ < rounds) return us;
      if (bad != 0) return bad;
      throw Error(Code::kInternal, "the watch has stopped");
    };
  };
  times = {{kProgrammatic, 6}, {kFull, 5}};
  for (const auto& [watch, nth] : std::vector<std::pair<Stopwatch, std::uint64_t>>{
           {fails_after(0, 0), 0},
           {fails_after(3, 0), 0},
           {fails_after(2, std::numeric_limits<double>::quiet_NaN()), 0},
           {good, 2}}) {
    Gate::Settings s = settings();
    s.stopwatch = watch;
    Gate gate(context, s);
    testing::internal::CaptureStderr();
    if (nth != 0) controls().fail("cuGraphInstantiateWithParams", nth, CUDA_ERROR_OUT_OF_MEMORY);
    const GatedGraph built = gate.build(problem());
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(count(said, "couldn't be compared"), 1u) << said;
    EXPECT_EQ(count(said, "\n"), 1u) << said;
    EXPECT_THAT(built.verdict, testing::StartsWith("programmatic edges, not compared: "));
    expect_works(*built.graph, true);
    EXPECT_EQ(gate.cache().find(gate.full_key(problem())), std::nullopt);
  }
}

TEST_F(GateTest, ALostDeviceThrows) {
  Gate::Settings s = settings();
  s.stopwatch = [&](const std::string&, PlanRunner& graph, const Ports& ports, CUstream on) {
    graph.launch(ports, on);
    controls().fail("cuStreamSynchronize", 1, CUDA_ERROR_ILLEGAL_ADDRESS);
    cu().StreamSynchronize(on);
    return 1.0;
  };
  Gate gate(context, s);
  try {
    (void)gate.build(problem());
    ADD_FAILURE() << "a lost device was taken for a slow one";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kDevicePoisoned);
  }
}

TEST_F(GateTest, EveryCallMayFail) {
  times = {{kProgrammatic, 6}, {kFull, 5}};
  Gate::Settings s = settings();
  s.stopwatch = {};  // events' calls may fail, too
  const auto attempt = [&] {
    const GatedGraph built = Gate(context, s).build(problem());
    cu().MemcpyDtoDAsync(state.get(), kept.get(), kBytes, stream.get());
    built.graph->launch(problem().ports, stream.get());
    EXPECT_EQ(value(out.get()), kResult);
    EXPECT_EQ(value(state.get()), kCount + 1);
  };
  stream.synchronize();
  const std::string before = leaks();
  const auto from = controls().calls(nullptr);
  attempt();
  const auto total = controls().calls(nullptr) - from;
  ASSERT_GT(total, 60u);
  std::uint64_t thrown = 0;
  for (std::uint64_t nth = 1; nth <= total; ++nth) {
    const auto code = nth % 2 == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    testing::internal::CaptureStderr();
    controls().fail(nullptr, nth, code);
    try {
      attempt();
    } catch (const Error& e) {
      ++thrown;
      EXPECT_THAT(e.driver_text(), HasSubstr("CUDA_ERROR_")) << nth << ": " << e.what();
    }
    controls().fail(nullptr, 0, CUDA_SUCCESS);
    (void)testing::internal::GetCapturedStderr();
    stream.synchronize();
    ASSERT_EQ(leaks(), before) << "after call " << nth;
    attempt();
  }
  EXPECT_GT(thrown, 5u);
  EXPECT_LT(thrown, total - 20) << "failures of the comparison were taken for failures to build";
}

}  // namespace
}  // namespace monograph::cuda::test
