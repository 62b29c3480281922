#include "kernels/fusion/definitions.h"
#include "kernels/fusion/linear.h"

namespace monograph::kernels::fusion {
namespace {

/// Puts together a fusion: inputs first, then steps over them.
class Assembler {
 public:
  explicit Assembler(DType dtype) : dtype_(dtype) { call_.op = "fusion"; }

  std::int32_t input(std::vector<std::int64_t> sizes, bool constant = false) {
    call_.inputs.push_back(dense(dtype_, std::move(sizes)));
    call_.inputs.back().constant = constant;
    const auto v = static_cast<std::int32_t>(call_.inputs.size()) - 1;
    call_.args.push_back(tensor_argument(v));
    return v;
  }
  std::int32_t step(const std::string& op, std::vector<Argument> args, TensorDesc output,
                    std::int32_t alias = -1, std::int64_t offset = 0) {
    body_.steps.push_back({op, std::move(args), {}, std::move(output), alias, offset});
    return static_cast<std::int32_t>(call_.inputs.size() + body_.steps.size()) - 1;
  }
  std::int32_t step(const std::string& op, const std::vector<std::int32_t>& values,
                    std::vector<std::int64_t> sizes) {
    std::vector<Argument> args;
    for (const std::int32_t v : values) args.push_back(tensor_argument(v));
    return step(op, std::move(args), dense(dtype_, std::move(sizes)));
  }
  Call done(const std::vector<std::int32_t>& outputs) {
    for (const std::int32_t v : outputs) {
      call_.outputs.push_back(
          body_.steps[static_cast<std::size_t>(v) - call_.inputs.size()].output);
    }
    body_.outputs = outputs;
    call_.body = std::make_shared<Body>(std::move(body_));
    return std::move(call_);
  }

 private:
  DType dtype_;
  Call call_;
  Body body_;
};

Call plain(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, bool bias) {
  Call c;
  c.op = "aten.linear.default";
  c.inputs = {dense(dtype, {m, k}), dense(dtype, {n, k})};
  c.inputs[1].constant = true;
  c.args = {tensor_argument(0), tensor_argument(1)};
  if (bias) {
    c.inputs.push_back(dense(dtype, {n}));
    c.args.push_back(tensor_argument(2));
  }
  c.outputs = {dense(dtype, {m, n})};
  return c;
}

/// gelu(x W + b) + residual, for sequences of one.
Call activated(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k) {
  Assembler a(dtype);
  const std::int32_t x = a.input({m, 1, k});
  const std::int32_t w = a.input({n, k}, true);
  const std::int32_t b = a.input({n}, true);
  const std::int32_t r = a.input({m, 1, n});
  const std::int32_t y = a.step("aten.linear.default", {x, w, b}, {m, 1, n});
  const std::int32_t g = a.step("aten.gelu.default", {y}, {m, 1, n});
  return a.done({a.step("aten.add.Tensor", {g, r}, {m, 1, n})});
}

/// silu(gate) * up of a packed projection.
Call gated_product(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k, bool norm) {
  Assembler a(dtype);
  std::int32_t x = a.input({1, m, k});
  const std::int32_t w = a.input({2 * n, k}, true);
  const std::int32_t g = norm ? a.input({k}, true) : -1;
  if (norm) {
    x = a.step("aten.rms_norm.default",
               {tensor_argument(x), number_argument(std::vector<std::int64_t>{k}),
                tensor_argument(g), number_argument(1e-5)},
               dense(dtype, {1, m, k}));
  }
  const std::int32_t y = a.step("aten.linear.default", {x, w}, {1, m, 2 * n});
  TensorDesc half = dense(dtype, {1, m, n});
  half.strides = {2 * n * m, 2 * n, 1};
  const std::int32_t gate = a.step("aten.slice.Tensor", {tensor_argument(y)}, half, y, 0);
  const std::int32_t up = a.step("aten.slice.Tensor", {tensor_argument(y)}, half, y, n);
  const std::int32_t s = a.step("aten.silu.default", {gate}, {1, m, n});
  return a.done({a.step("aten.mul.Tensor", {s, up}, {1, m, n})});
}

/// layer_norm before, result as heads.
Call normalised(DType dtype, std::int64_t m, std::int64_t n, std::int64_t k) {
  Assembler a(dtype);
  const std::int32_t x = a.input({m, k});
  const std::int32_t g = a.input({k}, true);
  const std::int32_t b = a.input({k}, true);
  const std::int32_t w = a.input({n, k}, true);
  const std::int32_t z = a.step("aten.layer_norm.default",
                                {tensor_argument(x), number_argument(std::vector<std::int64_t>{k}),
                                 tensor_argument(g), tensor_argument(b), number_argument(1e-6)},
                                dense(dtype, {m, k}));
  const std::int32_t y = a.step("aten.linear.default", {z, w}, {m, n});
  return a.done({a.step("aten.relu.default", {y}, {m, n})});
}

}  // namespace

std::vector<Call> linear_samples(const std::vector<DType>& dtypes,
                                 const std::vector<std::int64_t>& vectors, bool norms) {
  std::vector<Call> calls;
  for (const DType dtype : dtypes) {
    for (const std::int64_t m : vectors) {
      calls.push_back(plain(dtype, m, 33, 264, true));
      calls.push_back(activated(dtype, m, 111, 128));
      calls.push_back(gated_product(dtype, m, 40, 512, false));
      if (!norms) continue;
      calls.push_back(gated_product(dtype, m, 40, 256, true));
      calls.push_back(normalised(dtype, m, 40, 136));
    }
  }
  return calls;
}

std::vector<Call> gemv_samples() {
  std::vector<Call> calls = linear_samples({DType::kF32, DType::kF16, DType::kBF16}, {1, 3}, true);
  calls.push_back(plain(DType::kBF16, 8, 24, 256, true));
  calls.push_back(plain(DType::kF32, 8, 7, 1024, false));
  // Long rows: several warps a row, and for few rows several blocks.
  calls.push_back(plain(DType::kBF16, 1, 96, 8192, false));
  calls.push_back(plain(DType::kF16, 2, 5, 4104, true));
  calls.push_back(plain(DType::kF32, 1, 1, 3000, true));
  return calls;
}

std::vector<Call> block_samples() {
  const DType f16 = DType::kF16;
  const DType bf16 = DType::kBF16;
  std::vector<Call> calls = linear_samples({f16, bf16}, {17, 70}, false);
  // More stages than the ring has, and on few multiprocessors tiles of every size.
  calls.push_back(activated(f16, 50, 90, 1160));
  calls.push_back(plain(bf16, 20, 136, 264, true));
  calls.push_back(activated(bf16, 61, 136, 264));
  calls.push_back(activated(f16, 64, 200, 136));
  calls.push_back(plain(bf16, 50, 264, 392, true));
  // Also of two parts.
  calls.push_back(gated_product(bf16, 17, 136, 136, false));
  calls.push_back(gated_product(f16, 100, 40, 264, false));
  calls.push_back(gated_product(bf16, 100, 72, 136, false));
  calls.push_back(gated_product(f16, 100, 100, 136, false));
  return calls;
}

}  // namespace monograph::kernels::fusion
