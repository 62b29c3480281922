// Which embeddings lie closest together.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <vector>

namespace monograph::bench {

struct SimilarPair {
  std::size_t first = 0;  ///< less than `second`
  std::size_t second = 0;
  float cosine = 0;
};

/// The `count` most similar pairs of rows of `embeddings` (f32[N, H], rows of length 1), most
/// similar first; equals in order of their indices.
std::vector<SimilarPair> most_similar(const at::Tensor& embeddings, std::size_t count);

/// max |a - b| of two tensors of the same shape; infinite if any difference is not a number, so
/// that NaN never looks like agreement.
double largest_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace monograph::bench
