// Token ids as the tensors that the encoder takes.
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace monograph::bench {

/// What the encoder takes: both i64[B, T] on the CPU, row-major.
struct Batch {
  at::Tensor input_ids;
  at::Tensor attention_mask;  ///< 1 token, 0 padding

  std::vector<at::Tensor> inputs() const { return {input_ids, attention_mask}; }
};

/// `rows` padded with `pad_id` to the longest, or to `length` if that is greater. Empty rows and
/// an empty list are Error(kInvalidArgument).
Batch make_batch(const std::vector<std::vector<std::int64_t>>& rows, std::int64_t pad_id,
                 std::size_t length = 0);

/// `count` rows of random ids below `vocabulary`: the first fills `length`, the others are of
/// random length from 2 up and padded with 0.
Batch random_batch(std::size_t count, std::size_t length, std::int64_t vocabulary,
                   std::mt19937_64& random);

}  // namespace monograph::bench
