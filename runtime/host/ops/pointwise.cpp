// Arithmetic on dense f32 tensors of one shape, or with a number: one pass, no iterator.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

constexpr std::int64_t kElementsPerThread = std::int64_t{1} << 15;

bool dense_result(const ir::Node& node) {
  return node.has_tensor() && node.type().defined() && is_f32(node.type()) &&
         node.type().is_contiguous();
}

bool dense_operand(const ir::Node& node, std::size_t index, std::string_view name) {
  const ir::TensorType* t = tensor_arg(node, index, name);
  return t != nullptr && is_f32(*t) && t->is_contiguous() && t->sizes == node.type().sizes;
}

/// A real number as the arithmetic sees it: rounded to the type of the result.
std::optional<float> number(const ir::Arg* arg) {
  if (arg == nullptr) return std::nullopt;
  if (const auto* v = arg->get_if<double>()) return static_cast<float>(*v);
  if (const auto* v = arg->get_if<std::int64_t>()) return static_cast<float>(*v);
  return std::nullopt;
}

/// Factor of the second operand; 1 if the operator has none.
std::optional<float> alpha_of(const ir::Node& node) {
  const ir::Arg* alpha = find_arg(node, 2, "alpha");
  return alpha == nullptr ? 1.0F : number(alpha);
}

bool accepts_binary(const ir::Node& node) {
  return dense_result(node) && dense_operand(node, 0, "self") && alpha_of(node).has_value() &&
         (number(find_arg(node, 1, "other")) || dense_operand(node, 1, "other"));
}

bool accepts_unary(const ir::Node& node) {
  return dense_result(node) && dense_operand(node, 0, "self");
}

/// fn(i) for every i < count. Blocks are the same for any number of threads, so vectorised bodies
/// and their remainders are too.
template <class Fn>
void over(std::int64_t count, Fn fn) {
  constexpr std::int64_t kBlock = 4096;
  at::parallel_for(0, (count + kBlock - 1) / kBlock, kElementsPerThread / kBlock,
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t b = first; b < last; ++b) {
                       const std::int64_t end = std::min(count, (b + 1) * kBlock);
#pragma omp simd
                       for (std::int64_t i = b * kBlock; i < end; ++i) fn(i);
                     }
                   });
}

/// y = f(x, other, alpha), where other is a tensor or a number.
template <class Fn>
std::unique_ptr<Step> bind_binary(const Call& call, Fn f) {
  const float alpha = *alpha_of(call.node);
  const at::Tensor x = call.tensor(0);
  at::Tensor y = call.results[0];
  const std::int64_t count = y.numel();
  if (const auto value = number(find_arg(call.node, 1, "other"))) {
    return make_step([=, v = *value]() mutable {
      const float* a = x.const_data_ptr<float>();
      float* to = y.mutable_data_ptr<float>();
      over(count, [=](std::int64_t i) { to[i] = f(a[i], v, alpha); });
    });
  }
  return make_step([=, other = call.tensor(1)]() mutable {
    const float* a = x.const_data_ptr<float>();
    const float* b = other.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    over(count, [=](std::int64_t i) { to[i] = f(a[i], b[i], alpha); });
  });
}

template <class Fn>
HostOp binary(std::string target, Fn f) {
  return {.target = std::move(target),
          .name = "host.pointwise",
          .accepts = accepts_binary,
          .workspace_bytes = {},
          .bind = [f](const Call& call) { return bind_binary(call, f); }};
}

template <class Fn>
HostOp unary(std::string target, Fn f) {
  return {.target = std::move(target),
          .name = "host.pointwise",
          .accepts = accepts_unary,
          .workspace_bytes = {},
          .bind = [f](const Call& call) -> std::unique_ptr<Step> {
            return make_step([=, x = call.tensor(0), y = call.results[0],
                              count = call.results[0].numel()]() mutable {
              const float* a = x.const_data_ptr<float>();
              float* to = y.mutable_data_ptr<float>();
              over(count, [=](std::int64_t i) { to[i] = f(a[i]); });
            });
          }};
}

constexpr auto kSum = [](float a, float b, float alpha) { return a + alpha * b; };
constexpr auto kDifference = [](float a, float b, float alpha) { return a - alpha * b; };
constexpr auto kProduct = [](float a, float b, float) { return a * b; };
constexpr auto kQuotient = [](float a, float b, float) { return a / b; };
constexpr auto kPositive = [](float a) { return a < 0 ? 0.0F : a; };  // NaN stays

const HostOpRegistration kAdd(binary("aten.add.Tensor", kSum));
const HostOpRegistration kAddInPlace(binary("aten.add_.Tensor", kSum));
const HostOpRegistration kSub(binary("aten.sub.Tensor", kDifference));
const HostOpRegistration kSubInPlace(binary("aten.sub_.Tensor", kDifference));
const HostOpRegistration kMul(binary("aten.mul.Tensor", kProduct));
const HostOpRegistration kMulInPlace(binary("aten.mul_.Tensor", kProduct));
const HostOpRegistration kDiv(binary("aten.div.Tensor", kQuotient));
const HostOpRegistration kDivInPlace(binary("aten.div_.Tensor", kQuotient));
const HostOpRegistration kRelu(unary("aten.relu.default", kPositive));
const HostOpRegistration kReluInPlace(unary("aten.relu_.default", kPositive));

}  // namespace
}  // namespace monograph::host
