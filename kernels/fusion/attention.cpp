#include "kernels/fusion/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <variant>

#include "kernels/fusion/definitions.h"

namespace monograph::kernels::fusion {
namespace {

using Strides = Attention::Strides;

Strides four(const TensorDesc& t) {
  return {t.strides[0], t.strides[1], t.strides[2], t.strides[3]};
}

bool usable(const TensorDesc& t, DType dtype) {
  if (t.sizes.size() != 4 || t.dtype != dtype || t.numel() == 0 || t.alignment < 16) return false;
  const std::int64_t vec = 16 / itemsize(dtype);
  if (t.sizes[3] > 1 && t.strides[3] != 1) return false;
  for (std::size_t d = 0; d < 3; ++d) {
    if (t.sizes[d] > 1 && t.strides[d] % vec != 0) return false;
  }
  return true;
}

/// The input that holds value `v`: itself, or the state that the step wrote whose result it is.
std::int32_t input_of(const Call& call, const Body& body, std::int32_t v) {
  const auto inputs = static_cast<std::int32_t>(call.inputs.size());
  if (v < inputs) return v;
  const Step& step = body.steps[static_cast<std::size_t>(v - inputs)];
  return writes_state(step) && step.alias < inputs ? step.alias : -1;
}

/// Which tensors it looks at.
std::string read_places(const Call& call, const Body& body, Attention& a) {
  const Step& step = body.steps[a.steps_before];
  if (step.args.size() < 3) return "operands";
  std::array<std::int32_t*, 3> slots{&a.q, &a.k, &a.v};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!step.args[i].is_tensor()) return "operands";
    *slots[i] = input_of(call, body, step.args[i].tensors.front());
    if (*slots[i] < 0 && (i > 0 || a.steps_before == 0)) return "a computed operand";
  }
  return {};
}

std::string read_operands(const Call& call, const Body& body, Attention& a) {
  if (std::string why = read_places(call, body, a); !why.empty()) return why;
  const std::int32_t query = body.steps[a.steps_before].args[0].tensors.front();
  TensorDesc q = call.inputs[static_cast<std::size_t>(std::max(a.q, 0))];
  if (a.q < 0) {
    q = body.steps[static_cast<std::size_t>(query) - call.inputs.size()].output;
    q.alignment = 16;
    if (!q.is_contiguous()) return "a computed query that isn't dense";
    if (q.sizes.size() == 4) q.strides = dense(q.dtype, q.sizes).strides;
  }
  const TensorDesc& k = call.inputs[static_cast<std::size_t>(a.k)];
  const TensorDesc& v = call.inputs[static_cast<std::size_t>(a.v)];
  a.dtype = q.dtype;
  if (!is_half(a.dtype) && a.dtype != DType::kF32)
    return "dtype " + std::string(dtype_name(a.dtype));
  if (!usable(q, a.dtype) || !usable(k, a.dtype) || !usable(v, a.dtype)) return "layout of q, k, v";
  a.batch = q.sizes[0];
  a.heads = k.sizes[1];
  a.rows = q.sizes[2];
  a.keys = k.sizes[2];
  a.size = q.sizes[3];
  if (k.sizes[0] != a.batch || v.sizes[0] != a.batch || v.sizes[1] != a.heads ||
      v.sizes[2] != a.keys || v.sizes[3] != a.size || k.sizes[3] != a.size ||
      q.sizes[1] % a.heads != 0) {
    return "shapes of q, k, v";
  }
  a.group = q.sizes[1] / a.heads;
  a.q_strides = four(q);
  a.k_strides = four(k);
  a.v_strides = four(v);
  return {};
}

std::string read_options(const Call& call, const Step& step, Attention& a) {
  if (real(step.arg(4, "dropout_p"), 0) != 0) return "dropout";
  if (const Argument* c = step.arg(5, "is_causal")) {
    if (const auto* b = std::get_if<bool>(&c->scalar)) a.causal = *b;
  }
  a.scale = real(step.arg(6, "scale"), 1 / std::sqrt(static_cast<double>(a.size)));
  const Argument* m = step.arg(3, "attn_mask");
  if (m == nullptr || !m->is_tensor()) return {};
  a.mask = m->tensors.front();
  if (static_cast<std::size_t>(a.mask) >= call.inputs.size()) return "a computed mask";
  const TensorDesc& d = call.inputs[static_cast<std::size_t>(a.mask)];
  a.mask_dtype = d.dtype;
  if (d.dtype != DType::kBool && !is_half(d.dtype) && d.dtype != DType::kF32) return "mask's dtype";
  const std::array<std::int64_t, 4> full{a.batch, a.heads * a.group, a.rows, a.keys};
  if (d.sizes.size() > 4) return "mask's shape";
  const std::size_t lead = 4 - d.sizes.size();
  for (std::size_t i = 0; i < d.sizes.size(); ++i) {
    if (d.sizes[i] != 1 && d.sizes[i] != full[lead + i]) return "mask's shape";
    a.mask_strides[lead + i] = d.sizes[i] == 1 ? 0 : d.strides[i];
  }
  return {};
}

/// Strides in the result of the copies that follow the operator.
std::string read_copies(const Call& call, std::int32_t value, Attention& a) {
  External external{value, 1};
  external.any_order = true;
  const Built built = build(call, external);
  if (!built.program) return built.reason;
  const Program& p = *built.program;
  for (const Node& n : p.nodes) {
    const bool copy = n.kind == Node::Kind::kCompute && n.text == "x0";
    if (n.kind != Node::Kind::kExternal && !copy) return "more than a copy after it";
  }
  const auto& strides = p.stores[0].operand.strides;
  for (std::size_t d = 0; d < 4; ++d) {
    const std::vector<int>& axes = p.external[d];
    for (std::size_t k = 0; k < axes.size(); ++k) {
      const auto axis = static_cast<std::size_t>(axes[k]);
      if (k > 0) {
        const auto outer = static_cast<std::size_t>(axes[k - 1]);
        if (strides[outer] != strides[axis] * p.axes[axis]) return "a copy that splits heads";
      }
      a.out_strides[d] = strides[axis];
    }
  }
  return {};
}

/// Where results go: as the operator lays them out, or as the copies after it do.
std::string read_result(const Call& call, const Body& body, Attention& a) {
  if (call.outputs.size() != 1) return "results";
  const auto value = static_cast<std::int32_t>(call.inputs.size() + a.steps_before);
  if (body.outputs[0] == value) {
    a.out_strides = four(call.outputs[0]);
  } else if (std::string why = read_copies(call, value, a); !why.empty()) {
    return why;
  }
  if (a.size > 1 && a.out_strides[3] != 1) return "a result whose columns lie apart";
  return {};
}

std::string numbers(const Strides& s, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += fmt::format("{}LL, ", s[i]);
  return text;
}

}  // namespace

bool Attention::same_mask() const noexcept {
  return !causal && (mask < 0 || (mask_strides[1] == 0 && mask_strides[2] == 0));
}

std::string read_attention(const Call& call, Attention& a) {
  const Body own = call.body ? Body{} : body_of(call);
  const Body& body = call.body ? *call.body : own;
  const auto at = std::ranges::find(body.steps, kAttentionOp, &Step::op);
  if (at == body.steps.end()) return "no attention";
  a.steps_before = static_cast<std::size_t>(at - body.steps.begin());
  std::string why = read_operands(call, body, a);
  if (why.empty()) why = read_options(call, *at, a);
  if (why.empty()) why = read_result(call, body, a);
  return why;
}

std::string attention_strides(const Attention& a) {
  std::string strides = numbers(a.q_strides, 3) + numbers(a.k_strides, 3) +
                        numbers(a.v_strides, 3) + numbers(a.out_strides, 3) +
                        numbers(a.mask_strides, 4);
  strides.resize(strides.size() - 2);
  return fmt::format("  const mg::AttentionStrides strides{{{}}};\n", strides);
}

Roofline attention_roofline(const Attention& a) {
  Roofline r;
  const double per_head = static_cast<double>(a.size * itemsize(a.dtype));
  const auto queries = static_cast<double>(a.batch * a.heads * a.group * a.rows);
  r.bytes = per_head * (2 * queries + 2 * static_cast<double>(a.batch * a.heads * a.keys));
  r.flops = 4 * queries * static_cast<double>(a.keys * a.size);
  return r;
}

Call attention_call(DType dtype, const AttentionSizes& n) {
  Call c;
  c.op = kAttentionOp;
  c.inputs = {dense(dtype, {n.batch, n.heads * n.group, n.rows, n.size}),
              dense(dtype, {n.batch, n.heads, n.keys, n.size}),
              dense(dtype, {n.batch, n.heads, n.keys, n.size})};
  c.args = {tensor_argument(0), tensor_argument(1), tensor_argument(2)};
  c.outputs = {c.inputs[0]};
  if (n.group > 1) c.kwargs.emplace_back("enable_gqa", number_argument(true));
  return c;
}

Call masked(Call c, DType dtype, std::vector<std::int64_t> sizes) {
  c.inputs.push_back(dense(dtype, std::move(sizes), itemsize(dtype)));
  c.args.push_back(tensor_argument(3));
  return c;
}

Call transposed_attention(Call c) {
  const auto swap_rows = [](TensorDesc& t) {
    t.strides = {t.sizes[1] * t.sizes[2] * t.sizes[3], t.sizes[3], t.sizes[1] * t.sizes[3], 1};
  };
  for (std::size_t i = 0; i < 3; ++i) swap_rows(c.inputs[i]);
  const TensorDesc result = c.outputs[0];
  const auto& n = result.sizes;
  const auto first = static_cast<std::int32_t>(c.inputs.size());
  Body body = body_of(c);
  Step turn{
      "aten.transpose.int",
      {tensor_argument(first), number_argument(std::int64_t{1}), number_argument(std::int64_t{2})},
      {},
      dense(result.dtype, {n[0], n[2], n[1], n[3]}),
      first,
      0};
  c.outputs = {turn.output};
  turn.output.strides = {result.strides[0], result.strides[2], result.strides[1], 1};
  body.steps.push_back(turn);
  body.steps.push_back({"aten.clone.default", {tensor_argument(first + 1)}, {}, c.outputs[0]});
  body.outputs = {first + 2};
  c.op = "fusion";
  c.kwargs.clear();
  c.body = std::make_shared<Body>(std::move(body));
  return c;
}

}  // namespace monograph::kernels::fusion
