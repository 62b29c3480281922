// aten.bmm of f32 batches: our own products where matrices are small.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "runtime/host/math/gemm.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

constexpr std::int64_t kMaxProducts = std::int64_t{1} << 20;  // a matrix; libraries win beyond

bool dense(std::int64_t size, std::int64_t stride) {
  return size == 1 || stride == 1;
}

bool accepts(const ir::Node& node) {
  const ir::TensorType* a = tensor_arg(node, 0, "self");
  const ir::TensorType* b = tensor_arg(node, 1, "mat2");
  if (a == nullptr || b == nullptr || !node.has_tensor() || math::gemm_kernels() == nullptr) {
    return false;
  }
  const ir::TensorType& y = node.type();
  if (!is_f32(*a) || !is_f32(*b) || !is_f32(y) || a->rank() != 3 || b->rank() != 3) return false;
  if (a->numel() == 0 || b->numel() == 0 || !y.is_contiguous()) return false;
  if (a->sizes[1] * a->sizes[2] * b->sizes[2] > kMaxProducts) return false;
  const bool b_suits = dense(b->sizes[2], b->strides[2]) || dense(b->sizes[1], b->strides[1]);
  return dense(a->sizes[2], a->strides[2]) && b_suits;
}

class BatchedProduct final : public Step {
 public:
  explicit BatchedProduct(const Call& call)
      : a_(call.tensor(0)), b_(call.tensor(1)), y_(call.results[0]) {
    shape_.m = a_.size(1);
    shape_.k = a_.size(2);
    shape_.n = b_.size(2);
    shape_.ldx = a_.stride(1);
    // Rows of b as they lie in memory; a matrix that is dense both ways is one column or row.
    const bool rows = dense(b_.size(2), b_.stride(2));
    shape_.ldw = rows ? b_.stride(1) : b_.stride(2);
    shape_.ldy = shape_.n;
    kernel_ = rows ? math::gemm_kernels()->nn : math::gemm_kernels()->nt;
  }

  void run() override {
    const float* a = a_.const_data_ptr<float>();
    const float* b = b_.const_data_ptr<float>();
    float* y = y_.mutable_data_ptr<float>();
    constexpr std::int64_t kProductsPerThread = std::int64_t{1} << 17;
    const std::int64_t grain = kProductsPerThread / (shape_.m * shape_.n * shape_.k);
    at::parallel_for(0, a_.size(0), std::max<std::int64_t>(1, grain),
                     [&](std::int64_t first, std::int64_t last) {
                       math::Gemm g = shape_;
                       for (std::int64_t i = first; i < last; ++i) {
                         g.x = a + i * a_.stride(0);
                         g.w = b + i * b_.stride(0);
                         g.y = y + i * g.m * g.n;
                         kernel_(g, 0, g.n);
                       }
                     });
  }

 private:
  at::Tensor a_;
  at::Tensor b_;
  at::Tensor y_;
  math::Gemm shape_;
  math::GemmFn kernel_ = nullptr;
};

const HostOpRegistration kBmm({.target = "aten.bmm.default",
                               .name = "host.bmm",
                               .accepts = accepts,
                               .workspace_bytes = {},
                               .bind = [](const Call& call) -> std::unique_ptr<Step> {
                                 return std::make_unique<BatchedProduct>(call);
                               }});

}  // namespace
}  // namespace monograph::host
