// Forwards whose computation depends on more than shapes: data, time, chance, other threads, global
// settings, overlapping memory. And their safe twins.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <thread>

#include "tests/refuse/toy.h"

namespace monograph::test {
namespace {

using at::Tensor;
constexpr Code kData = Code::kRejectedDataDependence;
constexpr Code kShape = Code::kRejectedDynamicShape;
constexpr Code kDivergence = Code::kRejectedDivergence;
constexpr Code kRandom = Code::kRejectedRandom;
constexpr Code kThread = Code::kRejectedForeignThread;
constexpr Code kGlobal = Code::kRejectedGlobalState;
constexpr Code kUnsupported = Code::kRejectedUnsupportedOp;

const float* floats(const Tensor& t) {
  return t.const_data_ptr<float>();
}

Case data(std::string name, Code code, std::string subject, Toy::Body body) {
  return unsafe("data dependence", std::move(name), code, std::move(subject), std::move(body));
}
Case fine(std::string name, Toy::Body body) {
  return safe("data dependence", std::move(name), std::move(body));
}

const std::vector<Case> kTagged = {
    data("item", kData, "",
         [](Toy&, const In& in) -> Tensors { return {in.x * in.x.sum().item<float>()}; }),
    data("item of a buffer", kData, "",
         [](Toy& t, const In& in) -> Tensors { return {in.x * t.count.sum().item<float>()}; }),
    data("item of an index", kData, "",
         [](Toy&, const In& in) -> Tensors { return {in.x[in.ids[0].item<std::int64_t>()] * 1}; }),
    data("branch on a sum", kData, "",
         [](Toy&, const In& in) -> Tensors {
           return {in.x.sum().gt(0).is_nonzero() ? in.x * 2 : in.x * 3};
         }),
    data("loop until small", kData, "",
         [](Toy&, const In& in) -> Tensors {
           Tensor y = in.x * 1;
           while (y.abs().max().item<float>() > 1) y = y * 0.5;
           return {y};
         }),
    data("equal of two tensors", kData, "",
         [](Toy& t, const In& in) -> Tensors {
           return {at::equal(in.x, t.cache) ? in.x * 2 : in.x * 3};
         }),
    data("allclose", kData, "",
         [](Toy& t, const In& in) -> Tensors {
           return {at::allclose(in.x, t.cache) ? in.x * 2 : in.x * 3};
         }),
    data("split by a tensor", kData, "",
         [](Toy&, const In& in) -> Tensors {
           return {at::tensor_split(in.x, in.ids.slice(0, 0, 1), 0).front() * 1};
         }),
    data("inverse that checks for errors", kData, "",
         [](Toy& t, const In& in) -> Tensors { return {at::linalg_inv(t.weight + in.x)}; }),
    data("nonzero", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {in.x.gt(0).nonzero()}; }),
    data("masked_select", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {in.x.masked_select(in.x > 0)}; }),
    data("boolean index", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {in.x.index({in.x > 0})}; }),
    data("unique", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {std::get<0>(at::_unique2(in.ids))}; }),
    data("one_hot of unknown width", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {at::one_hot(in.ids)}; }),
    data("repeat_interleave by a tensor", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {at::repeat_interleave(in.ids)}; }),
    data("bincount", kShape, "",
         [](Toy&, const In& in) -> Tensors { return {at::bincount(in.ids)}; }),
    fine("where instead of a branch",
         [](Toy&, const In& in) -> Tensors {
           return {at::where(in.x.sum() > 0, in.x * 2, in.x * 3)};
         }),
    fine("branch on a shape",
         [](Toy&, const In& in) -> Tensors { return {in.x.size(0) > 3 ? in.x * 2 : in.x * 3}; }),
    fine("item of a factory",
         [](Toy&, const In& in) -> Tensors {
           return {in.x * at::arange(4).sum().item<std::int64_t>()};
         }),
    fine("equal of a tensor with itself",
         [](Toy&, const In& in) -> Tensors { return {at::equal(in.x, in.x) ? in.x * 2 : in.x}; }),
    fine("integer index and index_select",
         [](Toy& t, const In& in) -> Tensors {
           return {in.x.index({in.ids}), t.cache.index_select(0, in.ids)};
         }),
    fine("one_hot of known width",
         [](Toy&, const In& in) -> Tensors { return {at::one_hot(in.ids, 5)}; }),
    fine("masked_fill instead of masked_select",
         [](Toy&, const In& in) -> Tensors { return {in.x.masked_fill(in.x > 0, 0)}; }),
    fine("topk and sort",
         [](Toy&, const In& in) -> Tensors {
           const auto [values, indices] = in.x.topk(2, 1);
           return {values, indices, std::get<0>(in.x.sort(0))};
         }),
};

TEST(RefuseDependence, KnownByOperator) {
  run_corpus("Values that operators bring to the host", kTagged);
}

const std::vector<Case> kSecondForward = {
    data("a scalar read by pointer", kData, "",
         [](Toy&, const In& in) -> Tensors { return {in.x * floats(in.x)[0]}; }),
    data("a scalar read by accessor", kData, "",
         [](Toy&, const In& in) -> Tensors { return {in.x + in.x.accessor<float, 2>()[3][3]}; }),
    data("a branch on a value read by pointer", kData, "",
         [](Toy&, const In& in) -> Tensors {
           return {in.ids.const_data_ptr<std::int64_t>()[0] % 2 == 0 ? in.x.relu() : in.x.tanh()};
         }),
    data("a slice bound read by pointer", kData, "",
         [](Toy&, const In& in) -> Tensors {
           const auto n = in.ids.const_data_ptr<std::int64_t>()[0];
           return {in.x.select(0, n) * 2};
         }),
    data("a loop bound read by pointer", kData, "",
         [](Toy&, const In& in) -> Tensors {
           Tensor y = in.x * 1;
           const auto n = in.ids.const_data_ptr<std::int64_t>()[1];
           for (std::int64_t i = 0; i < n; ++i) y = y + 1;
           return {y};
         }),
    data("a tensor built on the host from data", kData, "_tensor_constant0",
         [](Toy& t, const In& in) -> Tensors {
           for (int i = 0; i < 4; ++i) t.host[i] = floats(in.x)[i] * 2;
           return {in.x + at::from_blob(t.host.data(), {4}).clone()};
         }),
    data("a sort on the host", kData, "_tensor_constant0",
         [](Toy&, const In& in) -> Tensors {
           std::vector<float> row(floats(in.x), floats(in.x) + 4);
           std::sort(row.begin(), row.end());
           Tensor sorted = at::empty({4});
           std::copy(row.begin(), row.end(), sorted.mutable_data_ptr<float>());
           return {in.x + sorted};
         }),
    data("a parsed value", kData, "",
         [](Toy&, const In& in) -> Tensors {
           return {in.x * std::stod(std::to_string(floats(in.x)[2]))};
         }),
    data("an axis chosen by data", kData, "",
         [](Toy&, const In& in) -> Tensors {
           return {in.x.sum(in.ids.const_data_ptr<std::int64_t>()[0] % 2)};
         }),
    fine("a constant built anew by each call",
         [](Toy& t, const In& in) -> Tensors {
           Tensor scale = at::empty({4});
           std::copy(t.host.begin(), t.host.end(), scale.mutable_data_ptr<float>());
           return {in.x * scale};
         }),
    fine(
        "from_blob of fixed host memory",
        [](Toy& t, const In& in) -> Tensors { return {in.x * at::from_blob(t.host.data(), {4})}; }),
    fine("a scalar from metadata",
         [](Toy&, const In& in) -> Tensors { return {in.x / static_cast<double>(in.x.numel())}; }),
};

TEST(RefuseDependence, SeenByASecondForward) {
  run_corpus("Values that only a second forward shows", kSecondForward);
}

Case drifts(std::string name, std::string subject, Toy::Body body) {
  return unsafe("divergence", std::move(name), kDivergence, std::move(subject), std::move(body));
}

const std::vector<Case> kDrifts = {
    drifts("a counter as a number", "",
           [](Toy& t, const In& in) -> Tensors { return {in.x + ++t.calls}; }),
    drifts("a counter as a branch", "",
           [](Toy& t, const In& in) -> Tensors {
             return {++t.calls % 2 == 0 ? in.x.relu() : in.x.tanh()};
           }),
    drifts("a counter as a loop bound", "",
           [](Toy& t, const In& in) -> Tensors {
             Tensor y = in.x * 1;
             ++t.calls;
             for (int i = 0; i < t.calls; ++i) y = y + 1;
             return {y};
           }),
    drifts("a counter as an index", "",
           [](Toy& t, const In& in) -> Tensors { return {in.x.select(0, t.calls++ % 4) * 1}; }),
    drifts("a schedule as a number", "",
           [](Toy& t, const In& in) -> Tensors { return {in.x * (1.0 / (1 + t.calls++))}; }),
    drifts("a host vector that changes", "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             t.host[0] += 1;
             return {in.x * at::from_blob(t.host.data(), {4})};
           }),
    drifts("a tensor made of a host vector that changes", "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             t.host[1] += 1;
             Tensor scale = at::empty({4});
             std::copy(t.host.begin(), t.host.end(), scale.mutable_data_ptr<float>());
             return {in.x * scale};
           }),
    drifts("random numbers of the host", "",
           [](Toy& t, const In& in) -> Tensors {
             t.calls = static_cast<int>((t.calls * 1103L + 12345L) % 65536L);
             return {in.x * t.calls};
           }),
    drifts("the clock", "",
           [](Toy&, const In& in) -> Tensors {
             const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
             return {in.x + static_cast<double>(now)};
           }),
    safe("divergence", "a counter that decides nothing",
         [](Toy& t, const In& in) -> Tensors {
           ++t.calls;
           return {in.x * 2};
         }),
    safe("divergence", "a table filled by the first call",
         [](Toy& t, const In& in) -> Tensors {
           if (t.calls++ == 0) t.host = {4, 3, 2, 1};
           Tensor scale = at::empty({4});
           std::copy(t.host.begin(), t.host.end(), scale.mutable_data_ptr<float>());
           return {in.x * scale};
         }),
};

TEST(RefuseDependence, ThingsThatChangeByThemselves) {
  run_corpus("Things that change by themselves", kDrifts);
}

Case chance(std::string name, Toy::Body body) {
  return unsafe("random", std::move(name), kRandom, "", std::move(body));
}

const std::vector<Case> kChance = {
    chance("dropout", [](Toy&, const In& in) -> Tensors { return {at::dropout(in.x, 0.5, true)}; }),
    chance("randn", [](Toy&, const In& in) -> Tensors { return {in.x + at::randn({4})}; }),
    chance("rand_like", [](Toy&, const In& in) -> Tensors { return {in.x + at::rand_like(in.x)}; }),
    chance("randint", [](Toy&, const In& in) -> Tensors { return {in.x + at::randint(9, {4})}; }),
    chance("randperm",
           [](Toy&, const In& in) -> Tensors { return {in.x.index({at::randperm(4)})}; }),
    chance(
        "bernoulli_",
        [](Toy&, const In& in) -> Tensors { return {in.x * at::empty_like(in.x).bernoulli_()}; }),
    chance("normal_ into an intermediate",
           [](Toy&, const In& in) -> Tensors { return {in.x + at::empty({4}).normal_()}; }),
    chance("multinomial",
           [](Toy&, const In& in) -> Tensors { return {at::multinomial(in.x.softmax(1), 1)}; }),
    chance("attention with dropout",
           [](Toy&, const In& in) -> Tensors {
             const Tensor y = in.x.unsqueeze(0);
             return {at::scaled_dot_product_attention(y, y, y, {}, 0.5)};
           }),
    chance("rrelu in training",
           [](Toy&, const In& in) -> Tensors { return {at::rrelu(in.x, 0.1, 0.3, true)}; }),
    safe("random", "dropout in evaluation",
         [](Toy&, const In& in) -> Tensors { return {at::dropout(in.x, 0.5, false) * 2}; }),
    safe("random", "attention without dropout",
         [](Toy&, const In& in) -> Tensors {
           const Tensor y = in.x.unsqueeze(0);
           return {at::scaled_dot_product_attention(y, y, y)};
         }),
    safe("random", "rrelu in evaluation",
         [](Toy&, const In& in) -> Tensors { return {at::rrelu(in.x, 0.1, 0.3, false)}; }),
};

TEST(RefuseDependence, RandomNumbers) {
  run_corpus("Random numbers", kChance);
}

Case thread(std::string name, Toy::Body body) {
  return unsafe("threads", std::move(name), kThread, "", std::move(body));
}

const std::vector<Case> kThreads = {
    thread("an operator on a plain thread",
           [](Toy&, const In& in) -> Tensors {
             Tensor y;
             std::thread([&] { y = in.x * 2; }).join();
             return {y + 1};
           }),
    thread("an operator on an intermediate elsewhere",
           [](Toy&, const In& in) -> Tensors {
             const Tensor y = in.x * 2;
             Tensor z;
             std::thread([&] { z = y.sum(0); }).join();
             return {y, z};
           }),
    thread("a thread that inherits the recorder's state",
           [](Toy&, const In& in) -> Tensors {
             const at::ThreadLocalState state;
             Tensor y;
             std::thread([&] {
               const at::ThreadLocalStateGuard guard(state);
               y = in.x * 3;
             }).join();
             return {in.x + y};
           }),
    thread("a task whose result is read late",
           [](Toy& t, const In& in) -> Tensors {
             auto later =
                 std::async(std::launch::async, [&] { return at::matmul(in.x, t.weight); });
             const Tensor y = in.x * 2;
             return {y + later.get()};
           }),
    thread("a tensor made elsewhere from weights",
           [](Toy& t, const In& in) -> Tensors {
             auto made = std::async(std::launch::async, [&] { return t.weight * 2; });
             return {at::matmul(in.x, made.get())};
           }),
    safe("threads", "a thread that does something else",
         [](Toy&, const In& in) -> Tensors {
           auto elsewhere = std::async(std::launch::async, [] { return at::ones({3}).sum(); });
           const Tensor y = in.x * 2;
           elsewhere.wait();
           return {y + 1};
         }),
    safe("threads", "a thread without tensors",
         [](Toy& t, const In& in) -> Tensors {
           int seen = 0;
           std::thread([&] { seen = static_cast<int>(t.host.size()); }).join();
           return {in.x * seen};
         }),
};

TEST(RefuseDependence, OtherThreads) {
  run_corpus("Other threads", kThreads);
}

Case setting(std::string name, std::string subject, Toy::Body body) {
  return unsafe("global state", std::move(name), kGlobal, std::move(subject), std::move(body));
}

const std::vector<Case> kGlobals = {
    setting("grad mode", "grad mode",
            [](Toy&, const In& in) -> Tensors {
              c10::GradMode::set_enabled(!c10::GradMode::is_enabled());
              return {in.x * 2};
            }),
    setting("default dtype", "default dtype",
            [](Toy&, const In& in) -> Tensors {
              at::set_default_dtype(caffe2::TypeMeta::Make<double>());
              return {in.x * 2};
            }),
    setting("autocast", "autocast",
            [](Toy&, const In& in) -> Tensors {
              at::autocast::set_autocast_enabled(at::kCPU, true);
              return {in.x * 2};
            }),
    setting("deterministic algorithms", "deterministic algorithms",
            [](Toy&, const In& in) -> Tensors {
              at::globalContext().setDeterministicAlgorithms(true, true);
              return {in.x * 2};
            }),
    setting("denormals", "flushing of denormals",
            [](Toy&, const In& in) -> Tensors {
              at::globalContext().setFlushDenormal(true);
              return {in.x * 2};
            }),
    setting("number of threads", "number of threads",
            [](Toy&, const In& in) -> Tensors {
              at::set_num_threads(at::get_num_threads() + 1);
              return {in.x * 2};
            }),
    safe("global state", "switched and back",
         [](Toy&, const In& in) -> Tensors {
           const c10::NoGradGuard guard;
           at::autocast::set_autocast_enabled(at::kCPU, true);
           const Tensor y = in.x * 2;
           at::autocast::set_autocast_enabled(at::kCPU, false);
           return {y};
         }),
};

TEST(RefuseDependence, GlobalState) {
  const bool grad = c10::GradMode::is_enabled();
  const int threads = at::get_num_threads();
  run_corpus("Global state", kGlobals);
  EXPECT_EQ(c10::GradMode::is_enabled(), grad);
  EXPECT_EQ(at::get_default_dtype_as_scalartype(), at::kFloat);
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
  EXPECT_EQ(at::get_num_threads(), threads);
}

Tensors twice(const In& in) {
  return {in.x.sum(0) + in.ids};
}

const std::vector<Case> kMemory = {
    unsafe(
        "aliasing", "one tensor passed twice", Code::kRejectedAliasing, "ids",
        [](Toy&, const In& in) { return twice(in); }, {},
        [](Module&, Tensors& inputs) { inputs[1] = inputs[0]; }),
    unsafe(
        "aliasing", "overlapping slices", Code::kRejectedAliasing, "ids",
        [](Toy&, const In& in) -> Tensors { return {in.x + in.ids}; }, {},
        [](Module&, Tensors& inputs) {
          const Tensor wide = at::randn({8});
          inputs = {wide.slice(0, 0, 5), wide.slice(0, 3, 8)};
        }),
    unsafe("aliasing", "a second storage on a result", kUnsupported, "",
           [](Toy&, const In& in) -> Tensors {
             const Tensor y = in.x * 2;
             return {y + at::from_blob(y.data_ptr(), {4, 4})};
           }),
    unsafe("aliasing", "a host write into a result", kUnsupported, "",
           [](Toy&, const In& in) -> Tensors {
             Tensor y = in.x * 2;
             y.data_ptr<float>()[0] = 3;
             return {y + 1};
           }),
    safe("aliasing", "an output that is an input",
         [](Toy&, const In& in) -> Tensors {
           return {in.x, in.x * 2};
         }),
    safe("aliasing", "an output that is a view of an input",
         [](Toy&, const In& in) -> Tensors {
           return {in.x.t(), in.x.select(0, 1)};
         }),
    safe("aliasing", "an output that is a weight",
         [](Toy& t, const In& in) -> Tensors {
           return {t.weight, in.x + t.weight.t()};
         }),
    safe("aliasing", "outputs that are one tensor",
         [](Toy&, const In& in) -> Tensors {
           const Tensor y = in.x * 2;
           return {y, y, y.t()};
         }),
    safe(
        "aliasing", "interleaved slices",
        [](Toy&, const In& in) -> Tensors { return {in.x + in.ids}; }, {},
        [](Module&, Tensors& inputs) {
          const Tensor wide = at::randn({3, 8});
          inputs = {wide.slice(1, 0, 4), wide.slice(1, 4, 8)};
        }),
    unsafe(
        "training", "dropout in training mode", Code::kRejectedTraining, "encoder.dropout",
        [](Toy&, const In& in) -> Tensors { return {in.x * 2}; }, {},
        [](Module& m, Tensors&) { m.training_modules = {"encoder.dropout"}; }),
    unsafe("unsupported", "a sparse result", kUnsupported, "",
           [](Toy&, const In& in) -> Tensors { return {in.x.to_sparse()}; }),
    unsafe("unsupported", "an undefined output", kUnsupported, "output 0",
           [](Toy&, const In&) -> Tensors { return {Tensor()}; }),
};

TEST(RefuseDependence, Memory) {
  run_corpus("Overlapping memory, training mode, what a graph can't hold", kMemory);
}

}  // namespace
}  // namespace monograph::test
