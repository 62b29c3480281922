#include "kernels/elementwise/definitions.h"

#include <fmt/format.h>

#include <algorithm>

namespace monograph::kernels {
namespace {

constexpr const char* kAlgorithm = "one thread per 16 bytes of the widest operand";

/// `text` with every "@f" replaced.
std::string with_suffix(std::string text, const char* suffix) {
  for (std::size_t at = text.find("@f"); at != std::string::npos; at = text.find("@f", at)) {
    text.replace(at, 2, suffix);
  }
  return text;
}

TensorDesc dense(DType dtype, std::vector<std::int64_t> sizes, std::int64_t alignment = 16) {
  TensorDesc t{dtype, std::move(sizes), {}, alignment};
  std::int64_t step = 1;
  t.strides.resize(t.sizes.size());
  for (std::size_t d = t.sizes.size(); d-- > 0;) {
    t.strides[d] = step;
    step *= std::max<std::int64_t>(1, t.sizes[d]);
  }
  return t;
}

DType common_type(const Call& call) {
  DType best = DType::kBool;
  for (const TensorDesc& t : call.inputs) {
    const DType c = compute_type(t.dtype);
    if (c == DType::kF64 || best == DType::kF64) {
      best = DType::kF64;
    } else if (c == DType::kF32 || best == DType::kF32) {
      best = DType::kF32;
    } else if (c == DType::kI64 || best == DType::kI64) {
      best = DType::kI64;
    }
  }
  for (const Argument& a : call.args) {
    if (std::holds_alternative<double>(a.scalar) && !is_floating(best)) best = DType::kF32;
    if (std::holds_alternative<std::int64_t>(a.scalar) && best == DType::kBool) best = DType::kI64;
  }
  return best;
}

/// The operand as text: "x<n>" for a tensor (appended to `inputs`), a literal for a number.
std::string operand(const Call& call, const Argument& a, DType compute,
                    std::vector<std::size_t>& inputs) {
  if (a.is_tensor()) {
    inputs.push_back(static_cast<std::size_t>(a.tensors.front()));
    return fmt::format("x{}", inputs.size() - 1);
  }
  (void)call;
  if (const auto* d = std::get_if<double>(&a.scalar)) return literal(*d, compute);
  if (const auto* i = std::get_if<std::int64_t>(&a.scalar)) return literal(*i, compute);
  if (const auto* b = std::get_if<bool>(&a.scalar))
    return literal(std::int64_t{*b ? 1 : 0}, compute);
  return {};
}

/// Operand text in place of "x0" and "x1".
std::string substitute(const std::string& text, const std::string& a, const std::string& b) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "x0") == 0 || text.compare(i, 2, "x1") == 0) {
      out += text[i + 1] == '0' ? a : b;
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

Match match_unary(const UnaryOp& op, const Call& call, const Target& target) {
  if (call.inputs.size() != 1 || call.outputs.size() != 1) return Match::no("operands");
  const DType compute = compute_type(call.outputs[0].dtype);
  Elementwise e{"mg_" + op.name, compute, op.expression(compute), call.inputs, call.outputs[0]};
  if (e.expression.empty())
    return Match::no("dtype " + std::string(dtype_name(call.inputs[0].dtype)));
  return elementwise_instance(e, target);
}

Match match_binary(const BinaryOp& op, const Call& call, const Target& target) {
  if (call.outputs.size() != 1 || call.args.size() < 2) return Match::no("operands");
  const DType compute = op.compares ? common_type(call) : compute_type(call.outputs[0].dtype);
  const std::string text = op.expression(compute);
  if (text.empty()) return Match::no("compute type " + std::string(dtype_name(compute)));
  std::vector<std::size_t> used;
  const std::string a = operand(call, call.args[0], compute, used);
  std::string b = operand(call, call.args[1], compute, used);
  if (a.empty() || b.empty()) return Match::no("an operand is neither tensor nor number");
  if (const Argument* alpha = call.arg(2, "alpha")) {
    std::vector<std::size_t> none;
    const std::string factor = operand(call, *alpha, compute, none);
    if (!factor.empty() && factor != literal(std::int64_t{1}, compute)) {
      b = fmt::format("({} * {})", factor, b);
    }
  }
  Elementwise e{"mg_" + op.name, compute, substitute(text, a, b), {}, call.outputs[0]};
  for (const std::size_t i : used) e.inputs.push_back(call.inputs[i]);
  Match m = elementwise_instance(e, target);
  if (m.instance) {
    for (std::size_t i = 0; i < used.size(); ++i) {
      m.instance->params[i].index = static_cast<std::int32_t>(used[i]);
    }
  }
  return m;
}

}  // namespace

Expression floating(const std::string& text) {
  return [text](DType compute) -> std::string {
    if (compute == DType::kF32) return with_suffix(text, "f");
    if (compute == DType::kF64) return with_suffix(text, "");
    return {};
  };
}

Expression any_type(const std::string& text) {
  return [text](DType compute) { return with_suffix(text, compute == DType::kF32 ? "f" : ""); };
}

Definition unary_definition(UnaryOp op) {
  Definition d;
  d.name = op.name;
  d.summary = op.summary;
  d.algorithm = kAlgorithm;
  d.ops = op.ops;
  std::vector<DType> dtypes{DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  if (!op.expression(DType::kI64).empty()) dtypes.push_back(DType::kI64);
  d.samples = [first = op.ops.front(), dtypes] { return unary_samples(first, dtypes); };
  d.match = [op = std::move(op)](const Call& c, const Target& t) { return match_unary(op, c, t); };
  return d;
}

Definition binary_definition(BinaryOp op) {
  Definition d;
  d.name = op.name;
  d.summary = op.summary;
  d.algorithm = kAlgorithm;
  d.ops = op.ops;
  std::vector<DType> dtypes{DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  if (!op.expression(DType::kI64).empty()) dtypes.push_back(DType::kI64);
  d.samples = [first = op.ops.front(), dtypes, compares = op.compares] {
    return binary_samples(first, dtypes, compares);
  };
  d.match = [op = std::move(op)](const Call& c, const Target& t) { return match_binary(op, c, t); };
  return d;
}

std::vector<Call> unary_samples(const std::string& op, const std::vector<DType>& dtypes) {
  std::vector<Call> calls;
  for (const DType dtype : dtypes) {
    TensorDesc transposed = dense(dtype, {111, 3});
    std::swap(transposed.sizes[0], transposed.sizes[1]);
    std::swap(transposed.strides[0], transposed.strides[1]);
    for (const TensorDesc& in :
         {dense(dtype, {4, 64}), dense(dtype, {989}), dense(dtype, {3, 111}, itemsize(dtype)),
          transposed, dense(dtype, {})}) {
      Call c;
      c.op = op;
      c.args.push_back({{0}, false, {}});
      c.inputs.push_back(in);
      c.outputs.push_back(dense(dtype, in.sizes));
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

std::vector<Call> binary_samples(const std::string& op, const std::vector<DType>& dtypes,
                                 bool compares) {
  std::vector<Call> calls;
  const std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> shapes{
      {{4, 64}, {4, 64}}, {{3, 111}, {111}}, {{2, 3, 32}, {3, 1}}, {{989}, {}}, {{5, 1}, {1, 7}}};
  for (const DType dtype : dtypes) {
    for (const auto& [a, b] : shapes) {
      Call c;
      c.op = op;
      c.args = {{{0}, false, {}}, {{1}, false, {}}};
      c.inputs = {dense(dtype, a), dense(dtype, b)};
      std::vector<std::int64_t> out(std::max(a.size(), b.size()), 1);
      for (std::size_t d = 0; d < a.size(); ++d) out[out.size() - a.size() + d] = a[d];
      for (std::size_t d = 0; d < b.size(); ++d) {
        std::int64_t& s = out[out.size() - b.size() + d];
        s = std::max(s, b[d]);
      }
      c.outputs = {dense(compares ? DType::kBool : dtype, out)};
      calls.push_back(std::move(c));
    }
  }
  return calls;
}

}  // namespace monograph::kernels
