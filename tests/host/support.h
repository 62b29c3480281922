// Helpers for tests of the host back end: trace, build, poison, compare.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <monograph/executable.h>
#include <monograph/program.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/exec/executable_impl.h"
#include "runtime/host/runner.h"

namespace monograph::test {

using Tensors = std::vector<at::Tensor>;
using Forward = std::function<Tensors(const Tensors&)>;

inline Program trace_program(const Forward& forward, const Tensors& inputs,
                             std::vector<NamedTensor> tensors = {}) {
  Module module;
  module.forward = forward;
  module.tensors = std::move(tensors);
  auto traced = Program::trace(module, inputs);
  if (auto* rejection = std::get_if<Rejection>(&traced)) throw RejectedError(*rejection);
  return std::get<Program>(std::move(traced));
}

inline Executable build_host(const Program& program) {
  Options options;
  options.backend = "host";
  return Executable::build(program, options);
}

/// Fills the arena with NaN: a replay must not read what an earlier one left.
inline void poison(Executable& executable) {
  dynamic_cast<host::HostRunner&>(executable.impl().runner()).memory().poison();
}

/// A tensor like `t` whose every byte is 0x7F: large but no NaN in f32; surely no result.
inline at::Tensor garbage_like(const at::Tensor& t) {
  at::Tensor out = at::empty_strided(t.sizes(), t.strides(), t.options());
  if (out.numel() > 0) std::memset(out.mutable_data_ptr(), 0x7F, out.nbytes());
  return out;
}

inline bool has_nan(const at::Tensor& t) {
  return (t.is_floating_point() || t.is_complex()) && t.numel() > 0 &&
         at::isnan(t).any().item<bool>();
}

/// Equal dtype and sizes, no NaN on either side, |got - want| <= tolerance * max(1, |want|).
inline void expect_close(const at::Tensor& got, const at::Tensor& want, double tolerance,
                         const std::string& what) {
  ASSERT_TRUE(got.defined() && want.defined()) << what;
  ASSERT_EQ(got.scalar_type(), want.scalar_type()) << what;
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  ASSERT_FALSE(has_nan(want)) << what << ": the expected values hold NaN";
  ASSERT_FALSE(has_nan(got)) << what << ": NaN in the result";
  if (got.numel() == 0) return;
  if (got.is_complex()) {
    return expect_close(at::view_as_real(got), at::view_as_real(want), tolerance, what);
  }
  const at::Tensor a = got.to(at::kDouble);
  const at::Tensor b = want.to(at::kDouble);
  // Equal infinities have an undefined difference.
  const at::Tensor difference = at::where(a.eq(b), at::zeros_like(a), a.sub(b).abs());
  const at::Tensor limit = b.abs().clamp_min(1).mul(tolerance);
  EXPECT_TRUE(difference.le(limit).all().item<bool>())
      << what << ": largest difference " << difference.max().item<double>();
}

inline void expect_identical(const Tensors& got, const Tensors& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].sizes(), want[i].sizes()) << what;
    ASSERT_TRUE(got[i].is_contiguous() && want[i].is_contiguous()) << what;
    EXPECT_EQ(0, std::memcmp(got[i].const_data_ptr(), want[i].const_data_ptr(), got[i].nbytes()))
        << what << ": output " << i << " differs";
  }
}

inline Tensors eager(const Forward& forward, const Tensors& inputs) {
  const c10::InferenceMode mode;
  return forward(inputs);
}

}  // namespace monograph::test
