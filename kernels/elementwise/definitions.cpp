#include "kernels/elementwise/definitions.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/elementwise/elementwise.h"
#include "kernels/fusion/pointwise.h"
#include "kernels/fusion/program.h"

namespace monograph::kernels {
namespace {

constexpr const char* kAlgorithm = "one thread per 16 bytes of the narrowest operand";

/// `text` with every "@f" replaced.
std::string with_suffix(std::string text, const char* suffix) {
  for (std::size_t at = text.find("@f"); at != std::string::npos; at = text.find("@f", at)) {
    text.replace(at, 2, suffix);
  }
  return text;
}

/// Results of narrow integers wrap as they do in memory.
std::string wrapped(const std::string& text, DType dtype) {
  const bool narrow =
      dtype == DType::kU8 || dtype == DType::kI8 || dtype == DType::kI16 || dtype == DType::kI32;
  return narrow ? fmt::format("static_cast<{}>({})", device_type(dtype), text) : text;
}

int expand(const PointwiseOp& op, fusion::Builder& builder, const Step& step,
           const fusion::Mapping& mapping) {
  const auto formula = op.formula(step, [&](std::int32_t v) { return builder.desc(v).dtype; });
  if (!formula) return builder.fail(step.op + " in this dtype");
  std::vector<int> args;
  for (const Argument& a : formula->operands) {
    args.push_back(builder.operand(a, mapping, formula->compute));
  }
  return builder.compute(formula->compute, compute_type(step.output.dtype),
                         wrapped(formula->text, step.output.dtype), std::move(args));
}

/// Numbers that meet halves in a comparison are rounded to them first.
Argument rounded(const Argument& a, DType dtype) {
  const auto* d = std::get_if<double>(&a.scalar);
  if (a.is_tensor() || d == nullptr || !is_half(dtype)) return a;
  Argument out = a;
  out.scalar = round_to(*d, dtype);
  return out;
}

std::optional<Formula> binary_formula(const BinaryOp& op, const Step& step,
                                      const std::function<DType(std::int32_t)>& type_of) {
  if (step.args.size() < 2) return std::nullopt;
  std::vector<Argument> operands{step.args[0], step.args[1]};
  const DType common = common_type(operands, type_of);
  const DType compute = op.compares ? compute_type(common) : compute_type(step.output.dtype);
  std::string text = op.expression(compute);
  if (text.empty()) return std::nullopt;
  if (op.compares) {
    for (Argument& a : operands) a = rounded(a, common);
  }
  if (const Argument* alpha = op.scaled.empty() ? nullptr : step.arg(2, "alpha")) {
    const bool one = alpha->scalar == Scalar(std::int64_t{1}) || alpha->scalar == Scalar(1.0);
    if (!one && !std::holds_alternative<std::monostate>(alpha->scalar)) {
      operands.push_back(*alpha);
      std::string scaled;
      for (std::size_t i = 0; i < text.size(); ++i) {
        const bool found = text.compare(i, 2, op.scaled) == 0;
        scaled += found ? "(x2 * " + op.scaled + ")" : std::string(1, text[i]);
        if (found) ++i;
      }
      text = scaled;
    }
  }
  return Formula{text, operands, compute};
}

std::vector<DType> dtypes_of(const Expression& expression) {
  std::vector<DType> dtypes;
  if (!expression(DType::kF32).empty()) {
    dtypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  }
  if (!expression(DType::kI64).empty()) dtypes.push_back(DType::kI64);
  return dtypes;
}

}  // namespace

DType common_type(const std::vector<Argument>& operands,
                  const std::function<DType(std::int32_t)>& type_of) {
  // Widest of the kinds that take part: bool < integers < floats; tensors before numbers.
  DType best = DType::kBool;
  const auto rank = [](DType d) {
    switch (d) {
      case DType::kBool:
        return 0;
      case DType::kF16:
      case DType::kBF16:
        return 6;
      case DType::kF32:
        return 7;
      case DType::kF64:
        return 8;
      default:
        return static_cast<int>(itemsize(d)) / 2 + 1;
    }
  };
  for (const Argument& a : operands) {
    if (!a.is_tensor()) continue;
    const DType d = type_of(a.tensors.front());
    const bool halves_differ = is_half(d) && is_half(best) && d != best;
    if (halves_differ) best = DType::kF32;
    if (rank(d) > rank(best)) best = d;
  }
  for (const Argument& a : operands) {
    if (std::holds_alternative<double>(a.scalar) && !is_floating(best)) best = DType::kF32;
    if (std::holds_alternative<std::int64_t>(a.scalar) && best == DType::kBool) best = DType::kI64;
  }
  return best;
}

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

Expression integers(const std::string& text) {
  return [text](DType compute) {
    return compute == DType::kBool || compute == DType::kI64 ? text : std::string();
  };
}

Definition pointwise_definition(PointwiseOp op) {
  Definition d;
  d.name = op.name;
  d.summary = op.summary;
  d.algorithm = kAlgorithm;
  d.ops = op.ops;
  d.match = [entry = "mg_" + op.name](const Call& c, const Target& t) {
    if (c.outputs.size() != 1) return Match::no("operands");
    return fusion::pointwise_instance(c, t, entry);
  };
  d.samples = op.samples;
  d.expand = [op = std::move(op)](fusion::Builder& b, const Step& s, const fusion::Mapping& m) {
    return expand(op, b, s, m);
  };
  return d;
}

Definition unary_definition(UnaryOp op) {
  PointwiseOp p{op.name, op.ops, op.summary, {}, {}};
  p.samples = [first = op.ops.front(), dtypes = dtypes_of(op.expression)] {
    return unary_samples(first, dtypes);
  };
  p.formula = [expression = std::move(op.expression)](const Step& step,
                                                      const auto&) -> std::optional<Formula> {
    const DType compute = compute_type(step.output.dtype);
    std::string text = expression(compute);
    if (text.empty() || step.args.empty()) return std::nullopt;
    return Formula{std::move(text), {step.args[0]}, compute};
  };
  return pointwise_definition(std::move(p));
}

Definition binary_definition(BinaryOp op) {
  PointwiseOp p{op.name, op.ops, op.summary, {}, {}};
  p.samples = [first = op.ops.front(), dtypes = dtypes_of(op.expression), compares = op.compares,
               has_alpha = !op.scaled.empty()] {
    std::vector<Call> calls = binary_samples(first, dtypes, compares);
    for (const DType dtype : has_alpha ? dtypes : std::vector<DType>()) {
      Call c = binary_samples(first, {dtype}, compares).front();
      c.kwargs.emplace_back("alpha", number_argument(std::int64_t{3}));
      calls.push_back(std::move(c));
    }
    return calls;
  };
  p.formula = [op = std::move(op)](const Step& step, const auto& type_of) {
    return binary_formula(op, step, type_of);
  };
  return pointwise_definition(std::move(p));
}

Definition operands_definition(OperandsOp op) {
  PointwiseOp p{op.name, op.ops, op.summary, {}, {}};
  p.samples = [first = op.ops.front(), count = op.operands, dtypes = op.dtypes,
               predicate = op.predicate] {
    std::vector<Call> calls;
    for (const DType dtype : dtypes) {
      Call c;
      c.op = first;
      for (std::size_t i = 0; i < count; ++i) {
        c.args.push_back(tensor_argument(static_cast<std::int32_t>(i)));
        c.inputs.push_back(i == 0 ? dense(dtype, {3, 37}) : dense(dtype, {37}));
      }
      c.outputs = {dense(predicate ? DType::kBool : dtype, {3, 37})};
      calls.push_back(std::move(c));
    }
    return calls;
  };
  p.formula = [expression = std::move(op.expression), count = op.operands](
                  const Step& step, const auto& type_of) -> std::optional<Formula> {
    if (step.args.size() < count) return std::nullopt;
    const auto end = step.args.begin() + static_cast<std::ptrdiff_t>(count);
    const std::vector<Argument> operands(step.args.begin(), end);
    const DType compute = compute_type(common_type(operands, type_of));
    std::string text = expression(compute);
    if (text.empty()) return std::nullopt;
    return Formula{std::move(text), operands, compute};
  };
  return pointwise_definition(std::move(p));
}

TensorDesc dense(DType dtype, std::vector<std::int64_t> sizes, std::int64_t alignment) {
  TensorDesc t{dtype, std::move(sizes), {}, alignment};
  std::int64_t step = 1;
  t.strides.resize(t.sizes.size());
  for (std::size_t d = t.sizes.size(); d-- > 0;) {
    t.strides[d] = step;
    step *= std::max<std::int64_t>(1, t.sizes[d]);
  }
  return t;
}

Argument tensor_argument(std::int32_t index) {
  return {{index}, false, {}};
}

Argument number_argument(Scalar value) {
  return {{}, false, std::move(value)};
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
      c.args.push_back(tensor_argument(0));
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
      c.args = {tensor_argument(0), tensor_argument(1)};
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
