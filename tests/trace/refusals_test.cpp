// Forwards that can't be captured, inputs that can't be used, and that neither leaves a trace.
#include <ATen/ThreadLocalState.h>
#include <monograph/compiled_module.h>
#include <monograph/region.h>
#include <torch/torch.h>

#include <future>
#include <thread>

#include "capture/trace/dispatch_key.h"
#include "tests/trace/helpers.h"

namespace monograph::test {
namespace {

namespace nn = torch::nn;
using at::Tensor;
using ::testing::TestWithParam;

Tensor floats(std::vector<std::int64_t> sizes) {
  return torch::randn(sizes);
}

/// A module with one of everything that may be written wrongly.
struct StatefulImpl : nn::Module {
  using Body = std::function<Tensor(StatefulImpl&, const Tensor&)>;
  explicit StatefulImpl(Body b) : body(std::move(b)) {
    weight = register_parameter("weight", torch::randn({4, 4}));
    count = register_buffer("count", torch::zeros({4}));
    deviation = register_buffer("deviation", torch::ones({4}));
    outside = torch::ones({4});
  }
  Tensor forward(const Tensor& x) { return body(*this, x); }
  Body body;
  Tensor weight, count, deviation, outside;
};
TORCH_MODULE(Stateful);

struct Unsafe {
  const char* name;
  Code code;
  const char* op;
  const char* subject;  ///< exact, or nullptr if none is expected
  StatefulImpl::Body body;
};
void PrintTo(const Unsafe& c, std::ostream* out) {
  *out << c.name;
}

/// Bytes of everything that a forward may have written.
std::vector<Tensor> snapshot(const StatefulImpl& m, const Tensor& x) {
  return {m.weight.detach().clone(), m.count.clone(), m.deviation.clone(), m.outside.clone(),
          x.clone()};
}

class Refused : public TestWithParam<Unsafe> {};

TEST_P(Refused, NamesTheCulpritAndChangesNothing) {
  const Unsafe& c = GetParam();
  torch::manual_seed(3);
  Stateful stateful(c.body);
  Module module = make_module<1>(stateful, {"x"});
  const Tensor x = floats({4, 4});
  const auto before = snapshot(*stateful, x);
  const auto sizes = x.sizes().vec();

  for (int attempt = 0; attempt < 2; ++attempt) {
    const Rejection rejection = refusal(module, {x});
    EXPECT_EQ(code_name(rejection.code), code_name(c.code)) << rejection.to_string();
    EXPECT_EQ(rejection.op, c.op) << rejection.to_string();
    if (c.subject != nullptr) {
      EXPECT_EQ(rejection.subject, c.subject) << rejection.to_string();
    }
    EXPECT_FALSE(rejection.reason.empty());
    EXPECT_FALSE(rejection.remedy.empty());
    if (!rejection.node.empty()) {
      EXPECT_NE(rejection.excerpt.find(">>> %" + rejection.node + " "), std::string::npos)
          << rejection.to_string();
    }
  }
  const auto after = snapshot(*stateful, x);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i])) << i;
  EXPECT_EQ(x.sizes().vec(), sizes);

  // Nothing stays switched on: another forward is captured by the same thread.
  EXPECT_FALSE(trace::is_recording());
  EXPECT_FALSE(c10::InferenceMode::is_enabled());
  stateful->body = [](StatefulImpl& m, const Tensor& in) { return at::matmul(in, m.weight); };
  expect_captured(module, {x}, {{floats({4, 4})}, {floats({4, 4})}});
}

const Unsafe kMutations[] = {
    {"buffer", Code::kRejectedMutation, "aten.add_.Tensor", "count",
     [](StatefulImpl& m, const Tensor& x) {
       m.count.add_(1);
       return x + m.count;
     }},
    {"parameter_through_view", Code::kRejectedMutation, "aten.mul_.Tensor", "weight",
     [](StatefulImpl& m, const Tensor& x) {
       m.weight.t().select(0, 1).mul_(2);
       return x * 1;
     }},
    {"parameter_through_data", Code::kRejectedMutation, "aten.fill_.Scalar", "weight",
     [](StatefulImpl& m, const Tensor& x) {
       m.weight.data().fill_(2);
       return x * 1;
     }},
    {"input", Code::kRejectedMutation, "aten.relu_.default", "x",
     [](StatefulImpl&, Tensor x) { return x.relu_(); }},
    {"input_through_slice", Code::kRejectedMutation, "aten.copy_.default", "x",
     [](StatefulImpl& m, const Tensor& x) {
       x.slice(0, 0, 1).copy_(m.count);
       return x * 1;
     }},
    {"input_through_reshape", Code::kRejectedMutation, "aten.zero_.default", "x",
     [](StatefulImpl&, const Tensor& x) {
       x.reshape({16}).zero_();
       return x * 1;
     }},
    {"input_geometry", Code::kRejectedMutation, "aten.unsqueeze_.default", "x",
     [](StatefulImpl&, Tensor x) { return x.unsqueeze_(0) * 1; }},
    {"input_resized", Code::kRejectedMutation, "aten.resize_.default", "x",
     [](StatefulImpl&, const Tensor& x) {
       return x.resize_({2, 2}) * 1;
     }},
    {"parameter_geometry", Code::kRejectedMutation, "aten.t_.default", "weight",
     [](StatefulImpl& m, const Tensor& x) { return x * m.weight.t_(); }},
    {"constant_geometry", Code::kRejectedMutation, "aten.unsqueeze_.default", "_tensor_constant0",
     [](StatefulImpl& m, const Tensor& x) { return x * m.outside.unsqueeze_(0); }},
    {"buffer_rebound_by_set", Code::kRejectedMutation, "aten.set_.source_Tensor", "count",
     [](StatefulImpl& m, const Tensor& x) {
       m.count.set_(x);
       return m.count * 1;
     }},
    {"constant", Code::kRejectedMutation, "aten.sub_.Tensor", "_tensor_constant0",
     [](StatefulImpl& m, const Tensor& x) {
       m.outside.sub_(1);
       return x * m.outside;
     }},
    {"out_into_buffer", Code::kRejectedMutation, "aten.sum.IntList_out", "count",
     [](StatefulImpl& m, const Tensor& x) {
       at::sum_out(m.count, x, {0});
       return x * 1;
     }},
    {"running_statistics", Code::kRejectedMutation, "aten.batch_norm.default", "count",
     [](StatefulImpl& m, const Tensor& x) {
       return at::batch_norm(x, {}, {}, m.count, m.deviation, true, 0.1, 1e-5, false);
     }},
    {"instance_statistics", Code::kRejectedMutation, "aten.instance_norm.default", "count",
     [](StatefulImpl& m, const Tensor& x) {
       return at::instance_norm(x.unsqueeze(0), {}, {}, m.count, m.deviation, true, 0.1, 1e-5,
                                false);
     }},
    {"index_put", Code::kRejectedMutation, "aten.index_put_.default", "count",
     [](StatefulImpl& m, const Tensor& x) {
       m.count.index_put_({torch::tensor({1})}, x.index({0, 0}));
       return x * 1;
     }},
    {"foreach", Code::kRejectedMutation, "aten._foreach_add_.Scalar", "deviation",
     [](StatefulImpl& m, const Tensor& x) {
       at::_foreach_add_({x.clone(), m.deviation}, 1);
       return x * 1;
     }},
    {"swallowed", Code::kRejectedMutation, "aten.add_.Tensor", "count",
     [](StatefulImpl& m, const Tensor& x) {
       try {
         m.count.add_(1);
       } catch (...) {  // what the forward does with the recorder's exception doesn't matter
       }
       return x + m.count;
     }},
};

const Unsafe kValues[] = {
    {"item", Code::kRejectedDataDependence, "aten.item.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x * x.sum().item<float>(); }},
    {"item_of_weight", Code::kRejectedDataDependence, "aten.item.default", nullptr,
     [](StatefulImpl& m, const Tensor& x) { return x * m.count.sum().item<float>(); }},
    {"branch", Code::kRejectedDataDependence, "aten.is_nonzero.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x.sum().gt(0).is_nonzero() ? x * 2 : x; }},
    {"equal_of_different_tensors", Code::kRejectedDataDependence, "aten.equal.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return at::equal(x, x + 0) ? x * 2 : x * 3; }},
    {"one_hot_of_unknown_width", Code::kRejectedDynamicShape, "aten.one_hot.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return at::one_hot(x.gt(0).to(at::kLong)); }},
    {"split_by_tensor", Code::kRejectedDataDependence,
     "aten.tensor_split.tensor_indices_or_sections", nullptr,
     [](StatefulImpl&, const Tensor& x) {
       return at::tensor_split(x, x.argmax(1), 0).front() * 1;
     }},
    {"inverse", Code::kRejectedDataDependence, "aten._linalg_check_errors.default", nullptr,
     [](StatefulImpl& m, const Tensor& x) { return at::linalg_inv(m.weight + x); }},
    {"nonzero", Code::kRejectedDynamicShape, "aten.nonzero.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x.gt(0).nonzero(); }},
    {"masked_select", Code::kRejectedDynamicShape, "aten.masked_select.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x.masked_select(x > 0); }},
    {"boolean_index", Code::kRejectedDynamicShape, "aten.index.Tensor", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x.index({x > 0}); }},
    {"unique", Code::kRejectedDynamicShape, "aten._unique2.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return std::get<0>(at::_unique2(x)); }},
};

const Unsafe kRandom[] = {
    {"dropout", Code::kRejectedRandom, "aten.dropout.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return at::dropout(x, 0.5, true); }},
    {"randn", Code::kRejectedRandom, "aten.randn.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x + at::randn({4}); }},
    {"bernoulli_", Code::kRejectedRandom, "aten.bernoulli_.float", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x * at::empty_like(x).bernoulli_(0.5); }},
    {"attention_dropout", Code::kRejectedRandom, "aten.scaled_dot_product_attention.default",
     nullptr,
     [](StatefulImpl&, const Tensor& x) {
       const Tensor y = x.unsqueeze(0);
       return at::scaled_dot_product_attention(y, y, y, {}, 0.5);
     }},
};

const Unsafe kUnsupported[] = {
    {"sparse", Code::kRejectedUnsupportedOp, "aten._to_sparse.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return x.to_sparse(); }},
    {"lazy_conjugate", Code::kRejectedUnsupportedOp, "aten._conj.default", nullptr,
     [](StatefulImpl&, const Tensor& x) { return at::view_as_real(at::complex(x, x).conj() * 1); }},
    {"host_write_into_result", Code::kRejectedUnsupportedOp, "aten.add.Tensor", nullptr,
     [](StatefulImpl&, const Tensor& x) {
       Tensor y = x * 2;
       y.data_ptr<float>()[0] = 3;
       return y + 1;
     }},
    {"second_storage_on_a_result", Code::kRejectedUnsupportedOp, "aten.add.Tensor", nullptr,
     [](StatefulImpl&, const Tensor& x) {
       const Tensor y = x * 2;
       return y + torch::from_blob(y.data_ptr(), {4, 4});
     }},
    {"resized_output", Code::kRejectedUnsupportedOp, "aten.add.out", nullptr,
     [](StatefulImpl&, const Tensor& x) {
       Tensor out = at::zeros({2});
       at::add_out(out, x, x);
       return out;
     }},
    {"asserts_on_values", Code::kRejectedUnsupportedOp, "aten._assert_async.default", nullptr,
     [](StatefulImpl&, const Tensor& x) {
       at::_assert_async(x.sum().isfinite());
       return x * 1;
     }},
    {"undefined_output", Code::kRejectedUnsupportedOp, "", "output 0",
     [](StatefulImpl&, const Tensor&) { return Tensor(); }},
};

std::string case_name(const ::testing::TestParamInfo<Unsafe>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Mutation, Refused, ::testing::ValuesIn(kMutations), case_name);
INSTANTIATE_TEST_SUITE_P(Values, Refused, ::testing::ValuesIn(kValues), case_name);
INSTANTIATE_TEST_SUITE_P(Random, Refused, ::testing::ValuesIn(kRandom), case_name);
INSTANTIATE_TEST_SUITE_P(Unsupported, Refused, ::testing::ValuesIn(kUnsupported), case_name);

TEST(Refusals, CarryRegionAndCaller) {
  const Module module = function([](const Tensors& in) {
    const Region outer("decoder");
    const Region inner("layer.3");
    return Tensors{at::argwhere(in[0])};
  });
  const Rejection rejection = refusal(module, {floats({3})});
  EXPECT_EQ(rejection.module_path, "decoder.layer.3");
  EXPECT_EQ(Region::current(), "");
}

TEST(Refusals, TrainingModeNamesTheModules) {
  nn::Sequential net(nn::Linear(4, 4), nn::Dropout(0.5));
  const Rejection rejection = refusal(make_module<1>(net), {floats({2, 4})});
  EXPECT_EQ(rejection.code, Code::kRejectedTraining);
  EXPECT_EQ(rejection.subject, "1");
  net->eval();
  expect_captured(make_module<1>(net), {floats({2, 4})}, {{floats({2, 4})}, {floats({2, 4})}});
}

TEST(Refusals, WeightThatPointsElsewhereAfterForward) {
  Stateful stateful([](StatefulImpl& m, const Tensor& x) {
    m.weight.set_data(torch::ones({4, 4}));
    return at::matmul(x, m.weight);
  });
  const Rejection rejection = refusal(make_module<1>(stateful), {floats({4, 4})});
  EXPECT_EQ(rejection.code, Code::kRejectedRebinding);
  EXPECT_EQ(rejection.subject, "weight");
}

TEST(Refusals, WorkOnAnotherThread) {
  const Module module = function([](const Tensors& in) {
    const at::ThreadLocalState state;
    Tensor y;
    std::thread([&] {
      const at::ThreadLocalStateGuard guard(state);
      y = in[0] * 2;
    }).join();
    return Tensors{in[0] + y};
  });
  const Rejection rejection = refusal(module, {floats({3})});
  EXPECT_EQ(rejection.code, Code::kRejectedForeignThread);
  EXPECT_EQ(rejection.op, "aten.mul.Scalar");
}

// --- faults ---

/// Code and message of the Error that `fn` must throw.
template <class Fn>
std::pair<Code, std::string> error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return {e.code(), e.what()};
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

struct BadInputs {
  const char* name;
  Tensors inputs;
  const char* expected;  ///< part of the message
};
void PrintTo(const BadInputs& c, std::ostream* out) {
  *out << c.name;
}
class UnusableInputs : public TestWithParam<BadInputs> {};

TEST_P(UnusableInputs, AreNamed) {
  bool ran = false;
  Module module = function([&ran](const Tensors& in) {
    ran = true;
    return Tensors{in[0] * 1};
  });
  module.input_names = {"first", "second"};
  const auto [code, message] =
      error_of([&] { (void)trace::record(module, GetParam().inputs, "m"); });
  EXPECT_EQ(code, Code::kInvalidArgument);
  EXPECT_NE(message.find(GetParam().expected), std::string::npos) << message;
  EXPECT_FALSE(ran);
}

std::vector<BadInputs> bad_inputs() {
  const Tensor x = torch::randn({3});
  return {
      {"undefined", {x, Tensor()}, "input 1 ('second')"},
      {"requires_grad", {torch::randn({3}, at::requires_grad()), x}, "requires grad"},
      {"sparse", {x, torch::eye(3).to_sparse()}, "layout"},
      {"quantised", {x, torch::quantize_per_tensor(x, 0.1, 0, at::kQInt8)}, "quantised"},
      {"meta", {x, torch::empty({3}, at::kMeta)}, "meta"},
      {"unknown_dtype", {x, torch::zeros({3}, at::kUInt16)}, "UInt16"},
      {"too_few", {x}, "expected 2 inputs"},
  };
}
INSTANTIATE_TEST_SUITE_P(Inputs, UnusableInputs, ::testing::ValuesIn(bad_inputs()),
                         [](const auto& bad) { return std::string(bad.param.name); });

TEST(Refusals, InputsThatOverlap) {
  bool ran = false;
  Module module = function([&ran](const Tensors& in) {
    ran = true;
    return Tensors{in[0] + in[1]};
  });
  module.input_names = {"first", "second"};
  const Tensor wide = torch::randn({8});
  for (const Tensors& inputs :
       {Tensors{wide, wide}, Tensors{wide.slice(0, 0, 5), wide.slice(0, 3, 8)}}) {
    const Rejection rejection = refusal(module, inputs);
    EXPECT_EQ(rejection.code, Code::kRejectedAliasing);
    EXPECT_EQ(rejection.subject, "second");
    EXPECT_NE(rejection.reason.find("overlaps input 0 ('first')"), std::string::npos);
  }
  EXPECT_FALSE(ran);
}

TEST(UsableInputs, InterleavedSlicesAndExpandedTensors) {
  const Tensor x = floats({3, 8});
  const Module module = function([](const Tensors& in) { return Tensors{in[0] + in[1] * in[2]}; });
  expect_captured(module, {x.slice(1, 0, 4), x.slice(1, 4, 8), floats({1, 1}).expand({3, 4})},
                  {{floats({3, 4}), floats({3, 4}), floats({1, 1}).expand({3, 4})},
                   {floats({3, 4}), floats({3, 4}), floats({3, 4})}});
}

TEST(Faults, ExceptionsOfForwardPassThroughAndLeaveNothingOn) {
  Stateful stateful([](StatefulImpl& m, const Tensor& x) -> Tensor {
    const Region region("broken");
    const Tensor y = at::matmul(x, m.weight);
    throw std::domain_error("as the forward says");
  });
  const Module module = make_module<1>(stateful);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW((void)trace::record(module, {floats({4, 4})}, "m"), std::domain_error);
    EXPECT_FALSE(trace::is_recording());
    EXPECT_FALSE(c10::InferenceMode::is_enabled());
    EXPECT_EQ(Region::current(), "");
  }
  EXPECT_THROW((void)trace::record(module, {floats({3})}, "m"), c10::Error);  // matmul's own
  stateful->body = [](StatefulImpl& m, const Tensor& x) { return at::matmul(x, m.weight); };
  expect_captured(module, {floats({4, 4})}, {{floats({4, 4})}, {floats({4, 4})}});
}

TEST(Faults, NestedTrace) {
  const Module inner = function([](const Tensors& in) { return Tensors{in[0] * 2}; });
  const Module outer = function([&inner](const Tensors& in) {
    (void)trace::record(inner, {at::ones({3})}, "inner");
    return Tensors{in[0] + 1};
  });
  const auto [code, message] =
      error_of([&] { (void)trace::record(outer, {floats({3})}, "outer"); });
  EXPECT_EQ(code, Code::kInvalidState);
  EXPECT_NE(message.find("this thread"), std::string::npos) << message;
  expect_captured(inner, {floats({3})}, {{floats({3})}, {floats({3})}});
}

TEST(Faults, TwoThreadsAtOnce) {
  std::promise<void> inside;
  std::promise<void> go_on;
  const Module slow = function([&](const Tensors& in) {
    const Tensor y = in[0] * 2;
    inside.set_value();
    go_on.get_future().wait();
    return Tensors{y + 1};
  });
  const Module quick = function([](const Tensors& in) { return Tensors{in[0] * 3}; });
  const Tensor x = floats({3});
  auto first = std::async(std::launch::async, [&] { return record_or_fail(slow, {x}); });
  inside.get_future().wait();
  const auto [code, message] = error_of([&] { (void)trace::record(quick, {floats({3})}, "m"); });
  const Tensor unrecorded = floats({3}) + 1;  // ordinary work here isn't the other's business
  go_on.set_value();
  EXPECT_EQ(code, Code::kInvalidState);
  EXPECT_NE(message.find("another thread"), std::string::npos) << message;
  EXPECT_EQ(targets(first.get().graph), (std::vector<std::string>{"mul.Tensor", "add.Tensor"}));
  EXPECT_TRUE(unrecorded.defined());
  expect_captured(quick, {x}, {{floats({3})}, {floats({3})}});
}

TEST(Faults, NamesThatClash) {
  Module module = function([](const Tensors& in) { return in; });
  module.input_names = {"x", "x"};
  EXPECT_EQ(error_of([&] {
              (void)trace::record(module, {floats({2}), floats({2})}, "m");
            }).first,
            Code::kInvalidArgument);
  module.input_names.clear();
  module.tensors = {{"w", floats({2}), false}, {"w", floats({2}), false}};
  EXPECT_EQ(error_of([&] { (void)trace::record(module, {floats({2})}, "m"); }).first,
            Code::kInvalidArgument);
  EXPECT_EQ(error_of([&] { (void)trace::record(Module{}, {floats({2})}, "m"); }).first,
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace monograph::test
