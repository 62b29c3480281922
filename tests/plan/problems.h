// Planning problems for tests: a builder, realistic shapes and random families.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"

namespace monograph::plan::testing {

/// Appends buffers and launches with ids and slots filled in.
class Builder {
 public:
  BufferId input(std::int64_t bytes);
  BufferId output(std::int64_t bytes);
  BufferId weight(std::int64_t bytes);
  BufferId state(std::int64_t bytes);
  BufferId intermediate(std::int64_t bytes);
  /// `reads` and `writes` in any order, with repetitions.
  LaunchId launch(std::vector<BufferId> reads, std::vector<BufferId> writes,
                  std::int64_t workspace = 0);
  Problem& problem() { return problem_; }
  Problem take() { return std::move(problem_); }

 private:
  BufferId add(BufferKind kind, std::int64_t bytes, std::int32_t slot, const std::string& name);
  Problem problem_;
  std::int32_t inputs_ = 0;
  std::int32_t outputs_ = 0;
};

/// An encoder as lowering sees it: per layer q, k, v, attention, projection, residual and norm, a
/// two-matmul MLP with activation, residual and norm; one mask made first and read by every layer.
Problem transformer(int layers, std::int64_t tokens, std::int64_t hidden, std::int64_t ffn);

/// Names of the families that `random_problem` knows.
const std::vector<std::string>& families();

/// A valid problem of a family: "chain", "diamond", "wide", "in_place", "layered", "rewritten",
/// "mixed". The same generator state gives the same problem.
Problem random_problem(const std::string& family, std::mt19937_64& random);

/// `launches` launches with fan-in up to `fan_in` from the `window` latest results, none unread.
Problem synthetic(int launches, int fan_in, int window, std::uint64_t seed);

}  // namespace monograph::plan::testing
