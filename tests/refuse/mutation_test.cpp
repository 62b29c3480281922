// Forwards that write, resize or exchange what outlives them, and their safe twins.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <cstring>

#include "tests/refuse/toy.h"

namespace monograph::test {
namespace {

using at::Tensor;
constexpr Code kMutation = Code::kRejectedMutation;
constexpr Code kRebinding = Code::kRejectedRebinding;

Tensor liar(const Tensor& x, const Tensor& written) {
  written.mutable_data_ptr<float>()[0] += 1;
  return x * 2;
}
Tensor honest(const Tensor& x, Tensor& written) {
  written.mutable_data_ptr<float>()[0] += 1;
  return x * 2;
}
Tensor reader(const Tensor& x, const Tensor& read) {
  return x + read;
}

TORCH_LIBRARY(refuse, m) {
  m.def("liar(Tensor x, Tensor written) -> Tensor");
  m.def("honest(Tensor x, Tensor(a!) written) -> Tensor");
  m.def("reader(Tensor x, Tensor read) -> Tensor");
  m.def("composite(Tensor x, Tensor(a!) written) -> Tensor", &honest);
}
TORCH_LIBRARY_IMPL(refuse, CPU, m) {
  m.impl("liar", &liar);
  m.impl("honest", &honest);
  m.impl("reader", &reader);
}

template <class Signature>
auto custom(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}
Tensor call_liar(const Tensor& x, const Tensor& w) {
  return custom<Tensor(const Tensor&, const Tensor&)>("refuse::liar").call(x, w);
}
Tensor call_honest(const Tensor& x, Tensor w) {
  return custom<Tensor(const Tensor&, Tensor&)>("refuse::honest").call(x, w);
}
Tensor call_composite(const Tensor& x, Tensor w) {
  return custom<Tensor(const Tensor&, Tensor&)>("refuse::composite").call(x, w);
}
Tensor call_reader(const Tensor& x, const Tensor& w) {
  return custom<Tensor(const Tensor&, const Tensor&)>("refuse::reader").call(x, w);
}

float* raw(const Tensor& t) {
  return static_cast<float*>(t.mutable_data_ptr());
}

/// An unsafe mutation of `subject`.
Case write(std::string name, std::string subject, Toy::Body body) {
  return unsafe("mutation", std::move(name), kMutation, std::move(subject), std::move(body));
}

const std::vector<Case> kPlainWrites = {
    write("buffer add_", "count",
          [](Toy& t, const In& in) -> Tensors {
            t.count.add_(1);
            return {in.x + t.count};
          }),
    write("buffer +=", "count",
          [](Toy& t, const In& in) -> Tensors {
            t.count += 1;
            return {in.x + t.count};
          }),
    write("buffer copy_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.copy_(in.x);
            return {t.cache * 2};
          }),
    write("buffer zero_ and never read", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.zero_();
            return {in.x * 2};
          }),
    write("parameter mul_", "weight",
          [](Toy& t, const In& in) -> Tensors {
            t.weight.mul_(0.9);
            return {at::matmul(in.x, t.weight)};
          }),
    write("parameter fill_ by .data()", "weight",
          [](Toy& t, const In& in) -> Tensors {
            t.weight.data().fill_(2);
            return {in.x * 1};
          }),
    write("parameter under its other name", "tied",
          [](Toy& t, const In& in) -> Tensors {
            t.tied.mul_(2);
            return {in.x * 1};
          }),
    write("constant sub_", "_tensor_constant0",
          [](Toy& t, const In& in) -> Tensors {
            t.outside.sub_(1);
            return {in.x * t.outside};
          }),
    write("input relu_", "x", [](Toy&, const In& in) -> Tensors { return {Tensor(in.x).relu_()}; }),
    write("integer input add_", "ids",
          [](Toy&, const In& in) -> Tensors { return {Tensor(in.ids).add_(1) * 2}; }),
    write("addcmul_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.addcmul_(in.x, in.x, 0.5);
            return {in.x * 1};
          }),
    write("addmm_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.addmm_(in.x, t.weight);
            return {in.x * 1};
          }),
    write("masked_fill_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.masked_fill_(in.x > 0, 0);
            return {in.x * 1};
          }),
    write("index_put_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.index_put_({in.ids}, in.x);
            return {in.x * 1};
          }),
    write("index_copy_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.index_copy_(0, in.ids, in.x);
            return {in.x * 1};
          }),
    write("index_add_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.index_add_(0, in.ids, in.x);
            return {in.x * 1};
          }),
    write("scatter_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.scatter_(0, in.ids.unsqueeze(0), in.x);
            return {in.x * 1};
          }),
    write("foreach add", "deviation",
          [](Toy& t, const In& in) -> Tensors {
            at::_foreach_add_({in.x.clone(), t.deviation}, 1);
            return {in.x * 1};
          }),
    write("whose exception forward swallows", "count",
          [](Toy& t, const In& in) -> Tensors {
            try {
              t.count.add_(1);
            } catch (...) {  // what forward does with the recorder's exception doesn't matter
            }
            return {in.x + t.count};
          }),
};

TEST(RefuseMutation, InPlace) {
  run_corpus("In place", kPlainWrites);
}

const std::vector<Case> kViews = {
    write("through t and select", "weight",
          [](Toy& t, const In& in) -> Tensors {
            t.weight.t().select(0, 1).mul_(2);
            return {in.x * 1};
          }),
    write("through a view made before", "weight",
          [](Toy& t, const In& in) -> Tensors {
            t.transposed.add_(1);
            return {in.x * 1};
          }),
    write("through slice", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.slice(0, 1, 3).copy_(in.x.slice(0, 0, 2));
            return {in.x * 1};
          }),
    write("through narrow", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.narrow(1, 0, 2).zero_();
            return {in.x * 1};
          }),
    write("through chunk", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.chunk(2, 0)[1].add_(1);
            return {in.x * 1};
          }),
    write("through split", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.split(2, 1)[0].add_(1);
            return {in.x * 1};
          }),
    write("through unbind", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.unbind(0)[2].add_(1);
            return {in.x * 1};
          }),
    write("through diagonal", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.diagonal().fill_(1);
            return {in.x * 1};
          }),
    write("through permute and unsqueeze", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.permute({1, 0}).unsqueeze(0).mul_(2);
            return {in.x * 1};
          }),
    write("through detach", "weight",
          [](Toy& t, const In& in) -> Tensors {
            t.weight.detach().add_(1);
            return {in.x * 1};
          }),
    write("through as_strided", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.as_strided({2}, {3}, 1).add_(1);
            return {in.x * 1};
          }),
    write("through another element type", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.view(at::kInt).fill_(0);
            return {in.x * 1};
          }),
    write("through unfold", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.view({16}).unfold(0, 2, 2).select(1, 0).zero_();
            return {in.x * 1};
          }),
    write("input through reshape", "x",
          [](Toy&, const In& in) -> Tensors {
            in.x.reshape({16}).zero_();
            return {in.x * 1};
          }),
    write("input through a contiguous that copies nothing", "x",
          [](Toy&, const In& in) -> Tensors { return {in.x.contiguous().add_(1)}; }),
    write("input through a to that converts nothing", "x",
          [](Toy&, const In& in) -> Tensors { return {in.x.to(at::kFloat).add_(1)}; }),
    write("input through flatten", "x",
          [](Toy&, const In& in) -> Tensors { return {in.x.flatten().add_(1)}; }),
    safe("mutation", "in place on an intermediate",
         [](Toy& t, const In& in) -> Tensors {
           Tensor y = at::matmul(in.x, t.weight);
           y.add_(t.bias).relu_();
           return {y};
         }),
    safe("mutation", "through views of an intermediate",
         [](Toy&, const In& in) -> Tensors {
           const Tensor y = in.x * 2;
           y.t().select(0, 1).mul_(3);
           y.slice(0, 1, 3).zero_();
           y.view({16}).unbind(0)[5].fill_(9);
           return {y};
         }),
    safe("mutation", "on a clone of an input",
         [](Toy&, const In& in) -> Tensors { return {in.x.clone().relu_()}; }),
    safe("mutation", "on a clone of a weight",
         [](Toy& t, const In& in) -> Tensors {
           Tensor w = t.weight.clone();
           w.mul_(2);
           return {at::matmul(in.x, w)};
         }),
    safe("mutation", "a contiguous that does copy",
         [](Toy&, const In& in) -> Tensors { return {in.x.t().contiguous().add_(1)}; }),
    safe("mutation", "views of weights, only read",
         [](Toy& t, const In& in) -> Tensors {
           return {at::matmul(in.x, t.weight.t()) + t.cache.select(0, 1) + t.transposed};
         }),
    safe(
        "mutation", "buffers and constants, only read",
        [](Toy& t, const In& in) -> Tensors { return {in.x * t.outside + t.count + t.deviation}; }),
};

TEST(RefuseMutation, ThroughViews) {
  run_corpus("Through views, and in-place writes that are fine", kViews);
}

const std::vector<Case> kOut = {
    write("out= sum", "count",
          [](Toy& t, const In& in) -> Tensors {
            at::sum_out(t.count, in.x, {0});
            return {in.x * 1};
          }),
    write("out= matmul", "cache",
          [](Toy& t, const In& in) -> Tensors {
            at::matmul_out(t.cache, in.x, t.weight);
            return {t.cache * 2};
          }),
    write("out= cat", "cache",
          [](Toy& t, const In& in) -> Tensors {
            at::cat_out(t.cache, {in.x.slice(0, 0, 2), in.x.slice(0, 2, 4)});
            return {in.x * 1};
          }),
    write("out= into a view of an input", "x",
          [](Toy& t, const In& in) -> Tensors {
            Tensor row = in.x.select(0, 0);
            at::add_out(row, t.bias, t.deviation);
            return {in.x * 1};
          }),
    write("out= of two results", "deviation",
          [](Toy& t, const In& in) -> Tensors {
            Tensor indices = at::empty({4}, at::kLong);
            at::max_out(t.deviation, indices, in.x, 1);
            return {in.x * 1};
          }),
    safe("mutation", "out= into an empty intermediate",
         [](Toy& t, const In& in) -> Tensors {
           Tensor out = at::empty({4, 4});
           at::matmul_out(out, in.x, t.weight);
           return {out * 2};
         }),
    safe("mutation", "out= into zeros and a view of them",
         [](Toy& t, const In& in) -> Tensors {
           Tensor out = at::zeros({2, 4});
           Tensor row = out.select(0, 1);
           at::add_out(row, t.bias, in.x.select(0, 0));
           return {out};
         }),
    safe("mutation", "scatter into zeros",
         [](Toy&, const In& in) -> Tensors {
           return {at::zeros({4, 4}).scatter_(0, in.ids.unsqueeze(0), in.x.slice(0, 0, 1))};
         }),
    write("running statistics of batch_norm", "count",
          [](Toy& t, const In& in) -> Tensors {
            return {at::batch_norm(in.x, {}, {}, t.count, t.deviation, true, 0.1, 1e-5, false)};
          }),
    write("running statistics of native_batch_norm", "count",
          [](Toy& t, const In& in) -> Tensors {
            return {std::get<0>(
                at::native_batch_norm(in.x, {}, {}, t.count, t.deviation, true, 0.1, 1e-5))};
          }),
    write("running statistics of instance_norm", "count",
          [](Toy& t, const In& in) -> Tensors {
            return {at::instance_norm(in.x.unsqueeze(0), {}, {}, t.count, t.deviation, true, 0.1,
                                      1e-5, false)};
          }),
    safe("mutation", "batch_norm on fixed statistics",
         [](Toy& t, const In& in) -> Tensors {
           return {at::batch_norm(in.x, {}, {}, t.count, t.deviation, false, 0.1, 1e-5, false)};
         }),
    write("custom operator that says so", "count",
          [](Toy& t, const In& in) -> Tensors { return {call_honest(in.x, t.count)}; }),
    write("custom operator whose schema lies", "count",
          [](Toy& t, const In& in) -> Tensors { return {call_liar(in.x, t.count)}; }),
    write("composite operator that writes by pointer", "count",
          [](Toy& t, const In& in) -> Tensors { return {call_composite(in.x, t.count)}; }),
    write("custom operator that lies about an input", "x",
          [](Toy& t, const In& in) -> Tensors { return {call_liar(t.cache, in.x)}; }),
    unsafe("mutation", "custom operator that lies about a result", Code::kRejectedUnsupportedOp, "",
           [](Toy&, const In& in) -> Tensors {
             const Tensor y = in.x * 3;
             return {call_liar(in.x, y) + y};
           }),
    safe("mutation", "custom operator that only reads",
         [](Toy& t, const In& in) -> Tensors { return {call_reader(in.x, t.count)}; }),
    safe("mutation", "custom operator that writes an intermediate",
         [](Toy&, const In& in) -> Tensors {
           const Tensor y = in.x * 3;
           const Tensor z = call_honest(in.x, y);
           return {y + z};
         }),
};

TEST(RefuseMutation, OutStatisticsAndCustomOperators) {
  run_corpus("out=, running statistics, custom operators", kOut);
}

const std::vector<Case> kGeometry = {
    write("input unsqueeze_", "x",
          [](Toy&, const In& in) -> Tensors { return {Tensor(in.x).unsqueeze_(0) * 1}; }),
    write("input resize_", "x",
          [](Toy&, const In& in) -> Tensors {
            return {in.x.resize_({2, 2}) * 1};
          }),
    write("parameter t_", "weight",
          [](Toy& t, const In& in) -> Tensors { return {in.x * t.weight.t_()}; }),
    write("constant unsqueeze_", "_tensor_constant0",
          [](Toy& t, const In& in) -> Tensors { return {in.x * t.outside.unsqueeze_(0)}; }),
    write("buffer set_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.set_(in.x);
            return {t.cache * 1};
          }),
    write("buffer resize_", "cache",
          [](Toy& t, const In& in) -> Tensors {
            t.cache.resize_({2, 2});
            return {in.x * 1};
          }),
    safe("mutation", "t_ and unsqueeze_ on forward's own alias",
         [](Toy& t, const In& in) -> Tensors {
           Tensor w = t.weight.detach();
           w.t_();
           return {at::matmul(in.x, w).unsqueeze_(0)};
         }),
    safe("mutation", "resize_ of a fresh tensor",
         [](Toy&, const In& in) -> Tensors {
           Tensor y = at::empty({0});
           y.resize_({4, 4}).copy_(in.x);
           return {y + 1};
         }),
    write("host pointer into a buffer", "count",
          [](Toy& t, const In& in) -> Tensors {
            raw(t.count)[0] += 1;
            return {in.x + t.count};
          }),
    write("host pointer into a buffer, after its last use", "count",
          [](Toy& t, const In& in) -> Tensors {
            const Tensor y = in.x + t.count;
            raw(t.count)[2] += 1;
            return {y};
          }),
    write("host pointer into a buffer that isn't used", "deviation",
          [](Toy& t, const In& in) -> Tensors {
            raw(t.deviation)[3] = 17;
            return {in.x * 2};
          }),
    write("host pointer into a parameter", "weight",
          [](Toy& t, const In& in) -> Tensors {
            const Tensor y = at::matmul(in.x, t.weight);
            raw(t.weight)[5] *= 2;
            return {y};
          }),
    write("accessor into an input", "x",
          [](Toy&, const In& in) -> Tensors {
            const Tensor y = in.x * 2;
            in.x.accessor<float, 2>()[1][1] = 4;
            return {y + in.x};
          }),
    write("host pointer into a constant", "_tensor_constant0",
          [](Toy& t, const In& in) -> Tensors {
            const Tensor y = in.x * t.outside;
            raw(t.outside)[0] += 1;
            return {y};
          }),
    write("memcpy into a buffer", "cache",
          [](Toy& t, const In& in) -> Tensors {
            std::memcpy(raw(t.cache), in.x.const_data_ptr(), in.x.nbytes());
            return {t.cache * 2};
          }),
    safe("mutation", "host pointer that reads a buffer's address only",
         [](Toy& t, const In& in) -> Tensors {
           return {t.cache.const_data_ptr() == nullptr ? in.x : in.x + t.cache};
         }),
    safe("mutation", "host pointer into a fresh mask",
         [](Toy&, const In& in) -> Tensors {
           Tensor mask = at::empty({4, 4});
           for (int i = 0; i < 16; ++i) raw(mask)[i] = i % 3 == 0 ? 1.0F : 0.0F;
           return {in.x * mask};
         }),
};

TEST(RefuseMutation, GeometryAndHostPointers) {
  run_corpus("Geometry and host pointers", kGeometry);
}

std::function<void(Options&, Toy&)> state(std::vector<std::string> names) {
  return [names](Options& o, Toy&) {
    for (const std::string& name : names) o.mutable_state.emplace_back(name);
  };
}

const std::vector<Case> kState = {
    safe(
        "declared state", "a counter",
        [](Toy& t, const In& in) -> Tensors {
          t.count.add_(1);
          return {in.x + t.count};
        },
        state({"count"})),
    safe(
        "declared state", "read, written, read again",
        [](Toy& t, const In& in) -> Tensors {
          const Tensor before = t.cache * 1;
          t.cache.mul_(0.5).add_(in.x);
          return {before, t.cache, t.cache.sum(0)};
        },
        state({"cache"})),
    safe(
        "declared state", "a cache written by rows",
        [](Toy& t, const In& in) -> Tensors {
          t.cache.index_copy_(0, in.ids.slice(0, 0, 2), in.x.slice(0, 0, 2));
          return {at::matmul(in.x, t.cache.t())};
        },
        state({"cache"})),
    safe(
        "declared state", "a ring position in a tensor",
        [](Toy& t, const In& in) -> Tensors {
          const Tensor row = t.count.select(0, 0).to(at::kLong).unsqueeze(0);
          t.cache.index_copy_(0, row, in.x.slice(0, 0, 1));
          t.count.add_(1).remainder_(4);
          return {t.cache + 0};
        },
        state({"c*"})),
    safe(
        "declared state", "a tensor that isn't registered",
        [](Toy& t, const In& in) -> Tensors {
          t.outside.add_(in.x.sum(0));
          return {in.x * t.outside};
        },
        [](Options& o, Toy& t) { o.mutable_state.emplace_back(t.outside); }),
    safe(
        "declared state", "running statistics",
        [](Toy& t, const In& in) -> Tensors {
          return {at::batch_norm(in.x, {}, {}, t.count, t.deviation, true, 0.1, 1e-5, false)};
        },
        state({"count", "deviation"})),
    safe(
        "declared state", "custom operator that says what it writes",
        [](Toy& t, const In& in) -> Tensors { return {call_honest(in.x, t.count) + t.count}; },
        state({"count"})),
    safe(
        "declared state", "never written",
        [](Toy& t, const In& in) -> Tensors { return {in.x + t.count}; }, state({"count"})),
    safe(
        "declared state", "without CUDA graphs every write is an effect",
        [](Toy& t, const In& in) -> Tensors {
          t.count.add_(1);
          t.weight.mul_(0.5);
          t.outside.sub_(1);
          return {at::matmul(in.x, t.weight) + t.count + t.outside};
        },
        [](Options& o, Toy&) { o.graph_mode = GraphMode::kNone; }),
    unsafe(
        "declared state", "another buffer is written", kMutation, "cache",
        [](Toy& t, const In& in) -> Tensors {
          t.count.add_(1);
          t.cache.add_(1);
          return {in.x + t.count};
        },
        state({"count"})),
    unsafe(
        "declared state", "resized", kMutation, "cache",
        [](Toy& t, const In& in) -> Tensors {
          t.cache.resize_({2, 2});
          return {in.x * 1};
        },
        state({"cache"})),
    unsafe(
        "declared state", "written by a host pointer", kMutation, "count",
        [](Toy& t, const In& in) -> Tensors {
          raw(t.count)[0] += 1;
          return {in.x + t.count};
        },
        state({"count"})),
    unsafe(
        "declared state", "without CUDA graphs inputs aren't state", kMutation, "x",
        [](Toy&, const In& in) -> Tensors { return {Tensor(in.x).add_(1)}; },
        [](Options& o, Toy&) { o.graph_mode = GraphMode::kNone; }),
};

TEST(RefuseMutation, DeclaredState) {
  run_corpus("Declared state", kState);
}

Case rebind(std::string name, std::string subject, Toy::Body body) {
  return unsafe("rebinding", std::move(name), kRebinding, std::move(subject), std::move(body));
}

const std::vector<Case> kRebindings = {
    rebind("a buffer becomes its successor", "count",
           [](Toy& t, const In& in) -> Tensors {
             t.count = t.count + 1;
             return {in.x + t.count};
           }),
    rebind("a parameter becomes a scaled one", "weight",
           [](Toy& t, const In& in) -> Tensors {
             t.weight = t.weight * 1;
             return {at::matmul(in.x, t.weight)};
           }),
    rebind("two buffers change places", "count",
           [](Toy& t, const In& in) -> Tensors {
             std::swap(t.count, t.deviation);
             return {in.x + t.count};
           }),
    rebind("set_data of a parameter", "weight",
           [](Toy& t, const In& in) -> Tensors {
             t.weight.set_data(at::ones({4, 4}));
             return {at::matmul(in.x, t.weight)};
           }),
    rebind("a plain member grows", "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             t.outside = at::cat({t.outside, in.x.select(0, 0)});
             return {t.outside * 2};
           }),
    rebind("a plain member that is read and replaced", "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             const Tensor y = in.x + t.outside;
             t.outside = y.select(0, 0) * 1;
             return {y};
           }),
    rebind("the last activation is kept", "%mul",
           [](Toy& t, const In& in) -> Tensors {
             t.member = in.x * 2;
             return {t.member + 1};
           }),
    rebind("an output is kept", "%mul",
           [](Toy& t, const In& in) -> Tensors {
             t.member = in.x * 2;
             return {t.member};
           }),
    rebind("activations are collected", "%tanh",
           [](Toy& t, const In& in) -> Tensors {
             t.history.push_back(in.x.tanh());
             return {in.x * 2};
           }),
    rebind("an input is kept", "x",
           [](Toy& t, const In& in) -> Tensors {
             t.member = in.x;
             return {in.x * 2};
           }),
    rebind("a view of an input is kept", "x",
           [](Toy& t, const In& in) -> Tensors {
             t.member = in.x.select(0, 1);
             return {in.x * 2};
           }),
    rebind("the first call's data is kept for ever", "%mean",
           [](Toy& t, const In& in) -> Tensors {
             if (!t.member.defined()) t.member = in.x.mean(0);
             return {in.x - t.member};
           }),
    rebind("plain members of equal values change places", "_tensor_constant0",
           [](Toy& t, const In& in) -> Tensors {
             std::swap(t.outside, t.other);
             return {in.x * t.outside};
           }),
    safe("rebinding", "a member built once from factories",
         [](Toy& t, const In& in) -> Tensors {
           if (!t.member.defined()) t.member = at::ones({4, 4}).tril();
           return {in.x * t.member};
         }),
    safe("rebinding", "a member built once on the host",
         [](Toy& t, const In& in) -> Tensors {
           if (!t.member.defined()) t.member = at::from_blob(t.host.data(), {4}).clone();
           return {in.x * t.member};
         }),
    safe("rebinding", "a member built once from weights",
         [](Toy& t, const In& in) -> Tensors {
           if (!t.member.defined()) t.member = at::cat({t.weight, t.weight.t()}, 1);
           return {at::matmul(in.x, t.member)};
         }),
    safe("rebinding", "a member assigned to itself",
         [](Toy& t, const In& in) -> Tensors {
           t.count = Tensor(t.count);
           return {in.x + t.count};
         }),
    safe("rebinding", "a local tensor of the same name",
         [](Toy& t, const In& in) -> Tensors {
           Tensor count = t.count + 1;
           count = count * 2;
           return {in.x + count, count};
         }),
    safe("rebinding", "members replaced and put back",
         [](Toy& t, const In& in) -> Tensors {
           const Tensor kept = t.count;
           t.count = in.x.select(0, 0) * 2;
           const Tensor y = in.x + t.count;
           t.count = kept;
           return {y};
         }),
};

TEST(RefuseMutation, Rebinding) {
  run_corpus("Rebinding", kRebindings);
}

}  // namespace
}  // namespace monograph::test
