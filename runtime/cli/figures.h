// How a program would run on a back end, in numbers.
#pragma once

#include <monograph/options.h>
#include <monograph/program.h>

#include <cstddef>
#include <map>
#include <string>

namespace monograph::cli {

struct Figures {
  std::size_t nodes = 0;
  std::size_t launches = 0;
  std::size_t library_calls = 0;  ///< cuBLASLt, cuDNN
  std::size_t own_kernels = 0;    ///< of this project, fusions included
  std::size_t fusions = 0;
  std::size_t aten_fallbacks = 0;  ///< LibTorch's kernels
  double bytes = 0;                ///< read and written by all launches
  double flops = 0;                ///< of matrix products
  double predicted_us = 0;         ///< on one H200, from `bytes`, `flops` and launches
  std::int64_t weight_bytes = 0;
  std::int64_t arena_bytes = 0;
  std::map<std::string, std::size_t> ops;        ///< calls by target
  std::map<std::string, std::size_t> fallbacks;  ///< LibTorch's kernels by target
};

/// Lowers `program` for `options.backend` without building it.
Figures figures_of(const Program& program, const Options& options);

}  // namespace monograph::cli
