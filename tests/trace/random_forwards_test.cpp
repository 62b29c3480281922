// Random forwards full of views and writes through them: the recording, its text and the optimised
// program must give eager's answer. Eager itself is the oracle.
#include <ATen/ATen.h>

#include <random>

#include "capture/ir/text.h"
#include "capture/trace/interpreter.h"
#include "tests/trace/helpers.h"

namespace monograph::test {
namespace {

using at::Tensor;

/// One forward, the same on every call: which operators run depends on the seed and on shapes only.
class RandomForward {
 public:
  RandomForward(unsigned seed, Tensor weight) : seed_(seed), weight_(std::move(weight)) {}

  Tensors operator()(const Tensors& inputs) const {
    std::mt19937 draw(seed_);
    Tensors readable = inputs;
    readable.push_back(weight_);
    readable.push_back(weight_.slice(0, 0, 1));
    Tensors writable{inputs[0].clone()};
    const int steps = 6 + static_cast<int>(draw() % 20);
    for (int i = 0; i < steps; ++i) step(draw, readable, writable);
    Tensors outputs(writable.end() - std::min<std::ptrdiff_t>(4, std::ssize(writable)),
                    writable.end());
    outputs.push_back(readable.back());
    return outputs;
  }

 private:
  static const Tensor& pick(std::mt19937& draw, const Tensors& from) {
    return from[draw() % from.size()];
  }

  static Tensor any(std::mt19937& draw, const Tensors& readable, const Tensors& writable) {
    return draw() % 2 == 0 ? pick(draw, readable) : pick(draw, writable);
  }

  /// A view of `x`, by an operator or by a second tensor on its memory.
  static Tensor view(std::mt19937& draw, const Tensor& x) {
    const auto dims = x.dim();
    const auto dim = dims == 0 ? 0 : static_cast<std::int64_t>(draw() % dims);
    switch (draw() % 11) {
      case 8: {
        Tensor y = x.detach();
        return dims > 1 ? y.transpose_(0, dim) : y.unsqueeze_(-1);
      }
      case 9: {
        Tensor y = dims > 0 ? x.slice(dim, x.size(dim) / 3) : x.detach();
        return y.unsqueeze_(0);
      }
      case 0:
        return dims > 1 ? x.transpose(0, dim) : x.unsqueeze(0);
      case 1:
        return dims > 1 && x.size(dim) > 0 ? x.select(dim, x.size(dim) - 1) : x;
      case 2:
        return dims > 0 ? x.slice(dim, x.size(dim) / 2) : x;
      case 3:
        return dims > 0 ? x.narrow(dim, 0, (x.size(dim) + 1) / 2) : x;
      case 4:
        return x.unsqueeze(-1).squeeze(-1);
      case 5:
        return x.detach();
      case 6:
        return x.data();
      case 7:
        return dims > 0 ? x.chunk(2, dim).back() : x;
      default:
        return x.is_contiguous() ? x.view({-1}) : x;
    }
  }

  static Tensor fit(const Tensor& value, const Tensor& target) {
    return at::tanh(value.mean()).expand_as(target);
  }

  static void write(std::mt19937& draw, const Tensor& target, const Tensor& value) {
    const Tensor fitting = value.sizes() == target.sizes() ? value.clone() : fit(value, target);
    switch (draw() % 6) {
      case 0:
        target.add_(fitting);
        break;
      case 1:
        target.copy_(fitting);
        break;
      case 2:
        target.mul_(0.5);
        break;
      case 3:
        target.tanh_();
        break;
      case 4:
        target.masked_fill_(fitting > 0, 0.25);
        break;
      default: {
        Tensor out = target;
        at::sub_out(out, target, fitting, 2);
        break;
      }
    }
  }

  static Tensor compute(std::mt19937& draw, const Tensor& x, const Tensor& y) {
    switch (draw() % 7) {
      case 0:
        return x * 2 - 1;
      case 1:
        return at::cat({x.reshape({-1}), y.reshape({-1})}).tanh();
      case 2:
        return x.contiguous() + fit(y, x);
      case 3:
        return at::matmul(x.reshape({-1, 1}), y.reshape({1, -1}))
            .tanh()
            .slice(0, 0, 3)
            .slice(1, 0, 3);
      case 4:
        return x.reshape({-1}).clone();
      case 5:
        return at::zeros_like(x).add_(0.5);
      default:
        return at::where(x > 0, x, fit(y, x));
    }
  }

  static void step(std::mt19937& draw, Tensors& readable, Tensors& writable) {
    switch (draw() % 5) {
      case 0:
        readable.push_back(view(draw, pick(draw, readable)));
        break;
      case 1:
        writable.push_back(view(draw, pick(draw, writable)));
        break;
      case 2:
      case 3: {
        const Tensor target = pick(draw, writable);
        write(draw, target, any(draw, readable, writable));
        break;
      }
      default: {
        const Tensor x = any(draw, readable, writable);
        writable.push_back(compute(draw, x, any(draw, readable, writable)));
      }
    }
  }

  unsigned seed_;
  Tensor weight_;
};

class RandomForwards : public ::testing::TestWithParam<unsigned> {};

TEST_P(RandomForwards, AreCapturedExactly) {
  constexpr unsigned kForwards = 25;
  for (unsigned i = 0; i < kForwards; ++i) {
    const unsigned seed = GetParam() * kForwards + i;
    SCOPED_TRACE("seed " + std::to_string(seed));
    at::manual_seed(seed);
    const Tensor weight = at::randn({3, 4});
    Module module = function(RandomForward(seed, weight));
    module.tensors = {{"weight", weight, false}};
    auto draw = [] { return Tensors{at::randn({4, 3}), at::randn({2, 3, 2})}; };
    expect_captured(module, draw(), {draw(), draw()});
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomForwards, ::testing::Range(0U, 12U));

}  // namespace
}  // namespace monograph::test
