// Click-rate model: dense features through an MLP, categories through embedding tables, pairwise
// products of all of them through another MLP: https://arxiv.org/abs/1906.00091
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <vector>

namespace monograph::bench {

struct DlrmConfig {
  std::int64_t dense = 13;
  std::int64_t tables = 26;
  std::int64_t rows = 20000;  ///< of each table
  std::int64_t width = 64;    ///< of an embedding
  std::vector<std::int64_t> bottom = {512, 256};
  std::vector<std::int64_t> top = {512, 512, 256};
};

struct DlrmImpl : torch::nn::Module {
  explicit DlrmImpl(const DlrmConfig& config);
  /// `dense` [B, dense], `categories` i64[B, tables] -> probability [B, 1]
  at::Tensor forward(const at::Tensor& dense, const at::Tensor& categories);

  torch::nn::ModuleList bottom, top, tables;
  at::Tensor rows, columns;  ///< i64[P]: which products are taken
};
TORCH_MODULE(Dlrm);

}  // namespace monograph::bench
