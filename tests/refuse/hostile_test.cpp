// Ways to hide a write, a dependence or an alias that people really use: globals, captures, hooks,
// containers, storages, generators, nested modes. And odd but safe shapes and structures.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <cstring>
#include <random>
#include <thread>

#include "tests/refuse/toy.h"

namespace monograph::test {
namespace {

using at::Tensor;
constexpr Code kMutation = Code::kRejectedMutation;
constexpr Code kRebinding = Code::kRejectedRebinding;
constexpr Code kDivergence = Code::kRejectedDivergence;
constexpr Code kData = Code::kRejectedDataDependence;
constexpr Code kShape = Code::kRejectedDynamicShape;
constexpr Code kRandom = Code::kRejectedRandom;
constexpr Code kThread = Code::kRejectedForeignThread;
constexpr Code kUnsupported = Code::kRejectedUnsupportedOp;

// --- tensors that no module owns ---

Tensor& global_table() {
  static Tensor table = at::full({4}, 3.0);
  return table;
}
Tensor& global_last() {
  static Tensor last;
  return last;
}
std::vector<Tensor>& global_list() {
  static std::vector<Tensor> list;
  return list;
}

Tensor same(const Tensor& x) {
  return x;
}
Tensor keeps(const Tensor& x) {
  global_last() = x;
  return x * 2;
}

TORCH_LIBRARY(hostile, m) {
  m.def("same(Tensor x) -> Tensor");
  m.def("keeps(Tensor x) -> Tensor");
}
TORCH_LIBRARY_IMPL(hostile, CPU, m) {
  m.impl("same", &same);
  m.impl("keeps", &keeps);
}
Tensor call(const char* name, const Tensor& x) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(name, "")
      .typed<Tensor(const Tensor&)>()
      .call(x);
}

/// A hook as C++ code has them: a function kept beside the module.
const std::function<void(Toy&, const Tensor&)> kCountingHook = [](Toy& t, const Tensor&) {
  t.count.add_(1);
};
const std::function<Tensor(const Tensor&)> kPureHook = [](const Tensor& y) { return y * 2; };

Case owner(std::string name, Code code, std::string subject, Toy::Body body) {
  return unsafe("ownership", std::move(name), code, std::move(subject), std::move(body));
}
Case owned(std::string name, Toy::Body body) {
  return safe("ownership", std::move(name), std::move(body));
}

const std::vector<Case> kOwnership = {
    owner("a global tensor is written", kMutation, "_tensor_constant0",
          [](Toy&, const In& in) -> Tensors {
            global_table().add_(0.5);
            return {in.x * global_table()};
          }),
    owner("a global tensor becomes the last result", kRebinding, "%mul",
          [](Toy&, const In& in) -> Tensors {
            global_last() = in.x * 2;
            return {global_last() + 1};
          }),
    owner("a global list collects results", kRebinding, "%tanh",
          [](Toy&, const In& in) -> Tensors {
            global_list().push_back(in.x.tanh());
            return {in.x + 1};
          }),
    owned("a global tensor is read",
          [](Toy&, const In& in) -> Tensors { return {in.x * global_table()}; }),
    owner("a lambda writes the tensor that it captured", kMutation, "_tensor_constant0",
          [held = at::ones({4})](Toy&, const In& in) -> Tensors {
            const auto update = [held] { held.add_(1); };
            update();
            return {in.x * held};
          }),
    owned("a lambda reads the tensor that it captured",
          [held = at::full({4}, 0.5)](Toy&, const In& in) -> Tensors { return {in.x * held}; }),
    owner("a static of forward is written", kMutation, "_tensor_constant0",
          [](Toy&, const In& in) -> Tensors {
            static const Tensor calls = at::zeros({1});
            calls.add_(1);
            return {in.x + calls};
          }),
    owner("a hook writes a buffer", kMutation, "count",
          [](Toy& t, const In& in) -> Tensors {
            const Tensor y = in.x * 2;
            kCountingHook(t, y);
            return {y + 1};
          }),
    owned("a hook that changes nothing",
          [](Toy&, const In& in) -> Tensors { return {kPureHook(in.x.tanh())}; }),
    owner("an element of a vector member is written", kMutation, "_tensor_constant0",
          [](Toy& t, const In& in) -> Tensors {
            if (t.history.empty()) t.history = {t.outside, t.other};
            t.history[1].mul_(2);
            return {in.x * t.history[1]};
          }),
    owner("an element of a vector member is replaced", kRebinding, "%mul",
          [](Toy& t, const In& in) -> Tensors {
            t.history.resize(2);
            t.history[0] = in.x * 3;
            return {t.history[0] + 1};
          }),
    owned("elements of a vector member are read",
          [](Toy& t, const In& in) -> Tensors {
            if (t.history.empty()) t.history = {t.outside, t.other};
            return {in.x * t.history[0] + t.history[1]};
          }),
    owner("a custom operator keeps its argument", kRebinding, "*",
          [](Toy&, const In& in) -> Tensors { return {call("hostile::keeps", in.x * 3) + 1}; }),
    owned("a custom operator returns its argument",
          [](Toy&, const In& in) -> Tensors { return {call("hostile::same", in.x * 3) + 1}; }),
    owner("a write into what a custom operator returned of a weight", kMutation, "weight",
          [](Toy& t, const In& in) -> Tensors {
            call("hostile::same", t.weight).mul_(2);
            return {in.x * 1};
          }),
    owner("a task that still runs holds an input", kRebinding, "x",
          [](Toy&, const In& in) -> Tensors {
            static std::vector<std::function<void()>> tasks;
            tasks.emplace_back([x = in.x] { (void)x; });
            return {in.x * 2};
          }),
};

TEST(RefuseHostile, WhatNoModuleOwns) {
  run_corpus("Globals, captures, hooks, containers, custom operators", kOwnership);
  global_last() = Tensor();
  global_list().clear();
}

// --- registration and storages ---

Case storage(std::string name, Code code, std::string subject, Toy::Body body) {
  return unsafe("storages", std::move(name), code, std::move(subject), std::move(body));
}

const std::vector<Case> kStorages = {
    storage("out= into a view of a weight", kMutation, "weight",
            [](Toy& t, const In& in) -> Tensors {
              Tensor row = t.weight.select(0, 2);
              at::add_out(row, t.bias, in.x.select(0, 0));
              return {in.x * 1};
            }),
    storage("out= into a transposed view of a buffer", kMutation, "cache",
            [](Toy& t, const In& in) -> Tensors {
              Tensor turned = t.cache.t();
              at::matmul_out(turned, in.x, t.weight);
              return {in.x * 1};
            }),
    storage("two buffers swap their data", kRebinding, "count",
            [](Toy& t, const In& in) -> Tensors {
              const Tensor kept = t.count.detach();
              t.count.set_data(t.deviation);
              t.deviation.set_data(kept);
              return {in.x + t.count};
            }),
    storage("a buffer takes another one's data", kRebinding, "count",
            [](Toy& t, const In& in) -> Tensors {
              t.count.set_data(t.deviation.detach());
              return {in.x + t.count};
            }),
    storage("the memory of a storage is exchanged", kRebinding, "count",
            [](Toy& t, const In& in) -> Tensors {
              static std::vector<at::DataPtr> old;  // as long as somebody may read it
              at::DataPtr fresh = c10::GetCPUAllocator()->allocate(t.count.nbytes());
              std::memcpy(fresh.get(), t.count.const_data_ptr(), t.count.nbytes());
              old.push_back(t.count.storage().set_data_ptr(std::move(fresh)));
              return {in.x + t.deviation};
            }),
    storage("a buffer gets other strides", kRebinding, "cache",
            [](Toy& t, const In& in) -> Tensors {
              t.cache.unsafeGetTensorImpl()->set_sizes_and_strides(std::vector<std::int64_t>{4, 4},
                                                                   std::vector<std::int64_t>{1, 4});
              return {in.x * 2};
            }),
    storage("a buffer is registered again under its name", kRebinding, "count",
            [](Toy& t, const In& in) -> Tensors {
              const Tensor y = in.x + t.count;
              t.count = at::zeros({4});
              return {y};
            }),
    storage("each call registers a buffer", kRebinding, "*",
            [](Toy& t, const In& in) -> Tensors {
              t.late = in.x.select(0, 0) + 1;
              return {in.x + t.late};
            }),
    storage("the first call registers what depends on data", kRebinding, "*",
            [](Toy& t, const In& in) -> Tensors {
              if (!t.late.defined()) t.late = in.x.mean(0);
              return {in.x - t.late};
            }),
    storage("a second storage on a weight's memory is written", kMutation, "*",
            [](Toy& t, const In& in) -> Tensors {
              at::from_blob(t.weight.data_ptr(), {4, 4}).mul_(2);
              return {at::matmul(in.x, t.weight)};
            }),
    safe("storages", "the first call registers a mask",
         [](Toy& t, const In& in) -> Tensors {
           if (!t.late.defined()) t.late = at::ones({4, 4}).tril();
           return {in.x * t.late};
         }),
    safe("storages", "the first call registers a table of weights",
         [](Toy& t, const In& in) -> Tensors {
           if (!t.late.defined()) t.late = at::cat({t.weight, t.weight.t()}, 1);
           return {at::matmul(in.x, t.late)};
         }),
    safe("storages", "set_data to itself",
         [](Toy& t, const In& in) -> Tensors {
           t.count.set_data(t.count.detach());
           return {in.x + t.count};
         }),
    safe("storages", "a weight under two names is read",
         [](Toy& t, const In& in) -> Tensors { return {at::matmul(in.x, t.weight) + t.tied}; }),
    safe("storages", "storage pointers are compared",
         [](Toy& t, const In& in) -> Tensors {
           return {t.tied.is_alias_of(t.weight) ? in.x * 2 : in.x * 3};
         }),
};

TEST(RefuseHostile, Storages) {
  run_corpus("Storages, registration", kStorages);
}

// --- the first call, generators, modes ---

Case changes(std::string name, Code code, std::string subject, Toy::Body body,
             std::function<void(Options&, Toy&)> configure = {}) {
  return unsafe("first call", std::move(name), code, std::move(subject), std::move(body),
                std::move(configure));
}

const std::vector<Case> kFirstCalls = {
    changes("the first call does something else", kDivergence, "",
            [](Toy& t, const In& in) -> Tensors { return {t.calls++ == 0 ? in.x * 2 : in.x * 3}; }),
    changes("the first call takes a longer way to another result", kDivergence, "",
            [](Toy& t, const In& in) -> Tensors {
              Tensor y = in.x * 2;
              if (t.calls++ == 0) y = y + 1;
              return {y};
            }),
    changes(
        "the first call resets declared state", kDivergence, "",
        [](Toy& t, const In& in) -> Tensors {
          if (t.calls++ == 0) t.count.fill_(5);
          t.count.add_(1);
          return {in.x * 2};
        },
        [](Options& o, Toy&) { o.mutable_state = {"count"}; }),
    changes("a member that the first call used is gone", kDivergence, "_tensor_constant0",
            [](Toy& t, const In& in) -> Tensors {
              if (!t.outside.defined()) return {in.x * 2};
              const Tensor y = in.x * t.outside + 1;
              t.outside = Tensor();
              return {y};
            }),
    safe("first call", "another way to the same result",
         [](Toy& t, const In& in) -> Tensors {
           if (t.calls++ == 0) return {in.x + in.x};
           return {in.x * 2};
         }),
    safe(
        "first call", "a table is built beside declared state",
        [](Toy& t, const In& in) -> Tensors {
          if (!t.member.defined()) t.member = at::arange(4, at::kFloat);
          t.count.add_(t.member);
          return {in.x + t.count};
        },
        [](Options& o, Toy&) { o.mutable_state = {"count"}; }),
    safe("first call", "it fails, is caught, and is forgotten",
         [](Toy& t, const In& in) -> Tensors {
           try {
             if (t.calls++ == 0) throw std::runtime_error("cold");
           } catch (const std::runtime_error&) {
           }
           return {in.x * 2};
         }),
};

TEST(RefuseHostile, FirstCalls) {
  run_corpus("First calls", kFirstCalls);
}

at::Generator& own_generator() {
  static at::Generator generator = at::detail::createCPUGenerator(7);
  return generator;
}

Case chance(std::string name, Code code, std::string subject, Toy::Body body) {
  return unsafe("generators", std::move(name), code, std::move(subject), std::move(body));
}

const std::vector<Case> kGenerators = {
    chance("randn of a generator object", kRandom, "",
           [](Toy&, const In& in) -> Tensors {
             return {in.x + at::randn({4}, own_generator(), at::TensorOptions())};
           }),
    chance("normal_ of a generator object", kRandom, "",
           [](Toy&, const In& in) -> Tensors {
             return {in.x + at::empty({4}).normal_(0, 1, own_generator())};
           }),
    chance("uniform_ into a clone", kRandom, "",
           [](Toy&, const In& in) -> Tensors { return {in.x.clone().uniform_()}; }),
    chance("poisson", kRandom, "",
           [](Toy&, const In& in) -> Tensors { return {at::poisson(in.x.abs())}; }),
    chance("a number drawn from LibTorch's generator", kDivergence, "",
           [](Toy&, const In& in) -> Tensors {
             auto generator = at::detail::getDefaultCPUGenerator();
             auto* impl = at::check_generator<at::CPUGeneratorImpl>(generator);
             return {in.x * static_cast<double>(impl->random())};
           }),
    chance("a number of std::mt19937", kDivergence, "",
           [](Toy&, const In& in) -> Tensors {
             static std::mt19937 engine(3);
             return {in.x * static_cast<double>(engine())};
           }),
    chance("a shuffle of std::mt19937", kDivergence, "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             static std::mt19937 engine(3);
             for (float& v : t.host) v = static_cast<float>(engine() % 1000);
             return {in.x * at::from_blob(t.host.data(), {4}).clone()};
           }),
    safe("generators", "a generator that nobody asks",
         [](Toy&, const In& in) -> Tensors {
           own_generator().set_current_seed(11);
           return {in.x * 2};
         }),
    safe("generators", "numbers of a fixed seed",
         [](Toy&, const In& in) -> Tensors {
           std::mt19937 engine(3);
           return {in.x * static_cast<double>(engine() % 17)};
         }),
};

TEST(RefuseHostile, Generators) {
  run_corpus("Generators", kGenerators);
}

/// Autocast as with_autocast code in C++ has it.
class Autocast {
 public:
  Autocast() : before_(at::autocast::is_autocast_enabled(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, before_);
  }

 private:
  bool before_;
};

Tensor deep(const Tensor& x, int depth) {
  return depth == 0 ? x : deep(x * 0.999 + 0.001, depth - 1);
}

const std::vector<Case> kModes = {
    unsafe("modes", "a write under a nested InferenceMode", kMutation, "cache",
           [](Toy& t, const In& in) -> Tensors {
             const c10::InferenceMode nested;
             t.cache.add_(1);
             return {in.x + t.cache};
           }),
    unsafe("modes", "a write without gradients", kMutation, "weight",
           [](Toy& t, const In& in) -> Tensors {
             const c10::NoGradGuard guard;
             t.weight.sub_(0.1);
             return {at::matmul(in.x, t.weight)};
           }),
    unsafe("modes", "item under autocast", kData, "",
           [](Toy&, const In& in) -> Tensors {
             const Autocast guard;
             return {in.x * at::matmul(in.x, in.x).sum().item<float>()};
           }),
    unsafe("modes", "a loop of other threads' operators", kThread, "",
           [](Toy&, const In& in) -> Tensors {
             const Tensor y = in.x * 2;
             std::vector<std::thread> threads;
             for (int i = 0; i < 2; ++i) {
               threads.emplace_back([&y, i] { y.select(0, i).sum(); });
             }
             for (std::thread& thread : threads) thread.join();
             return {y + 1};
           }),
    unsafe("modes", "a thread writes a result by pointer", kUnsupported, "",
           [](Toy&, const In& in) -> Tensors {
             Tensor y = in.x * 2;
             std::thread([&y] { y.data_ptr<float>()[3] = 7; }).join();
             return {y + 1};
           }),
    safe("modes", "nested InferenceMode",
         [](Toy& t, const In& in) -> Tensors {
           const c10::InferenceMode nested;
           return {at::matmul(in.x, t.weight).relu_()};
         }),
    safe("modes", "gradients switched on inside",
         [](Toy& t, const In& in) -> Tensors {
           const c10::AutoGradMode guard(true);
           return {at::matmul(in.x, t.weight) + t.bias};
         }),
    safe("modes", "autocast inside",
         [](Toy& t, const In& in) -> Tensors {
           Tensor y;
           {
             const Autocast guard;
             y = at::matmul(in.x, t.weight);
           }
           return {y.to(at::kFloat) + t.bias};
         }),
    safe(
        "modes", "autocast of a weight that requires grad",
        [](Toy& t, const In& in) -> Tensors {
          const Autocast guard;
          return {at::matmul(in.x, t.weight).to(at::kFloat)};
        },
        [](Options&, Toy& t) { t.weight.set_requires_grad(true); }),
    safe("modes", "recursion 300 deep",
         [](Toy&, const In& in) -> Tensors { return {deep(in.x, 300)}; }),
    safe("modes", "a thread that is only started",
         [](Toy&, const In& in) -> Tensors {
           std::thread([] {}).join();
           return {in.x * 2};
         }),
};

TEST(RefuseHostile, Modes) {
  run_corpus("Nested modes, recursion, threads", kModes);
}

// --- odd shapes ---

Case shaped(std::string name, Toy::Body body, std::function<Tensors()> inputs) {
  return safe("shapes", std::move(name), std::move(body), {},
              [inputs = std::move(inputs)](Module&, Tensors& in) { in = inputs(); });
}
Case misshapen(std::string name, Code code, std::string subject, Toy::Body body,
               std::function<Tensors()> inputs) {
  return unsafe("shapes", std::move(name), code, std::move(subject), std::move(body), {},
                [inputs = std::move(inputs)](Module&, Tensors& in) { in = inputs(); });
}
Tensors masked() {
  return {at::randn({4, 4}), at::randn({4, 4}) > 0};
}

const std::vector<Case> kShapes = {
    shaped(
        "no elements",
        [](Toy& t, const In& in) -> Tensors {
          return {at::matmul(in.x, t.weight) + t.bias, in.x.sum(0), in.ids + 1};
        },
        [] {
          return Tensors{at::randn({0, 4}), at::zeros({0}, at::kLong)};
        }),
    shaped(
        "no dimensions",
        [](Toy& t, const In& in) -> Tensors {
          return {in.x * t.weight, in.x + in.ids, in.ids * 2};
        },
        [] {
          return Tensors{at::randn({}), at::randint(9, {}, at::kLong)};
        }),
    shaped(
        "not contiguous",
        [](Toy& t, const In& in) -> Tensors {
          return {at::matmul(in.x, t.weight), in.x.t(), in.x.contiguous().view({16})};
        },
        [] {
          return Tensors{at::randn({4, 4}).t(), at::randperm(8).slice(0, 0, 8, 2)};
        }),
    shaped(
        "expanded",
        [](Toy&, const In& in) -> Tensors {
          return {in.x + 1, in.x.sum(0)};
        },
        [] {
          return Tensors{at::randn({1, 4}).expand({4, 4}), at::randperm(4)};
        }),
    shaped(
        "a mask that selects by where",
        [](Toy&, const In& in) -> Tensors {
          return {at::where(in.ids, in.x, in.x * 2), in.x.masked_fill(in.ids, 0)};
        },
        masked),
    shaped(
        "a mask that fills an intermediate",
        [](Toy&, const In& in) -> Tensors {
          Tensor y = in.x * 3;
          y.masked_fill_(in.ids, 1).masked_scatter_(in.ids, in.x);
          return {y};
        },
        masked),
    shaped(
        "the number of selected ones as a tensor",
        [](Toy&, const In& in) -> Tensors {
          return {in.ids.sum(), in.x / (in.ids.sum() + 1)};
        },
        masked),
    misshapen(
        "a mask as an index", kShape, "",
        [](Toy&, const In& in) -> Tensors { return {in.x.index({in.ids})}; }, masked),
    misshapen(
        "where with one argument", kShape, "",
        [](Toy&, const In& in) -> Tensors { return {at::where(in.ids)[0]}; }, masked),
    misshapen(
        "any of a mask decides", kData, "",
        [](Toy&, const In& in) -> Tensors { return {in.ids.any().item<bool>() ? in.x * 2 : in.x}; },
        masked),
    misshapen(
        "a mask read by pointer", kData, "",
        [](Toy&, const In& in) -> Tensors {
          return {in.ids.const_data_ptr<bool>()[0] ? in.x * 2 : in.x * 3};
        },
        masked),
    misshapen(
        "repeats by a tensor", kShape, "",
        [](Toy&, const In& in) -> Tensors { return {at::repeat_interleave(in.ids)}; },
        [] {
          return Tensors{at::randn({4, 4}), at::randperm(4)};
        }),
    misshapen(
        "bincount", kShape, "",
        [](Toy&, const In& in) -> Tensors { return {at::bincount(in.ids)}; },
        [] {
          return Tensors{at::randn({4, 4}), at::randperm(4)};
        }),
    shaped(
        "half precision",
        [](Toy&, const In& in) -> Tensors {
          return {in.x * 2, in.x.to(at::kFloat).sum()};
        },
        [] {
          return Tensors{at::randn({4, 4}).to(at::kHalf), at::randperm(4)};
        }),
    shaped(
        "bytes",
        [](Toy&, const In& in) -> Tensors {
          return {in.x.bitwise_and(15), in.x.to(at::kFloat) / 255};
        },
        [] {
          return Tensors{at::randint(256, {4, 4}, at::kByte), at::randperm(4)};
        }),
    safe("shapes", "an output that is a view of another output",
         [](Toy&, const In& in) -> Tensors {
           const Tensor y = in.x * 2;
           return {y, y.select(0, 1), y.t(), y.view({16})};
         }),
    safe("shapes", "outputs that are views of a buffer and an input",
         [](Toy& t, const In& in) -> Tensors {
           return {t.cache.select(0, 0), in.x.slice(1, 1, 3), t.cache.t()};
         }),
    safe("shapes", "an output written after another one was taken of it",
         [](Toy&, const In& in) -> Tensors {
           Tensor y = in.x * 2;
           const Tensor row = y.select(0, 1);
           y.add_(1);
           return {row, y};
         }),
    unsafe("shapes", "a view of an input, written as an output", kMutation, "x",
           [](Toy&, const In& in) -> Tensors { return {in.x.select(0, 1).mul_(2)}; }),
};

TEST(RefuseHostile, Shapes) {
  run_corpus("Odd shapes, masks, outputs that alias", kShapes);
}

}  // namespace
}  // namespace monograph::test
