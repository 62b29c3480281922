// aten.linear: our own products for few rows of f32, LibTorch's addmm and mm into place otherwise.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "runtime/host/math/gemm.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

// From here on LibTorch's blocked products win (measured up to 128 rows, where both are even).
constexpr std::int64_t kMaxRows = 64;

/// Bias that both kernels take: one dense row as long as the result's.
bool bias_suits(const ir::Node& node, std::int64_t columns) {
  if (is_absent(node, 2, "bias")) return true;
  const ir::TensorType* bias = tensor_arg(node, 2, "bias");
  return bias != nullptr && bias->dtype == node.type().dtype && bias->rank() == 1 &&
         bias->sizes[0] == columns && bias->is_contiguous();
}

bool accepts(const ir::Node& node) {
  const ir::TensorType* x = tensor_arg(node, 0, "input");
  const ir::TensorType* w = tensor_arg(node, 1, "weight");
  if (x == nullptr || w == nullptr || !node.has_tensor() || !node.writes().empty()) return false;
  const ir::TensorType& y = node.type();
  if (x->dtype != w->dtype || x->dtype != y.dtype || !ir::is_floating(y.dtype)) return false;
  if (w->rank() != 2 || w->sizes[1] < 1 || (w->sizes[1] > 1 && w->strides[1] != 1)) return false;
  if (x->rank() < 1 || x->numel() == 0 || y.numel() == 0 || !y.is_contiguous()) return false;
  return as_rows(*x).has_value() && x->sizes.back() == w->sizes[1] && bias_suits(node, w->sizes[0]);
}

at::Tensor matrix(const at::Tensor& t, const ir::TensorType& type) {
  const Rows rows = *as_rows(type);
  return t.as_strided({rows.count, rows.length}, {rows.stride, 1});
}

class SmallLinear final : public Step {
 public:
  SmallLinear(const Call& call, math::Gemm shape)
      : x_(call.tensor(0)), w_(call.tensor(1)), y_(call.results[0]), shape_(shape) {
    if (call.args[2].isTensor()) bias_ = call.tensor(2);
    // Below this many products a thread costs more to wake than it saves.
    constexpr std::int64_t kProductsPerThread = std::int64_t{1} << 19;
    grain_ = std::max<std::int64_t>(1, kProductsPerThread / (shape.m * shape.k * kPanel));
  }

  void run() override {
    math::Gemm g = shape_;
    g.x = x_.const_data_ptr<float>();
    g.w = w_.const_data_ptr<float>();
    g.bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
    g.y = y_.mutable_data_ptr<float>();
    const math::GemmFn columns = math::gemm_kernels()->nt;
    at::parallel_for(0, (g.n + kPanel - 1) / kPanel, grain_,
                     [&](std::int64_t first, std::int64_t last) {
                       columns(g, first * kPanel, std::min(last * kPanel, g.n));
                     });
  }

 private:
  static constexpr std::int64_t kPanel = 16;
  at::Tensor x_;
  at::Tensor w_;
  at::Tensor bias_;
  at::Tensor y_;
  math::Gemm shape_;
  std::int64_t grain_ = 1;
};

std::unique_ptr<Step> bind(const Call& call) {
  const ir::TensorType& x = *tensor_arg(call.node, 0, "input");
  const ir::TensorType& w = *tensor_arg(call.node, 1, "weight");
  const Rows rows = *as_rows(x);
  if (x.dtype == ir::DType::kF32 && rows.count <= kMaxRows && math::gemm_kernels() != nullptr) {
    math::Gemm g;
    g.m = rows.count;
    g.n = w.sizes[0];
    g.k = rows.length;
    g.ldx = rows.stride;
    g.ldw = w.strides[0];
    g.ldy = g.n;
    return std::make_unique<SmallLinear>(call, g);
  }
  const at::Tensor wt = call.tensor(1).t();
  const at::Tensor x2 = matrix(call.tensor(0), x);
  at::Tensor y2 = matrix(call.results[0], call.node.type());
  if (!call.args[2].isTensor()) {
    return make_step([=]() mutable { at::mm_out(y2, x2, wt); });
  }
  return make_step([=, bias = call.tensor(2)]() mutable { at::addmm_out(y2, bias, x2, wt); });
}

const HostOpRegistration kLinear({.target = "aten.linear.default",
                                  .name = "host.linear",
                                  .accepts = accepts,
                                  .workspace_bytes = {},
                                  .bind = bind});

}  // namespace
}  // namespace monograph::host
