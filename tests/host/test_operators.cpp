// Every kind of operator through trace, plan and host replay, against eager LibTorch on fresh
// random inputs, with the arena poisoned before each replay.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/host/support.h"

namespace monograph::test {
namespace {

using Inputs = std::function<Tensors()>;

struct Case {
  std::string name;
  Inputs inputs;
  Forward forward;
  double tolerance = 1e-5;
};

Inputs randn(std::vector<std::vector<std::int64_t>> shapes, at::ScalarType dtype = at::kFloat) {
  return [=] {
    Tensors out;
    for (const auto& shape : shapes) out.push_back(at::randn(shape).to(dtype));
    return out;
  };
}

/// Strictly between 0.1 and 1.1, for logarithms and roots.
Inputs positive(std::vector<std::vector<std::int64_t>> shapes) {
  return [=] {
    Tensors out;
    for (const auto& shape : shapes) out.push_back(at::rand(shape).add(0.1));
    return out;
  };
}

Inputs integers(std::int64_t low, std::int64_t high,
                std::vector<std::vector<std::int64_t>> shapes) {
  return [=] {
    Tensors out;
    for (const auto& shape : shapes) out.push_back(at::randint(low, high, shape, at::kLong));
    return out;
  };
}

template <class Fn>
Forward unary(Fn fn) {
  return [fn](const Tensors& in) -> Tensors { return {fn(in[0])}; };
}
template <class Fn>
Forward binary(Fn fn) {
  return [fn](const Tensors& in) -> Tensors { return {fn(in[0], in[1])}; };
}

Tensors flat(const std::tuple<at::Tensor, at::Tensor>& t) {
  return {std::get<0>(t), std::get<1>(t)};
}

std::vector<Case> pointwise_cases() {
  const auto two = randn({{3, 5}, {3, 5}});
  const auto one = randn({{4, 33}});
  return {
      {"add", two, binary([](auto& a, auto& b) { return a.add(b); })},
      {"add_alpha", two, binary([](auto& a, auto& b) { return a.add(b, 0.5); })},
      {"add_broadcast", randn({{3, 1, 5}, {4, 1}}), binary([](auto& a, auto& b) { return a + b; })},
      {"sub", two, binary([](auto& a, auto& b) { return a - b; })},
      {"mul", two, binary([](auto& a, auto& b) { return a * b; })},
      {"div", positive({{3, 5}, {3, 5}}), binary([](auto& a, auto& b) { return a / b; })},
      {"scalars", one, unary([](auto& a) { return (a * 2.5 + 1).sub(0.25).div(3); })},
      {"rsub", one, unary([](auto& a) { return at::rsub(a, 1.5); })},
      {"pow", positive({{7}}), unary([](auto& a) { return a.pow(2.5).pow(2); })},
      {"maximum", two, binary([](auto& a, auto& b) { return at::maximum(a, b); })},
      {"where", two, binary([](auto& a, auto& b) { return at::where(a.gt(b), a, b * 2); })},
      {"compare", two, binary([](auto& a, auto& b) { return a.lt(b).logical_or(a.eq(b)); })},
      {"lerp", two, binary([](auto& a, auto& b) { return at::lerp(a, b, 0.3); })},
      {"addcmul", two, binary([](auto& a, auto& b) { return at::addcmul(a, a, b, 0.5); })},
      {"atan2", two, binary([](auto& a, auto& b) { return at::atan2(a, b); })},
      {"relu", one, unary([](auto& a) { return at::relu(a); })},
      {"gelu", one, unary([](auto& a) { return at::gelu(a); })},
      {"gelu_tanh", one, unary([](auto& a) { return at::gelu(a, "tanh"); })},
      {"silu", one, unary([](auto& a) { return at::silu(a); })},
      {"sigmoid", one, unary([](auto& a) { return at::sigmoid(a); })},
      {"tanh_exp", one, unary([](auto& a) { return at::exp(at::tanh(a)); })},
      {"log_sqrt", positive({{4, 9}}), unary([](auto& a) { return at::log(a) + at::rsqrt(a); })},
      {"erf_abs_neg", one, unary([](auto& a) { return at::erf(a).abs().neg(); })},
      {"clamp", one, unary([](auto& a) { return at::clamp(a, -0.5, 0.5); })},
      {"leaky_elu", one, unary([](auto& a) { return at::elu(at::leaky_relu(a, 0.2)); })},
      {"softplus_mish", one, unary([](auto& a) { return at::mish(at::softplus(a)); })},
      {"floor_round", one, unary([](auto& a) { return at::floor(a * 3) + at::round(a * 2); })},
      {"hard", one, unary([](auto& a) { return at::hardswish(at::hardtanh(a)); })},
      {"glu", randn({{3, 8}}), unary([](auto& a) { return at::glu(a, -1); })},
  };
}

std::vector<Case> reduction_cases() {
  const auto x = randn({{3, 4, 5}});
  return {
      {"sum", x, unary([](auto& a) { return a.sum(); })},
      {"mean_all", x, unary([](auto& a) { return a.mean(); })},
      {"sum_dim", x, unary([](auto& a) { return a.sum(at::IntArrayRef{1}, true); })},
      {"mean", x, unary([](auto& a) {
         return a.mean(at::IntArrayRef{0, 2});
       })},
      {"amax", x, unary([](auto& a) { return a.amax({1}) - a.amin({1}); })},
      {"max_dim", x, [](const Tensors& in) { return flat(in[0].max(1)); }},
      {"argmax", x, unary([](auto& a) { return a.argmax(-1); })},
      {"var", x, unary([](auto& a) { return a.var(at::IntArrayRef{-1}, false); })},
      {"std_all", x, unary([](auto& a) { return a.std(); })},
      {"var_mean", x,
       [](const Tensors& in) { return flat(at::var_mean(in[0], at::IntArrayRef{1})); }},
      {"norm", x, unary([](auto& a) { return at::norm(a, 2, at::IntArrayRef{-1}); })},
      {"cumsum", x, unary([](auto& a) { return a.cumsum(1); })},
      {"prod", x, unary([](auto& a) { return a.prod(-1); })},
      {"any_all", x, unary([](auto& a) { return a.gt(0).any(-1).logical_and(a.lt(3).all(-1)); })},
      {"logsumexp", x, unary([](auto& a) { return a.logsumexp(at::IntArrayRef{-1}); })},
      {"topk", x, [](const Tensors& in) { return flat(in[0].topk(2, -1)); }},
      {"sort", x, [](const Tensors& in) { return flat(in[0].sort(-1)); }},
      {"softmax", x, unary([](auto& a) { return at::softmax(a, -1); })},
      {"softmax_inner", x, unary([](auto& a) { return at::softmax(a, 1); })},
      {"log_softmax", x, unary([](auto& a) { return at::log_softmax(a, -1); })},
  };
}

std::vector<Case> matrix_cases() {
  return {
      {"mm", randn({{3, 4}, {4, 5}}), binary([](auto& a, auto& b) { return a.mm(b); })},
      {"mm_transposed", randn({{4, 3}, {5, 4}}),
       binary([](auto& a, auto& b) { return a.t().mm(b.t()); })},
      {"bmm", randn({{2, 3, 4}, {2, 4, 5}}), binary([](auto& a, auto& b) { return a.bmm(b); })},
      {"addmm", randn({{5}, {3, 4}, {4, 5}}),
       [](const Tensors& in) -> Tensors { return {at::addmm(in[0], in[1], in[2], 0.5, 2)}; }},
      {"bmm_transposed", randn({{3, 5, 4}, {3, 6, 4}}),
       binary([](auto& a, auto& b) { return a.bmm(b.transpose(1, 2)); })},
      {"bmm_both_strided", randn({{3, 4, 5}, {3, 6, 4}}),
       binary([](auto& a, auto& b) { return a.transpose(1, 2).bmm(b.transpose(1, 2)); })},
      {"bmm_thin", randn({{3, 1, 7}, {3, 7, 1}}),
       binary([](auto& a, auto& b) { return a.bmm(b); })},
      {"baddbmm", randn({{2, 3, 5}, {2, 3, 4}, {2, 4, 5}}),
       [](const Tensors& in) -> Tensors { return {at::baddbmm(in[0], in[1], in[2])}; }},
      {"matmul_3d", randn({{2, 3, 4}, {4, 5}}),
       binary([](auto& a, auto& b) { return at::matmul(a, b); })},
      {"matmul_4d", randn({{2, 2, 3, 4}, {2, 2, 4, 5}}),
       binary([](auto& a, auto& b) { return at::matmul(a, b); })},
      {"matmul_vector", randn({{3, 4}, {4}}),
       binary([](auto& a, auto& b) { return at::matmul(a, b); })},
      {"einsum", randn({{2, 3, 4}, {4, 5}}), binary([](auto& a, auto& b) {
         return at::einsum("bsd,de->bse", {a, b});
       })},
      {"outer_dot", randn({{4}, {4}}),
       binary([](auto& a, auto& b) { return at::outer(a, b) + at::dot(a, b); })},
      {"linear", randn({{3, 17}, {9, 17}, {9}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
      {"linear_no_bias", randn({{2, 3, 16}, {33, 16}}),
       binary([](auto& a, auto& b) { return at::linear(a, b); })},
      {"linear_vector", randn({{31}, {7, 31}, {7}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
      {"linear_many_rows", randn({{5, 29, 40}, {24, 40}, {24}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
      {"linear_strided_rows", randn({{6, 2, 20}, {13, 20}, {13}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0].select(1, 1), in[1], in[2])}; }},
      {"linear_transposed_input", randn({{20, 6}, {13, 20}, {13}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0].t(), in[1], in[2])}; }},
      {"linear_wide", randn({{4, 1030}, {515, 1030}, {515}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }, 1e-4},
      {"mm_add_bias", randn({{3, 4}, {5, 4}, {5}}),
       [](const Tensors& in) -> Tensors { return {in[0].mm(in[1].t()).add_(in[2])}; }},
  };
}

std::vector<Case> layer_cases() {
  const auto norm = randn({{2, 3, 24}, {24}, {24}});
  return {
      {"layer_norm", norm,
       [](const Tensors& in) -> Tensors { return {at::layer_norm(in[0], {24}, in[1], in[2])}; }},
      {"layer_norm_plain", norm,
       [](const Tensors& in) -> Tensors {
         return {at::layer_norm(in[0], {3, 24})};
       }},
      {"layer_norm_strided", randn({{24, 6}, {24}, {24}}),
       [](const Tensors& in) -> Tensors {
         return {at::layer_norm(in[0].t(), {24}, in[1], in[2])};
       }},
      {"native_layer_norm", norm,
       [](const Tensors& in) -> Tensors {
         auto [y, mean, rstd] = at::native_layer_norm(in[0], {24}, in[1], in[2], 1e-5);
         return {y, mean, rstd};
       }},
      {"rms_norm", norm,
       [](const Tensors& in) -> Tensors { return {at::rms_norm(in[0], {24}, in[1], 1e-6)}; }},
      {"group_norm", randn({{2, 6, 5}, {6}, {6}}),
       [](const Tensors& in) -> Tensors { return {at::group_norm(in[0], 3, in[1], in[2])}; }},
      {"batch_norm", positive({{2, 4, 3}, {4}, {4}, {4}, {4}}),
       [](const Tensors& in) -> Tensors {
         return {at::batch_norm(in[0], in[1], in[2], in[3], in[4], false, 0.1, 1e-5, false)};
       }},
      {"conv1d", randn({{2, 3, 9}, {4, 3, 3}, {4}}),
       [](const Tensors& in) -> Tensors { return {at::conv1d(in[0], in[1], in[2], 1, 1)}; }},
      {"conv2d", randn({{1, 3, 8, 8}, {5, 3, 3, 3}, {5}}),
       [](const Tensors& in) -> Tensors { return {at::conv2d(in[0], in[1], in[2], 2, 1)}; }},
      {"pool", randn({{1, 3, 8, 8}}),
       unary([](auto& a) { return at::max_pool2d(a, 2) + at::avg_pool2d(a, 2); })},
      {"adaptive_pool", randn({{1, 3, 8, 8}}), unary([](auto& a) {
         return at::adaptive_avg_pool2d(a, {1, 1});
       })},
      {"upsample", randn({{1, 2, 4, 4}}), unary([](auto& a) {
         return at::upsample_nearest2d(a, {8, 8});
       })},
      {"pad", randn({{2, 3}}), unary([](auto& a) {
         return at::constant_pad_nd(a, {1, 2}, 0.5);
       })},
      {"attention", randn({{2, 4, 7, 8}, {2, 4, 9, 8}, {2, 4, 9, 8}}),
       [](const Tensors& in) -> Tensors {
         return {at::scaled_dot_product_attention(in[0], in[1], in[2])};
       }},
      {"attention_causal", randn({{1, 2, 6, 8}, {1, 2, 6, 8}, {1, 2, 6, 8}}),
       [](const Tensors& in) -> Tensors {
         return {at::scaled_dot_product_attention(in[0], in[1], in[2], {}, 0.0, true)};
       }},
      {"attention_masked", randn({{2, 2, 5, 8}, {2, 2, 6, 8}, {2, 2, 6, 8}, {2, 1, 1, 6}}),
       [](const Tensors& in) -> Tensors {
         return {at::scaled_dot_product_attention(in[0], in[1], in[2], in[3])};
       }},
      {"attention_fully_masked",
       [] {
         at::Tensor mask = at::zeros({1, 1, 5, 6});
         mask.select(2, 3).fill_(-INFINITY);
         mask.select(3, 1).fill_(-INFINITY);
         return Tensors{at::randn({1, 2, 5, 8}), at::randn({1, 2, 6, 8}), at::randn({1, 2, 6, 8}),
                        mask};
       },
       [](const Tensors& in) -> Tensors {
         return {at::scaled_dot_product_attention(in[0], in[1], in[2], in[3], 0.0, false, 0.3)};
       }},
      {"attention_long", randn({{1, 3, 70, 24}, {1, 3, 45, 24}, {1, 3, 45, 40}}),
       [](const Tensors& in) -> Tensors {
         return {at::scaled_dot_product_attention(in[0], in[1], in[2])};
       }},
      {"attention_packed", randn({{2, 7, 3 * 16}}), unary([](auto& a) {
         const auto qkv = a.view({2, 7, 3, 4, 4}).permute({2, 0, 3, 1, 4});
         const auto out = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]);
         return out.transpose(1, 2).reshape({2, 7, 16});
       })},
      {"embedding",
       [] {
         return Tensors{at::randn({11, 6}), at::randint(0, 11, {2, 5}, at::kLong)};
       },
       [](const Tensors& in) -> Tensors { return {at::embedding(in[0], in[1])}; }},
      {"dropout_eval", randn({{3, 4}}),
       unary([](auto& a) { return at::dropout(a * 2, 0.5, false); })},
  };
}

std::vector<Case> shape_cases() {
  const auto x = randn({{4, 6}});
  const auto two = randn({{4, 6}, {4, 6}});
  return {
      {"cat", two, binary([](auto& a, auto& b) {
         return at::cat({a, b, a}, 1);
       })},
      {"stack", two, binary([](auto& a, auto& b) {
         return at::stack({a, b}, 1);
       })},
      {"split", x,
       [](const Tensors& in) -> Tensors {
         const auto parts = in[0].split(2, 1);
         return {parts[0] * parts[2], parts[1]};
       }},
      {"chunk_unbind", x,
       [](const Tensors& in) -> Tensors {
         const auto parts = in[0].chunk(2, 0);
         const auto rows = parts[1].unbind(0);
         return {rows[0] - rows[1], parts[0]};
       }},
      {"transpose_copy", x, unary([](auto& a) { return a.t().contiguous() + 1; })},
      {"transposed_output", x, unary([](auto& a) { return (a * 2).t(); })},
      {"preserved_strides", x, unary([](auto& a) { return at::relu(a.t()).t() + a; })},
      {"reshape_copy", randn({{2, 3, 4}}), unary([](auto& a) {
         return a.transpose(1, 2).reshape({2, 12});
       })},
      {"permute", randn({{2, 3, 4}}), unary([](auto& a) {
         return a.permute({2, 0, 1}).exp();
       })},
      {"slice_select", x,
       unary([](auto& a) { return a.slice(1, 1, 6, 2) + a.select(1, 0).unsqueeze(1); })},
      {"expand", randn({{4, 1}}), unary([](auto& a) {
         return a.expand({4, 5}).clone();
       })},
      {"repeat_flip_roll", x, unary([](auto& a) {
         return a.repeat({2, 1}).flip({1}).roll({1}, {0});
       })},
      {"tril_triu", x, unary([](auto& a) { return a.tril() - a.triu(1); })},
      {"masked_fill", x, unary([](auto& a) { return a.masked_fill(a.gt(0), -1.5); })},
      {"gather",
       [] {
         return Tensors{at::randn({3, 5}), at::randint(0, 5, {3, 2}, at::kLong)};
       },
       binary([](auto& a, auto& i) { return a.gather(1, i); })},
      {"scatter",
       [] {
         return Tensors{at::randn({3, 5}), at::randint(0, 5, {3, 1}, at::kLong), at::randn({3, 1})};
       },
       [](const Tensors& in) -> Tensors { return {in[0].scatter(1, in[1], in[2])}; }},
      {"index_select",
       [] {
         return Tensors{at::randn({7, 3}), at::randint(0, 7, {4}, at::kLong)};
       },
       binary([](auto& a, auto& i) { return a.index_select(0, i); })},
      {"index",
       [] {
         return Tensors{at::randn({7, 3}), at::randint(0, 7, {4}, at::kLong)};
       },
       binary([](auto& a, auto& i) { return a.index({i}); })},
      {"factories", x, unary([](auto& a) {
         return a + at::arange(6, a.options()) + at::zeros({4, 6}, a.options()) + at::ones_like(a) +
                at::full({1}, 2.5, a.options());
       })},
      {"to_dtype", x, unary([](auto& a) { return a.to(at::kDouble).mul(3).to(at::kInt); })},
      {"pixel_shuffle", randn({{1, 8, 2, 2}}),
       unary([](auto& a) { return at::pixel_shuffle(a, 2); })},
      {"unfold", randn({{1, 2, 5, 5}}), unary([](auto& a) {
         return at::im2col(a, {3, 3}, {1, 1}, {0, 0}, {1, 1});
       })},
  };
}

std::vector<Case> memory_cases() {
  const auto x = randn({{4, 6}});
  return {
      {"in_place", x, unary([](auto& a) { return (a + 1).relu_().mul_(2).sub_(a); })},
      {"in_place_through_view", x, unary([](auto& a) {
         auto y = a * 1.5;
         y.select(1, 2).mul_(10);
         y.slice(0, 1, 3).add_(7);
         y.t().select(0, 1).zero_();
         return y;
       })},
      {"fill_copy", x, unary([](auto& a) {
         auto y = at::empty({4, 6}, a.options());
         y.fill_(3);
         y.slice(1, 0, 3).copy_(a.slice(1, 3, 6));
         return y;
       })},
      {"index_put_", x, unary([](auto& a) {
         auto y = a.clone();
         y.index_put_({at::arange(2, at::kLong)}, a.slice(0, 2, 4));
         return y + a;
       })},
      {"write_then_read_view", x, unary([](auto& a) {
         auto y = a * 2;
         auto view = y.view({6, 4});
         y.add_(1);
         return view.sum(0);
       })},
      {"out_argument", x, unary([](auto& a) {
         auto y = at::empty_like(a);
         at::exp_out(y, a);
         return y + a;
       })},
      {"same_output_twice", x,
       [](const Tensors& in) -> Tensors {
         auto y = in[0] * 2;
         return {y, y};
       }},
      {"input_as_output", x,
       [](const Tensors& in) -> Tensors {
         return {in[0], in[0] + 1};
       }},
      {"views_as_outputs", x,
       [](const Tensors& in) -> Tensors {
         auto y = in[0] * 2;
         return {y.select(0, 1), y.t(), y};
       }},
      {"unused_input", randn({{3}, {2}}), unary([](auto& a) { return a * 3; })},
      {"long_chain", x, unary([](auto& a) {
         at::Tensor y = a;
         for (int i = 0; i < 40; ++i) y = at::tanh(y * 1.01 + 0.01);
         return y;
       })},
  };
}

std::vector<Case> dtype_cases() {
  const auto twice = [](at::ScalarType dtype) { return randn({{3, 16}, {3, 16}}, dtype); };
  const auto mixed = binary([](auto& a, auto& b) { return at::relu(a * b + a); });
  const auto dense = [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; };
  const std::vector<std::vector<std::int64_t>> linear = {{3, 16}, {8, 16}, {8}};
  return {
      {"f16", twice(at::kHalf), mixed},
      {"bf16", twice(at::kBFloat16), mixed},
      {"f64", twice(at::kDouble), mixed},
      {"f16_linear", randn(linear, at::kHalf), dense, 2e-3},
      {"bf16_linear", randn(linear, at::kBFloat16), dense, 1e-2},
      {"f64_linear", randn(linear, at::kDouble), dense},
      {"bf16_norm", randn({{3, 16}, {16}, {16}}, at::kBFloat16),
       [](const Tensors& in) -> Tensors { return {at::layer_norm(in[0], {16}, in[1], in[2])}; }},
      {"i64", integers(-50, 50, {{3, 5}, {3, 5}}),
       binary([](auto& a, auto& b) { return a * b - a; })},
      {"i64_sum", integers(-50, 50, {{3, 5}}), unary([](auto& a) { return a.sum(1); })},
      {"i32", [] { return Tensors{at::randint(1, 9, {5}, at::kInt)}; },
       unary([](auto& a) { return at::floor_divide(a * 7, 3).remainder(4); })},
      {"bool", randn({{3, 5}, {3, 5}}),
       binary([](auto& a, auto& b) { return a.gt(0).logical_and(b.gt(0)).logical_not(); })},
      {"u8", [] { return Tensors{at::randint(0, 255, {9}, at::kByte)}; },
       unary([](auto& a) { return a.bitwise_xor(85).to(at::kFloat).div(255); })},
      {"complex", randn({{4, 2}}), unary([](auto& a) {
         const auto z = at::view_as_complex(a.contiguous());
         return at::view_as_real(z * z + 1);
       })},
  };
}

std::vector<Case> empty_cases() {
  return {
      {"empty_pointwise", randn({{0, 4}}), unary([](auto& a) { return at::relu(a * 2) + 1; })},
      {"empty_sum", randn({{0, 4}}), unary([](auto& a) { return a.sum(0); })},
      {"empty_cat", randn({{0, 4}, {3, 4}}), binary([](auto& a, auto& b) {
         return at::cat({a, b});
       })},
      {"empty_linear", randn({{0, 4}, {5, 4}, {5}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
      {"empty_inner", randn({{3, 0}, {5, 0}, {5}}),
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
      {"empty_matmul", randn({{3, 0}, {0, 2}}), binary([](auto& a, auto& b) { return a.mm(b); })},
      {"empty_softmax", randn({{0, 7}}), unary([](auto& a) { return at::softmax(a, -1); })},
      {"empty_norm", randn({{0, 8}, {8}, {8}}),
       [](const Tensors& in) -> Tensors { return {at::layer_norm(in[0], {8}, in[1], in[2])}; }},
      {"scalar", randn({{}}), unary([](auto& a) { return a * 2 + 1; })},
  };
}

std::vector<Case> strided_input_cases() {
  const auto sum = unary([](auto& a) { return at::relu(a) + a.sum(); });
  return {
      {"transposed_input",
       [] {
         return Tensors{at::randn({5, 3}).t()};
       },
       sum},
      {"sliced_input",
       [] {
         return Tensors{at::randn({6, 8}).slice(1, 2, 7).slice(0, 1, 6, 2)};
       },
       sum},
      {"offset_input",
       [] {
         return Tensors{at::randn({4, 6}).select(0, 3)};
       },
       sum},
      {"expanded_input",
       [] {
         return Tensors{at::randn({1, 6}).expand({4, 6})};
       },
       sum},
      {"channels_last_input",
       [] {
         return Tensors{at::randn({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast)};
       },
       unary([](auto& a) { return at::relu(a * 2).sum(at::IntArrayRef{1}); })},
      {"strided_linear",
       [] {
         return Tensors{at::randn({4, 3, 32}).select(1, 1), at::randn({8, 32}), at::randn({8})};
       },
       [](const Tensors& in) -> Tensors { return {at::linear(in[0], in[1], in[2])}; }},
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (auto group : {pointwise_cases, reduction_cases, matrix_cases, layer_cases, shape_cases,
                     memory_cases, dtype_cases, empty_cases, strided_input_cases}) {
    for (Case& c : group()) all.push_back(std::move(c));
  }
  return all;
}

class Operators : public testing::TestWithParam<Case> {};

TEST_P(Operators, ReplayEqualsEager) {
  const Case& c = GetParam();
  at::manual_seed(7);
  const Program program = trace_program(c.forward, c.inputs());
  Executable executable = build_host(program);
  for (int round = 0; round < 3; ++round) {
    const Tensors inputs = c.inputs();
    const Tensors before = [&] {
      Tensors copies;
      for (const at::Tensor& t : inputs) copies.push_back(t.clone());
      return copies;
    }();
    const Tensors want = eager(c.forward, inputs);
    poison(executable);
    const Tensors got = executable.replay(inputs);
    ASSERT_EQ(got.size(), want.size());
    Tensors into;
    for (const at::Tensor& t : got) into.push_back(garbage_like(t));
    poison(executable);
    executable.replay(inputs, into);
    for (std::size_t i = 0; i < want.size(); ++i) {
      const std::string what = c.name + ", round " + std::to_string(round) + ", output " +
                               std::to_string(i) + "\n" + program.text();
      expect_close(got[i], want[i], c.tolerance, what);
      expect_close(into[i], want[i], c.tolerance, what + " (caller's output)");
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_TRUE(at::equal(inputs[i], before[i])) << c.name << " wrote input " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Operators, testing::ValuesIn(all_cases()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace monograph::test
