// Every model of the zoo on a real GPU, cut to few layers: as a graph and launch by launch, against
// float64, on changing inputs, with poisoned outputs and declared state; and a thousand replays
// that must agree to the bit.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "bench/harness/check.h"
#include "bench/models/zoo/zoo.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

using Tensors = std::vector<at::Tensor>;

struct Cut {
  std::string model;
  at::ScalarType dtype;
  std::int64_t layers;
};

class HardwareModels : public testing::TestWithParam<Cut> {
 protected:
  void SetUp() override {
    options_.dtype = GetParam().dtype;
    options_.layers = GetParam().layers;
    options_.device = at::Device(at::kCUDA, 0);
    entry_ = &bench::find_model(GetParam().model);
    model_ = entry_->make(options_);
    for (const NamedTensor& t : model_.module.tensors) {
      if (std::ranges::find(model_.state, t.name) != model_.state.end()) state_.push_back(t.tensor);
    }
    ASSERT_EQ(state_.size(), model_.state.size());
  }

  CompiledModule compiled(GraphMode mode) const {
    Options o = cuda_options(mode);
    o.passes = {"fused"};
    o.mutable_state.assign(model_.state.begin(), model_.state.end());
    return CompiledModule(model_.module, o);
  }

  Tensors copies(const Tensors& from) const {
    Tensors out;
    for (const at::Tensor& t : from) out.push_back(t.clone());
    return out;
  }
  static Tensors to_host(const Tensors& from) {
    Tensors out;
    for (const at::Tensor& t : from) out.push_back(t.cpu());
    return out;
  }
  static void restore(const Tensors& to, const Tensors& from) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
  }
  static void poison(const Tensors& outputs) {
    for (const at::Tensor& t : outputs) {
      if (t.is_floating_point()) {
        t.fill_(std::numeric_limits<double>::quiet_NaN());
      } else {
        t.fill_(-77);
      }
    }
  }
  /// Other values of the same kinds; positions and tokens stay valid, and masks (all ones, in the
  /// zoo) keep their first column.
  static Tensors changed(const Tensors& inputs) {
    Tensors out;
    for (const at::Tensor& t : inputs) {
      const bool mask = t.dim() == 2 && t.eq(1).all().item<bool>();
      out.push_back(t.is_floating_point() ? at::randn_like(t) : at::randint_like(t, 1, 50));
      if (mask) out.back().remainder_(2).select(1, 0).fill_(1);
    }
    return out;
  }
  /// Root mean square of the difference by that of `want`; rows of a cache may cancel one by one.
  static double distance(const at::Tensor& got, const at::Tensor& want) {
    const at::Tensor exact = want.to(at::kDouble);
    return ((got.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
  }

  bench::ModelOptions options_;
  const bench::ModelEntry* entry_ = nullptr;
  bench::ModelCase model_;
  Tensors state_;
};

TEST_P(HardwareModels, AgreeWithFloat64OnChangingInputs) {
  const c10::InferenceMode inference;
  CompiledModule graph = compiled(GraphMode::kFull);
  CompiledModule stream = compiled(GraphMode::kNone);
  bench::ModelCase now = model_;
  for (int i = 0; i < 3; ++i) {
    if (i > 0) now.inputs = changed(model_.inputs);
    const Tensors before = copies(state_);
    const bench::Reference reference = bench::make_reference(*entry_, options_, now, 40e9);
    const Tensors eager_state = copies(state_);
    Tensors first, first_state;
    for (CompiledModule* ours : {&graph, &stream}) {
      const std::string what =
          (ours == &graph ? "graph" : "stream") + std::string(", inputs ") + std::to_string(i);
      restore(state_, before);
      Tensors out = (*ours)(now.inputs);
      poison(out);
      restore(state_, before);
      (*ours)(now.inputs, out);
      const bench::Check check = bench::check_outputs(to_host(out), reference);
      EXPECT_TRUE(check.passed) << what << ": " << check.reason;
      for (std::size_t s = 0; s < state_.size(); ++s) {
        EXPECT_LT(distance(state_[s], eager_state[s]), 1e-2) << what << ": " << model_.state[s];
      }
      if (first.empty()) {
        first = copies(out);
        first_state = copies(state_);
      }
      for (std::size_t o = 0; o < out.size(); ++o) {
        EXPECT_TRUE(at::equal(out[o], first[o])) << what << ": output " << o << " differs in bits";
      }
      for (std::size_t s = 0; s < state_.size(); ++s) {
        EXPECT_TRUE(at::equal(state_[s], first_state[s])) << what << ": state differs in bits";
      }
    }
  }
}

TEST_P(HardwareModels, AThousandReplaysAreBitIdentical) {
  const c10::InferenceMode inference;
  CompiledModule graph = compiled(GraphMode::kFull);
  Tensors out = graph(model_.inputs);
  const Tensors want = copies(out);
  // A second set of outputs: other addresses, every other replay.
  Tensors elsewhere = copies(out);
  at::Tensor differing = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(at::kCUDA));
  constexpr int kReplays = 1000;
  for (int i = 0; i < kReplays; ++i) {
    Tensors& to = i % 2 == 0 ? out : elsewhere;
    poison(to);
    graph(model_.inputs, to);
    for (std::size_t o = 0; o < to.size(); ++o) differing += to[o].ne(want[o]).sum();
  }
  EXPECT_EQ(differing.item<std::int64_t>(), 0);
  for (const at::Tensor& t : want) EXPECT_FALSE(t.isnan().any().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(
    Zoo, HardwareModels,
    testing::Values(Cut{"mlp", at::kHalf, 0}, Cut{"mlp", at::kFloat, 3},
                    Cut{"minilm", at::kHalf, 0}, Cut{"minilm", at::kFloat, 2},
                    Cut{"bert-base", at::kHalf, 2}, Cut{"vit-b16", at::kHalf, 2},
                    Cut{"vit-b16", at::kBFloat16, 1}, Cut{"resnet50", at::kHalf, 1},
                    Cut{"resnet50", at::kFloat, 1}, Cut{"dlrm", at::kFloat, 0},
                    Cut{"dlrm", at::kHalf, 0}, Cut{"llama-3.2-1b", at::kBFloat16, 2},
                    Cut{"qwen3-0.6b", at::kBFloat16, 2}, Cut{"llama-3.1-8b", at::kBFloat16, 1}),
    [](const auto& cut) {
      std::string name = cut.param.model + "_" + c10::toString(cut.param.dtype) + "_" +
                         std::to_string(cut.param.layers);
      for (char& c : name) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
      }
      return name;
    });

}  // namespace
}  // namespace monograph::test
