// aten.scaled_dot_product_attention for f32 with dense rows: scores of a few query rows at a time
// in the launch's workspace, softmax, product with the values.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/host/math/gemm.h"
#include "runtime/host/math/rows.h"
#include "runtime/host/ops/shapes.h"
#include "runtime/host/step.h"

namespace monograph::host {
namespace {

constexpr std::int64_t kQueryRows = 32;   // rows of scores that a thread holds
constexpr std::int64_t kMostSlots = 256;  // threads that can work at once

std::int64_t slots() {
  return std::min<std::int64_t>(at::get_num_threads(), kMostSlots);
}

bool rows_suit(const ir::TensorType* t) {
  return t != nullptr && is_f32(*t) && t->rank() == 4 && t->numel() > 0 &&
         (t->sizes[3] == 1 || t->strides[3] == 1);
}

bool is_off(const ir::Node& node, std::size_t index, std::string_view name) {
  const ir::Arg* arg = find_arg(node, index, name);
  return arg == nullptr || *arg == ir::Arg(0.0) || *arg == ir::Arg(0) || *arg == ir::Arg(false);
}

/// A mask of f32 that is added: broadcast over batch, heads and queries, dense along keys.
bool mask_suits(const ir::Node& node, const ir::TensorType& q, const ir::TensorType& k) {
  if (is_absent(node, 3, "attn_mask")) return true;
  const ir::TensorType* mask = tensor_arg(node, 3, "attn_mask");
  if (mask == nullptr || !is_f32(*mask) || mask->rank() != 4) return false;
  const std::int64_t full[] = {q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2]};
  for (std::size_t d = 0; d < 3; ++d) {
    if (mask->sizes[d] != 1 && mask->sizes[d] != full[d]) return false;
  }
  return mask->sizes[3] == full[3] && (full[3] == 1 || mask->strides[3] == 1);
}

bool accepts(const ir::Node& node) {
  const ir::TensorType* q = tensor_arg(node, 0, "query");
  const ir::TensorType* k = tensor_arg(node, 1, "key");
  const ir::TensorType* v = tensor_arg(node, 2, "value");
  if (!rows_suit(q) || !rows_suit(k) || !rows_suit(v) || math::gemm_kernels() == nullptr) {
    return false;
  }
  if (!node.has_tensor() || !rows_suit(&node.type())) return false;
  for (std::size_t d = 0; d < 2; ++d) {  // no grouped heads, no broadcasting
    if (q->sizes[d] != k->sizes[d] || q->sizes[d] != v->sizes[d]) return false;
  }
  return is_off(node, 4, "dropout_p") && is_off(node, 5, "is_causal") &&
         is_off(node, 7, "enable_gqa") && mask_suits(node, *q, *k);
}

std::int64_t workspace_bytes(const ir::Node& node) {
  const std::int64_t queries = tensor_arg(node, 0, "query")->sizes[2];
  const std::int64_t keys = tensor_arg(node, 1, "key")->sizes[2];
  return slots() * std::min(queries, kQueryRows) * keys * static_cast<std::int64_t>(sizeof(float));
}

class Attention final : public Step {
 public:
  explicit Attention(const Call& call)
      : q_(call.tensor(0)),
        k_(call.tensor(1)),
        v_(call.tensor(2)),
        out_(call.results[0]),
        scores_(reinterpret_cast<float*>(call.workspace)),
        slots_(slots()),
        blocks_((q_.size(2) + kQueryRows - 1) / kQueryRows),
        score_rows_(std::min(q_.size(2), kQueryRows)) {
    if (call.args[3].isTensor()) mask_ = call.tensor(3);
    scale_ = call.args[6].isNone() ? 1.0F / std::sqrt(static_cast<float>(q_.size(3)))
                                   : static_cast<float>(call.args[6].toScalar().toDouble());
  }

  void run() override {
    const std::int64_t tasks = q_.size(0) * q_.size(1) * blocks_;
    const std::int64_t products = score_rows_ * k_.size(2) * (q_.size(3) + v_.size(3));
    constexpr std::int64_t kProductsPerThread = std::int64_t{1} << 17;
    // No more chunks than slots, whatever the thread count is by now.
    const std::int64_t grain = std::max((tasks + slots_ - 1) / slots_,
                                        std::max<std::int64_t>(1, kProductsPerThread / products));
    at::parallel_for(0, tasks, grain, [&](std::int64_t first, std::int64_t last) {
      float* scores = scores_ + at::get_thread_num() * score_rows_ * k_.size(2);
      for (std::int64_t task = first; task < last; ++task) block(task, scores);
    });
  }

 private:
  static const float* head(const at::Tensor& t, std::int64_t b, std::int64_t h) {
    return t.const_data_ptr<float>() + b * t.stride(0) + h * t.stride(1);
  }

  const float* mask_row(std::int64_t b, std::int64_t h, std::int64_t row) const {
    if (!mask_.defined()) return nullptr;
    const auto step = [&](std::int64_t d, std::int64_t i) {
      return mask_.size(d) == 1 ? 0 : i * mask_.stride(d);
    };
    return mask_.const_data_ptr<float>() + step(0, b) + step(1, h) + step(2, row);
  }

  void block(std::int64_t task, float* scores) {
    const std::int64_t b = task / blocks_ / q_.size(1);
    const std::int64_t h = task / blocks_ % q_.size(1);
    const std::int64_t row = task % blocks_ * kQueryRows;
    const std::int64_t keys = k_.size(2);
    math::Gemm g;
    g.m = std::min(kQueryRows, q_.size(2) - row);
    g.n = keys;
    g.k = q_.size(3);
    g.x = head(q_, b, h) + row * q_.stride(2);
    g.w = head(k_, b, h);
    g.y = scores;
    g.ldx = q_.stride(2);
    g.ldw = k_.stride(2);
    g.ldy = keys;
    math::gemm_kernels()->nt(g, 0, g.n);
    for (std::int64_t i = 0; i < g.m; ++i) {
      float* p = scores + i * keys;
      const float most = math::softmax_row(p, mask_row(b, h, row + i), scale_, keys);
      // A query that may look at no key gets nothing, as in LibTorch.
      if (most == -std::numeric_limits<float>::infinity()) std::fill_n(p, keys, 0.0F);
    }
    math::Gemm product;
    product.m = g.m;
    product.n = v_.size(3);
    product.k = keys;
    product.x = scores;
    product.w = head(v_, b, h);
    product.y = out_.mutable_data_ptr<float>() + b * out_.stride(0) + h * out_.stride(1) +
                row * out_.stride(2);
    product.ldx = keys;
    product.ldw = v_.stride(2);
    product.ldy = out_.stride(2);
    math::gemm_kernels()->nn(product, 0, product.n);
  }

  at::Tensor q_;
  at::Tensor k_;
  at::Tensor v_;
  at::Tensor mask_;
  at::Tensor out_;
  float* scores_;
  std::int64_t slots_;
  std::int64_t blocks_;
  std::int64_t score_rows_;
  float scale_ = 1;
};

const HostOpRegistration kAttention({.target = "aten.scaled_dot_product_attention.default",
                                     .name = "host.attention",
                                     .accepts = accepts,
                                     .workspace_bytes = workspace_bytes,
                                     .bind = [](const Call& call) -> std::unique_ptr<Step> {
                                       return std::make_unique<Attention>(call);
                                     }});

}  // namespace
}  // namespace monograph::host
