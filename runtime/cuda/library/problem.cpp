#include "runtime/cuda/library/problem.h"

#include <fmt/format.h>

#include <array>

namespace monograph::cuda {
namespace {

using kernels::dtype_name;
using kernels::itemsize;

std::string layout_text(const char* name, const MatrixLayout& l, std::int64_t batch) {
  std::string s =
      fmt::format(" {}={}{}:{}", name, dtype_name(l.dtype), l.by_columns ? "^T" : "", l.ld);
  if (batch > 1) s += fmt::format("+{}", l.batch_stride);
  return s + fmt::format("@{}", l.alignment);
}

std::string text_of(const MatmulProblem& p) {
  std::string s = fmt::format("matmul {}x{}x{}", p.m, p.n, p.k);
  if (p.batch > 1) s += fmt::format(" x{}", p.batch);
  s += layout_text("a", p.a, p.batch) + layout_text("b", p.b, p.batch);
  s += layout_text("d", p.d, p.batch);
  if (p.has_c) s += layout_text("c", p.c, p.batch) + fmt::format("*{}", p.beta);
  if (p.has_bias) s += " bias";
  if (p.alpha != 1) s += fmt::format(" alpha={}", p.alpha);
  if (p.constant_b) s += " weight";
  if (p.activation != Activation::kNone) s += fmt::format(" {}", activation_name(p.activation));
  return s;
}

std::string text_of(const ConvolutionProblem& p) {
  std::string s = fmt::format(
      "conv {} {} x={}x{}x{}x{} w={}x{}x{} y={}x{} stride={}x{} pad={}x{} dilation={}x{}",
      dtype_name(p.dtype), p.channels_last ? "nhwc" : "nchw", p.n, p.c, p.h, p.w, p.k, p.r, p.s,
      p.p, p.q, p.stride[0], p.stride[1], p.padding[0], p.padding[1], p.dilation[0], p.dilation[1]);
  if (p.groups != 1) s += fmt::format(" groups={}", p.groups);
  if (p.has_bias) s += " bias";
  if (p.has_z) s += fmt::format(" z*{}", p.alpha_z);
  if (p.activation != Activation::kNone) s += fmt::format(" {}", activation_name(p.activation));
  return s;
}

/// From the first to the last element of all matrices.
std::int64_t extent(const MatrixLayout& l, std::int64_t rows, std::int64_t columns,
                    std::int64_t batch) {
  const std::int64_t lines = l.by_columns ? columns : rows;
  const std::int64_t length = l.by_columns ? rows : columns;
  return ((batch - 1) * l.batch_stride + (lines - 1) * l.ld + length) * itemsize(l.dtype);
}

std::vector<std::int64_t> bytes_of(const MatmulProblem& p) {
  return {extent(p.a, p.m, p.k, p.batch), extent(p.b, p.k, p.n, p.batch),
          extent(p.d, p.m, p.n, p.batch), p.has_c ? extent(p.c, p.m, p.n, p.batch) : 0,
          p.has_bias ? p.n * itemsize(p.d.dtype) : 0};
}

std::vector<std::int64_t> bytes_of(const ConvolutionProblem& p) {
  const std::int64_t size = itemsize(p.dtype);
  const std::int64_t y = p.n * p.k * p.p * p.q * size;
  return {p.n * p.c * p.h * p.w * size, p.k * (p.c / p.groups) * p.r * p.s * size, y,
          p.has_z ? y : 0, p.has_bias ? p.k * size : 0};
}

double flops_of(const MatmulProblem& p) {
  return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k) *
         static_cast<double>(p.batch);
}

double flops_of(const ConvolutionProblem& p) {
  return 2.0 * static_cast<double>(p.n * p.k) * static_cast<double>(p.p * p.q) *
         static_cast<double>(p.c / p.groups * p.r * p.s);
}

kernels::DType dtype_of(const MatmulProblem& p) {
  return p.a.dtype;
}
kernels::DType dtype_of(const ConvolutionProblem& p) {
  return p.dtype;
}

}  // namespace

std::string_view activation_name(Activation a) noexcept {
  constexpr std::array<std::string_view, 3> kNames{"none", "relu", "gelu_tanh"};
  return kNames[static_cast<std::size_t>(a)];
}

std::string text(const LibraryProblem& problem) {
  return std::visit([](const auto& p) { return text_of(p); }, problem);
}

std::vector<std::int64_t> operand_bytes(const LibraryProblem& problem) {
  return std::visit([](const auto& p) { return bytes_of(p); }, problem);
}

kernels::Roofline roofline(const LibraryProblem& problem) {
  // Products outside the tensor cores count sixteenfold (kernels/registry.cpp).
  constexpr double kOutsideTensorCores = 16;
  kernels::Roofline r;
  for (const std::int64_t bytes : operand_bytes(problem)) r.bytes += static_cast<double>(bytes);
  r.flops = std::visit(
      [](const auto& p) {
        return flops_of(p) * (kernels::is_half(dtype_of(p)) ? 1 : kOutsideTensorCores);
      },
      problem);
  return r;
}

}  // namespace monograph::cuda
