// Weights drawn fast: billions of them in seconds, on all cores, the same ones from the same seed.
#pragma once

#include <ATen/core/TensorBody.h>
#include <torch/nn/module.h>

#include <cstdint>

namespace monograph::bench {

/// Fills `tensor` (dense, on the CPU, of a floating-point type) from a bell-shaped distribution of
/// mean 0 and `deviation`, cut off at 3.5 deviations. Each element is a function of its index and
/// of one number taken from LibTorch's CPU generator, so that the number of threads doesn't matter.
void draw_bell(const at::Tensor& tensor, double deviation);

/// While alive, draw_bell leaves memory on this thread as it is: where the system hands out fresh
/// pages, that takes none, and a graph can be looked at whose weights wouldn't fit.
class UnwrittenWeights {
 public:
  UnwrittenWeights() noexcept;
  ~UnwrittenWeights();
  UnwrittenWeights(const UnwrittenWeights&) = delete;
  UnwrittenWeights& operator=(const UnwrittenWeights&) = delete;

 private:
  bool before_;
};

/// A linear layer without bias, named and called as torch::nn::Linear is, but drawn by draw_bell in
/// `dtype`: LibTorch's own first draw, in float and on one core, takes half a minute for a billion.
struct ProjectionImpl : torch::nn::Module {
  ProjectionImpl(std::int64_t in, std::int64_t out, at::ScalarType dtype);
  at::Tensor forward(const at::Tensor& x);

  at::Tensor weight;
};
TORCH_MODULE(Projection);

/// A lookup table, as torch::nn::Embedding is one.
struct TableImpl : torch::nn::Module {
  TableImpl(std::int64_t rows, std::int64_t width, at::ScalarType dtype);
  at::Tensor forward(const at::Tensor& indices);

  at::Tensor weight;
};
TORCH_MODULE(Table);

}  // namespace monograph::bench
