#include "bench/models/dlrm.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tril_indices.h>

namespace monograph::bench {
namespace {

// Linear layers of the given widths; returns the last width.
std::int64_t fill(torch::nn::ModuleList& layers, std::int64_t width,
                  const std::vector<std::int64_t>& widths) {
  for (const auto next : widths) {
    layers->push_back(torch::nn::Linear(width, next));
    width = next;
  }
  return width;
}

at::Tensor linear(torch::nn::ModuleList& layers, std::size_t i, const at::Tensor& x) {
  return layers->at<torch::nn::LinearImpl>(i).forward(x);
}

}  // namespace

DlrmImpl::DlrmImpl(const DlrmConfig& config) {
  fill(bottom, fill(bottom, config.dense, config.bottom), {config.width});
  for (std::int64_t i = 0; i < config.tables; ++i) {
    tables->push_back(torch::nn::Embedding(config.rows, config.width));
  }
  const std::int64_t vectors = config.tables + 1;
  const auto pairs = at::tril_indices(vectors, vectors, -1);
  rows = register_buffer("rows", pairs[0].contiguous());
  columns = register_buffer("columns", pairs[1].contiguous());
  fill(top, fill(top, config.width + vectors * (vectors - 1) / 2, config.top), {1});
  register_module("bottom", bottom);
  register_module("tables", tables);
  register_module("top", top);
}

at::Tensor DlrmImpl::forward(const at::Tensor& dense, const at::Tensor& categories) {
  auto x = dense;
  for (std::size_t i = 0; i < bottom->size(); ++i) x = at::relu(linear(bottom, i, x));
  std::vector<at::Tensor> vectors{x};
  for (std::size_t i = 0; i < tables->size(); ++i) {
    vectors.push_back(tables->at<torch::nn::EmbeddingImpl>(i).forward(
        categories.select(1, static_cast<std::int64_t>(i))));
  }
  const auto stacked = at::stack(vectors, 1);
  const auto products = at::bmm(stacked, stacked.transpose(1, 2));
  auto y = at::cat({x, products.index({at::indexing::Slice(), rows, columns})}, 1);
  for (std::size_t i = 0; i + 1 < top->size(); ++i) y = at::relu(linear(top, i, y));
  return at::sigmoid(linear(top, top->size() - 1, y));
}

}  // namespace monograph::bench
