#include "bench/minilm/batch.h"

#include <ATen/ops/empty.h>
#include <monograph/error.h>

#include <algorithm>

namespace monograph::bench {

Batch make_batch(const std::vector<std::vector<std::int64_t>>& rows, std::int64_t pad_id,
                 std::size_t length) {
  for (const auto& row : rows) {
    if (row.empty()) throw Error(Code::kInvalidArgument, "rows: one of them has no tokens");
    length = std::max(length, row.size());
  }
  if (rows.empty()) throw Error(Code::kInvalidArgument, "rows: expected at least one");
  const auto sizes = {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(length)};
  Batch batch{at::empty(sizes, at::kLong), at::empty(sizes, at::kLong)};
  auto* ids = batch.input_ids.mutable_data_ptr<std::int64_t>();
  auto* mask = batch.attention_mask.mutable_data_ptr<std::int64_t>();
  for (const auto& row : rows) {
    std::fill(std::copy(row.begin(), row.end(), ids), ids + length, pad_id);
    std::fill(std::fill_n(mask, row.size(), 1), mask + length, 0);
    ids += length;
    mask += length;
  }
  return batch;
}

Batch random_batch(std::size_t count, std::size_t length, std::int64_t vocabulary,
                   std::mt19937_64& random) {
  std::uniform_int_distribution<std::int64_t> token(0, vocabulary - 1);
  std::uniform_int_distribution<std::size_t> size(std::min<std::size_t>(2, length), length);
  std::vector<std::vector<std::int64_t>> rows(count);
  for (auto& row : rows) {
    row.resize(&row == &rows.front() ? length : size(random));
    std::generate(row.begin(), row.end(), [&] { return token(random); });
  }
  return make_batch(rows, 0, length);
}

}  // namespace monograph::bench
