#include "bench/minilm/similarity.h"

#include <ATen/ops/matmul.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace monograph::bench {

std::vector<SimilarPair> most_similar(const at::Tensor& embeddings, std::size_t count) {
  const auto rows = static_cast<std::size_t>(embeddings.size(0));
  const auto cosines = at::matmul(embeddings, embeddings.t()).contiguous();
  const auto* cosine = cosines.const_data_ptr<float>();
  std::vector<SimilarPair> pairs;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = i + 1; j < rows; ++j) {
      const float value = cosine[i * rows + j];
      pairs.push_back({i, j, std::isnan(value) ? -std::numeric_limits<float>::infinity() : value});
    }
  }
  count = std::min(count, pairs.size());
  std::partial_sort(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(count), pairs.end(),
                    [](const SimilarPair& a, const SimilarPair& b) {
                      return std::tuple(-a.cosine, a.first, a.second) <
                             std::tuple(-b.cosine, b.first, b.second);
                    });
  pairs.resize(count);
  return pairs;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) {
    throw Error(Code::kInvalidArgument,
                fmt::format("shapes differ: [{}] and [{}]", fmt::join(a.sizes(), ", "),
                            fmt::join(b.sizes(), ", ")));
  }
  const auto x = a.to(at::kCPU, at::kDouble).contiguous();
  const auto y = b.to(at::kCPU, at::kDouble).contiguous();
  double largest = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const double difference =
        std::abs(x.const_data_ptr<double>()[i] - y.const_data_ptr<double>()[i]);
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace monograph::bench
