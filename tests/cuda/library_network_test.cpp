// A residual network in halves from trace to device: batch norms folded, the chain turned to
// channels-last, each convolution one launch of cuDNN's with its sum and ReLU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <monograph/monograph.h>

#include <cmath>
#include <map>

#include "runtime/exec/executable_impl.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {
namespace {

/// Weights by name, made when first asked for.
class Weights {
 public:
  const at::Tensor& of(const std::string& name, std::vector<std::int64_t> sizes, double scale,
                       double offset = 0) {
    const auto [at, fresh] = tensors_.try_emplace(name);
    if (fresh) at->second = (at::randn(sizes) * scale + offset).to(at::kHalf);
    return at->second;
  }
  Weights to(at::ScalarType type) const {
    Weights other;
    for (const auto& [name, t] : tensors_) other.tensors_[name] = t.to(type);
    return other;
  }
  std::vector<NamedTensor> named() const {
    std::vector<NamedTensor> all;
    for (const auto& [name, t] : tensors_) all.push_back({name, t, false});
    return all;
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

class Network {
 public:
  explicit Network(Weights weights) : weights_(std::move(weights)) {}

  at::Tensor forward(const at::Tensor& images) {
    at::Tensor x = at::relu(convolution("stem", images, 16, 7, 2));
    x = at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    x = block("a", x, 8, 1);
    x = block("b", x, 16, 2);
    x = block("c", x, 16, 1);
    x = at::adaptive_avg_pool2d(x, {1, 1}).flatten(1);
    return at::linear(x, weights_.of("fc", {10, 64}, 0.1), weights_.of("fc_bias", {10}, 0.1));
  }
  const Weights& weights() const { return weights_; }

 private:
  /// With a batch norm after it.
  at::Tensor convolution(const std::string& name, const at::Tensor& x, std::int64_t out,
                         std::int64_t kernel, std::int64_t stride) {
    const std::int64_t in = x.size(1);
    const double scale = 1 / std::sqrt(static_cast<double>(in * kernel * kernel));
    const at::Tensor y =
        at::conv2d(x, weights_.of(name, {out, in, kernel, kernel}, scale), {}, stride, kernel / 2);
    const auto vector = [&](const char* what, double size, double offset) {
      return weights_.of(name + what, {out}, size, offset);
    };
    return at::batch_norm(y, vector("_gamma", 0.1, 1), vector("_beta", 0.1, 0),
                          vector("_mean", 0.1, 0), vector("_var", 0.02, 1), false, 0.1, 1e-5, true);
  }

  at::Tensor block(const std::string& name, const at::Tensor& x, std::int64_t width,
                   std::int64_t stride) {
    at::Tensor y = at::relu(convolution(name + "1", x, width, 1, 1));
    y = at::relu(convolution(name + "2", y, width, 3, stride));
    y = convolution(name + "3", y, 4 * width, 1, 1);
    const bool same = x.size(1) == 4 * width && stride == 1;
    return at::relu(y + (same ? x : convolution(name + "d", x, 4 * width, 1, stride)));
  }

  Weights weights_;
};

constexpr std::size_t kConvolutions = 1 + 4 + 4 + 3;

double rmse(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).square().mean().sqrt().item<double>();
}

class LibraryNetwork : public testing::Test {
 protected:
  void SetUp() override {
    load_client();
    (void)network_.forward(images());
  }
  static at::Tensor images() { return at::randn({2, 3, 32, 32}).to(at::kHalf); }

  Program traced() {
    Module module;
    module.forward = [this](const std::vector<at::Tensor>& in) {
      return std::vector<at::Tensor>{network_.forward(in[0])};
    };
    module.tensors = network_.weights().named();
    Options options;
    options.passes = {"fused"};
    auto result = Program::trace(module, {images()}, options);
    if (const auto* r = std::get_if<Rejection>(&result)) ADD_FAILURE() << r->reason;
    return std::get<Program>(std::move(result));
  }

  /// Errors against double precision, of `e` within six times eager's own: there are few elements,
  /// and folded weights are rounded once more.
  void check(Executable& e) {
    Network exact(network_.weights().to(at::kDouble));
    for (int replay = 0; replay < 3; ++replay) {
      const at::Tensor x = images();
      const at::Tensor want = exact.forward(x.to(at::kDouble));
      const at::Tensor got = e.replay({x})[0];
      EXPECT_FALSE(got.isnan().any().item<bool>());
      EXPECT_LE(rmse(got, want), 6 * rmse(network_.forward(x), want));
    }
  }

  Network network_{Weights()};
};

TEST_F(LibraryNetwork, EachConvolutionIsOneLaunch) {
  Executable device = Executable::build(traced(), cuda_options());
  std::size_t convolutions = 0;
  for (const lower::Launch& l : device.impl().planned().lowered.launches) {
    if (l.implementation != "cudnn") continue;
    ++convolutions;
    EXPECT_FALSE(l.node->type().is_contiguous()) << l.node->name() << " isn't channels-last";
  }
  EXPECT_EQ(convolutions, kConvolutions) << device.dump("launches") << device.dump("costs");
  // And the input turned, the pool, the mean and the last layer.
  EXPECT_EQ(device.report().launches, kConvolutions + 4) << device.dump("launches");
  for (const std::uint64_t order : {0, 1, 2}) {
    seed(order);
    check(device);
  }
  seed(0);
}

TEST_F(LibraryNetwork, RunsLaunchByLaunchAndOnTheHostAlike) {
  const Program program = traced();
  Executable stream = Executable::build(program, cuda_options(GraphMode::kNone));
  check(stream);
  Options host;
  host.backend = "host";
  Executable reference = Executable::build(program, host);
  check(reference);
}

}  // namespace
}  // namespace monograph::test
