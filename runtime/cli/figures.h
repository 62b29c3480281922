// How a program would run on a back end, in numbers.
#pragma once

#include <monograph/options.h>
#include <monograph/program.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace monograph::cli {

/// One launch as it was lowered.
struct LaunchLine {
  std::string node;
  std::string target;
  std::string kind;            ///< "aten", "kernel", "library" or "fusion"
  std::string implementation;  ///< of ours; empty for LibTorch's
  std::string reason;          ///< why that one
  std::string module_path;
  double bytes = 0;
  double flops = 0;
  double predicted_us = 0;  ///< its work on one H200, without the boundary
};

struct Figures {
  std::size_t nodes = 0;  ///< of the final graph
  std::size_t launches = 0;
  std::size_t library_calls = 0;  ///< cuBLASLt, cuDNN
  std::size_t own_kernels = 0;    ///< of this project, fusions included
  std::size_t fusions = 0;
  std::size_t aten_fallbacks = 0;  ///< LibTorch's kernels
  double bytes = 0;                ///< read and written by all launches
  double flops = 0;                ///< of matrix products
  double predicted_us = 0;         ///< on one H200, from `bytes`, `flops` and launches
  double predicted_us_h100 = 0;
  std::int64_t weight_bytes = 0;
  std::int64_t state_bytes = 0;
  std::int64_t input_bytes = 0;
  std::int64_t output_bytes = 0;
  std::int64_t arena_bytes = 0;
  std::int64_t arena_lower_bound = 0;
  std::map<std::string, std::size_t> ops;        ///< calls by target, those in fusions included
  std::map<std::string, std::size_t> fallbacks;  ///< LibTorch's kernels by target
  std::vector<LaunchLine> lines;                 ///< in order
  std::vector<std::string> expanded;             ///< fusions taken apart, and why
};

/// Lowers and plans `program` for `options.backend` without building it.
Figures figures_of(const Program& program, const Options& options);

}  // namespace monograph::cli
