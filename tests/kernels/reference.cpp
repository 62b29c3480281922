#include "tests/kernels/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

#include "kernels/fusion/program.h"

namespace kernels_test {
namespace {

using monograph::kernels::Argument;
using monograph::kernels::Body;
using monograph::kernels::Call;
using monograph::kernels::Step;

constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

[[noreturn]] void missing(const std::string& what) {
  std::fprintf(stderr, "no reference for %s\n", what.c_str());
  std::abort();
}

std::int64_t count(const std::vector<std::int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

Real sigmoid(Real x) {
  return 1 / (1 + std::exp(-x));
}
Real gelu_erf(Real x) {
  return x * 0.5L * (1 + std::erf(x * 0.70710678118654752440L));
}
Real gelu_tanh(Real x) {
  return 0.5L * x * (1 + std::tanh(0.79788456080286535588L * (x + 0.044715L * x * x * x)));
}
Real hard(Real x) {
  const Real y = x + 3;
  return y > 6 ? 6 : y < 0 ? 0 : y;
}
Real whole(Real a, Real b, std::uint64_t (*f)(std::uint64_t, std::uint64_t)) {
  return static_cast<Real>(
      static_cast<std::int64_t>(f(static_cast<std::uint64_t>(static_cast<std::int64_t>(a)),
                                  static_cast<std::uint64_t>(static_cast<std::int64_t>(b)))));
}

using Unary = Real (*)(Real);
using Binary = Real (*)(Real, Real);

const std::map<std::string, Unary>& unary() {
  static const std::map<std::string, Unary> table{
      {"abs", [](Real x) { return std::fabs(x); }},
      {"neg", [](Real x) { return -x; }},
      {"exp", [](Real x) { return std::exp(x); }},
      {"log", [](Real x) { return std::log(x); }},
      {"log2", [](Real x) { return std::log2(x); }},
      {"log1p", [](Real x) { return std::log1p(x); }},
      {"expm1", [](Real x) { return std::expm1(x); }},
      {"sqrt", [](Real x) { return std::sqrt(x); }},
      {"rsqrt", [](Real x) { return 1 / std::sqrt(x); }},
      {"sin", [](Real x) { return std::sin(x); }},
      {"cos", [](Real x) { return std::cos(x); }},
      {"tanh", [](Real x) { return std::tanh(x); }},
      {"erf", [](Real x) { return std::erf(x); }},
      {"floor", [](Real x) { return std::floor(x); }},
      {"ceil", [](Real x) { return std::ceil(x); }},
      {"square", [](Real x) { return x * x; }},
      {"reciprocal", [](Real x) { return 1 / x; }},
      {"sigmoid", sigmoid},
      {"silu", [](Real x) { return x * sigmoid(x); }},
      {"relu", [](Real x) { return x > 0 || x != x ? x : 0; }},
      {"hardswish", [](Real x) { return x * hard(x) / 6; }},
      {"hardsigmoid", [](Real x) { return hard(x) / 6; }},
      {"mish", [](Real x) { return x * std::tanh(x > 100 ? x : std::log1p(std::exp(x))); }},
      {"clone", [](Real x) { return x; }},
      {"_to_copy", [](Real x) { return x; }},
      {"contiguous", [](Real x) { return x; }},
      {"logical_not", [](Real x) -> Real { return x == 0; }},
      {"isnan", [](Real x) -> Real { return x != x; }},
  };
  return table;
}

const std::map<std::string, Binary>& binary() {
  static const std::map<std::string, Binary> table{
      {"add", [](Real a, Real b) { return a + b; }},
      {"sub", [](Real a, Real b) { return a - b; }},
      {"rsub", [](Real a, Real b) { return b - a; }},
      {"mul", [](Real a, Real b) { return a * b; }},
      {"div", [](Real a, Real b) { return a / b; }},
      {"pow",
       [](Real a, Real b) {  // roots as roots, which differ for -0.0 and -infinity
         return b == 0.5L ? std::sqrt(a) : b == -0.5L ? 1 / std::sqrt(a) : std::pow(a, b);
       }},
      {"atan2", [](Real a, Real b) { return std::atan2(a, b); }},
      {"maximum", [](Real a, Real b) { return a != a || b != b ? kNan : std::max(a, b); }},
      {"minimum", [](Real a, Real b) { return a != a || b != b ? kNan : std::min(a, b); }},
      {"eq", [](Real a, Real b) -> Real { return a == b; }},
      {"ne", [](Real a, Real b) -> Real { return a != b; }},
      {"lt", [](Real a, Real b) -> Real { return a < b; }},
      {"le", [](Real a, Real b) -> Real { return a <= b; }},
      {"gt", [](Real a, Real b) -> Real { return a > b; }},
      {"ge", [](Real a, Real b) -> Real { return a >= b; }},
      {"logical_and", [](Real a, Real b) -> Real { return a != 0 && b != 0; }},
      {"logical_or", [](Real a, Real b) -> Real { return a != 0 || b != 0; }},
      {"bitwise_and",
       [](Real a, Real b) {
         return whole(a, b, [](std::uint64_t x, std::uint64_t y) { return x & y; });
       }},
      {"bitwise_or",
       [](Real a, Real b) {
         return whole(a, b, [](std::uint64_t x, std::uint64_t y) { return x | y; });
       }},
      {"leaky_relu", [](Real a, Real b) { return a > 0 ? a : a * b; }},
  };
  return table;
}

/// "aten.NAME.overload" -> "NAME"; in-place operators without their underscore.
std::string base_name(const std::string& op) {
  const std::size_t from = op.find('.') + 1;
  std::string name = op.substr(from, op.find('.', from) - from);
  if (name.size() > 1 && name.back() == '_' && name[name.size() - 2] != '_') name.pop_back();
  return name;
}

class Interpreter {
 public:
  Interpreter(const Call& call, const Body& body, const std::vector<Values>& inputs,
              Rounding rounding)
      : call_(call), body_(body), rounding_(rounding), values_(inputs) {}

  std::vector<Values> run() {
    for (const Step& s : body_.steps) {
      Values v = step(s);
      v.dtype = s.output.dtype;
      v.sizes = s.output.sizes;
      const bool exact =
          rounding_ == Rounding::kExact && monograph::kernels::is_floating(v.dtype) && !converts(s);
      // What a number that an integer can't hold becomes is not defined: it is left for `compare`.
      const bool whole = base_name(s.op) == "_to_copy" && !monograph::kernels::is_floating(v.dtype);
      for (Real& x : v.at) {
        if (!exact && !(whole && !(std::fabs(x) < 0x1p31L))) x = stored(x, v.dtype);
      }
      // Whoever reads the state later sees what was written.
      if (monograph::kernels::fusion::writes_state(s))
        values_[static_cast<std::size_t>(s.alias)] = v;
      values_.push_back(std::move(v));
    }
    std::vector<Values> out;
    for (const std::int32_t o : body_.outputs) out.push_back(values_[static_cast<std::size_t>(o)]);
    return out;
  }

 private:
  /// An explicit conversion rounds whatever the mode.
  bool converts(const Step& s) const {
    return base_name(s.op) == "_to_copy" && monograph::kernels::is_half(s.output.dtype);
  }

  const TensorDesc& desc(std::int32_t v) const {
    const auto i = static_cast<std::size_t>(v);
    return i < call_.inputs.size() ? call_.inputs[i] : body_.steps[i - call_.inputs.size()].output;
  }

  Values step(const Step& s) const {
    if (monograph::kernels::fusion::writes_state(s)) return index_copy(s);
    if (s.alias >= 0) return view(s);
    const std::string name = base_name(s.op);
    if (name == "reshape" || name == "_unsafe_view") return tensor(s, 0);
    if (name == "gelu") return map1(s, is_tanh(s) ? gelu_tanh : gelu_erf);
    if (name == "bitwise_not") {
      return map1(s, s.output.dtype == DType::kBool ? Unary([](Real x) -> Real { return x == 0; })
                                                    : Unary([](Real x) { return -x - 1; }));
    }
    if (name == "where") return choose(s, 0, 1, 2);
    if (name == "masked_fill") return choose(s, 1, 2, 0);
    if (name == "clamp" || name == "clamp_min" || name == "clamp_max" || name == "hardtanh") {
      return clamp(s, name);
    }
    if (name == "_softmax" || name == "_log_softmax" || name == "softmax" ||
        name == "log_softmax") {
      return softmax(s, name.find("log") != std::string::npos);
    }
    if (name == "zeros_like" || name == "full_like") return fill(s, name == "full_like");
    if (name == "linear") return linear(s);
    if (name == "scaled_dot_product_attention") return attention(s);
    if (name == "cat") return concatenate(s);
    if (name == "embedding" || name == "index_select") return gather(s, name == "embedding");
    if (name == "layer_norm" || name == "rms_norm") return norm(s, name == "layer_norm");
    if (name == "sum" || name == "mean" || name == "amax" || name == "amin" || name == "argmax" ||
        name == "argmin") {
      return reduce(s, name);
    }
    if (const auto f = unary().find(name); f != unary().end()) return map1(s, f->second);
    if (const auto f = binary().find(name); f != binary().end()) return map2(s, f->second);
    missing(s.op);
  }

  static bool is_tanh(const Step& s) {
    const Argument* a = s.arg(1, "approximate");
    const auto* text = a != nullptr ? std::get_if<std::string>(&a->scalar) : nullptr;
    return text != nullptr && *text == "tanh";
  }

  /// By memory: which element of the viewed value lies where.
  Values view(const Step& s) const {
    const Values& from = values_[static_cast<std::size_t>(s.alias)];
    const std::vector<std::int64_t> where = element_offsets(desc(s.alias));
    std::map<std::int64_t, Real> memory;
    for (std::size_t i = 0; i < where.size(); ++i) memory[where[i]] = from.at[i];
    Values v;
    for (const std::int64_t o : element_offsets(s.output)) v.at.push_back(memory.at(o + s.offset));
    return v;
  }

  const Values& tensor(const Step& s, std::size_t arg) const {
    return values_[static_cast<std::size_t>(s.args[arg].tensors.front())];
  }

  /// Argument broadcast to the step's shape.
  std::vector<Real> operand(const Step& s, const Argument& a) const {
    const auto n = static_cast<std::size_t>(count(s.output.sizes));
    if (const auto* d = std::get_if<double>(&a.scalar)) return std::vector<Real>(n, *d);
    if (const auto* i = std::get_if<std::int64_t>(&a.scalar)) {
      return std::vector<Real>(n, static_cast<Real>(*i));
    }
    if (const auto* b = std::get_if<bool>(&a.scalar)) return std::vector<Real>(n, *b ? 1 : 0);
    if (!a.is_tensor()) missing(s.op + "'s operand");
    const Values& from = values_[static_cast<std::size_t>(a.tensors.front())];
    TensorDesc d{from.dtype, s.output.sizes, std::vector<std::int64_t>(s.output.sizes.size(), 0)};
    std::int64_t step = 1;
    const std::size_t lead = d.sizes.size() - from.sizes.size();
    for (std::size_t k = from.sizes.size(); k-- > 0;) {
      d.strides[lead + k] = from.sizes[k] == 1 ? 0 : step;
      step *= from.sizes[k];
    }
    std::vector<Real> out;
    for (const std::int64_t o : element_offsets(d)) {
      out.push_back(from.at[static_cast<std::size_t>(o)]);
    }
    return out;
  }

  Values map1(const Step& s, const std::function<Real(Real)>& f) const {
    Values v{s.output.dtype, s.output.sizes, operand(s, s.args[0])};
    for (Real& x : v.at) x = f(x);
    return v;
  }

  Values map2(const Step& s, Binary f) const {
    Values v{s.output.dtype, s.output.sizes, operand(s, s.args[0])};
    std::vector<Real> b = operand(s, s.args.size() > 1 ? s.args[1] : Argument{});
    if (const Argument* alpha = s.arg(2, "alpha")) {
      std::vector<Real>& scaled = base_name(s.op) == "rsub" ? v.at : b;
      const auto* d = std::get_if<double>(&alpha->scalar);
      const auto* i = std::get_if<std::int64_t>(&alpha->scalar);
      for (Real& x : scaled) x *= d != nullptr ? *d : i != nullptr ? static_cast<Real>(*i) : 1;
    }
    for (std::size_t i = 0; i < b.size(); ++i) v.at[i] = f(v.at[i], b[i]);
    return v;
  }

  Values choose(const Step& s, std::size_t mask, std::size_t yes, std::size_t no) const {
    const std::vector<Real> m = operand(s, s.args[mask]);
    const std::vector<Real> a = operand(s, s.args[yes]);
    Values v{s.output.dtype, s.output.sizes, operand(s, s.args[no])};
    for (std::size_t i = 0; i < m.size(); ++i) {
      if (m[i] != 0) v.at[i] = a[i];
    }
    return v;
  }

  Values clamp(const Step& s, const std::string& name) const {
    const bool only_max = name == "clamp_max";
    const std::string suffix = name == "hardtanh" ? "_val" : "";
    const auto given = [](const Argument* a) {
      return a != nullptr && (a->is_tensor() || !std::holds_alternative<std::monostate>(a->scalar));
    };
    Values v{s.output.dtype, s.output.sizes, operand(s, s.args[0])};
    const Argument* low = only_max ? nullptr : s.arg(1, "min" + suffix);
    const Argument* high = s.arg(only_max ? 1 : 2, "max" + suffix);
    if (given(low)) {
      const auto l = operand(s, *low);
      for (std::size_t i = 0; i < l.size(); ++i) v.at[i] = v.at[i] < l[i] ? l[i] : v.at[i];
    }
    if (given(high)) {
      const auto h = operand(s, *high);
      for (std::size_t i = 0; i < h.size(); ++i) v.at[i] = v.at[i] > h[i] ? h[i] : v.at[i];
    }
    return v;
  }

  /// Calls `f` with the positions of each row of `sizes` along `dims`.
  static void rows(const std::vector<std::int64_t>& sizes, const std::vector<bool>& reduced,
                   const std::function<void(const std::vector<std::size_t>&)>& f) {
    std::map<std::int64_t, std::vector<std::size_t>> by_row;
    std::vector<std::int64_t> at(sizes.size(), 0);
    for (std::int64_t i = 0; i < count(sizes); ++i) {
      std::int64_t row = 0;
      for (std::size_t d = 0; d < sizes.size(); ++d) {
        if (!reduced[d]) row = row * sizes[d] + at[d];
      }
      by_row[row].push_back(static_cast<std::size_t>(i));
      for (std::size_t d = at.size(); d-- > 0;) {
        if (++at[d] < sizes[d]) break;
        at[d] = 0;
      }
    }
    for (const auto& [row, positions] : by_row) f(positions);
  }

  static std::vector<bool> reduced_dims(const Argument* a, std::size_t rank) {
    std::vector<bool> reduced(rank, false);
    std::vector<std::int64_t> dims;
    if (a != nullptr) {
      if (const auto* one = std::get_if<std::int64_t>(&a->scalar)) dims = {*one};
      if (const auto* many = std::get_if<std::vector<std::int64_t>>(&a->scalar)) dims = *many;
    }
    for (const std::int64_t d : dims) {
      reduced[static_cast<std::size_t>(d < 0 ? d + static_cast<std::int64_t>(rank) : d)] = true;
    }
    if (dims.empty()) reduced.assign(rank, true);
    return reduced;
  }

  Values softmax(const Step& s, bool log) const {
    const Values& x = tensor(s, 0);
    Values v = x;
    rows(x.sizes, reduced_dims(s.arg(1, "dim"), x.sizes.size()), [&](const auto& at) {
      Real most = -std::numeric_limits<Real>::infinity();
      for (const auto i : at) most = x.at[i] != x.at[i] ? x.at[i] : std::max(most, x.at[i]);
      Real sum = 0;
      for (const auto i : at) sum += std::exp(x.at[i] - most);
      for (const auto i : at) {
        v.at[i] = log ? x.at[i] - most - std::log(sum) : std::exp(x.at[i] - most) / sum;
      }
    });
    return v;
  }

  Values norm(const Step& s, bool centred) const {
    const Values& x = tensor(s, 0);
    Values v = x;
    const auto& shape = std::get<std::vector<std::int64_t>>(s.args[1].scalar);
    std::vector<bool> reduced(x.sizes.size(), false);
    for (std::size_t d = x.sizes.size() - shape.size(); d < x.sizes.size(); ++d) reduced[d] = true;
    const Argument* weight = s.arg(2, "weight");
    const Argument* bias = centred ? s.arg(3, "bias") : nullptr;
    const Argument* eps = s.arg(centred ? 4 : 3, "eps");
    const Real e = eps != nullptr ? std::get<double>(eps->scalar) : 1e-5;
    rows(x.sizes, reduced, [&](const auto& at) {
      Real mean = 0;
      for (const auto i : at) mean += centred ? x.at[i] : 0;
      mean /= static_cast<Real>(at.size());
      Real square = 0;
      for (const auto i : at) square += (x.at[i] - mean) * (x.at[i] - mean);
      // Sums of floats and doubles overflow where this one doesn't.
      const Real largest = x.dtype == DType::kF64 ? Real{std::numeric_limits<double>::max()}
                                                  : Real{std::numeric_limits<float>::max()};
      if (rounding_ == Rounding::kEager && square > largest) square = HUGE_VALL;
      const Real scale = 1 / std::sqrt(square / static_cast<Real>(at.size()) + e);
      for (std::size_t k = 0; k < at.size(); ++k) {
        Real y = (x.at[at[k]] - mean) * scale;
        if (weight != nullptr && weight->is_tensor()) {
          y *= values_[static_cast<std::size_t>(weight->tensors[0])].at[k];
        }
        if (bias != nullptr && bias->is_tensor()) {
          y += values_[static_cast<std::size_t>(bias->tensors[0])].at[k];
        }
        v.at[at[k]] = y;
      }
    });
    return v;
  }

  Values fill(const Step& s, bool given) const {
    const auto n = static_cast<std::size_t>(count(s.output.sizes));
    return {s.output.dtype, s.output.sizes,
            given ? operand(s, s.args[1]) : std::vector<Real>(n, 0)};
  }

  Values linear(const Step& s) const {
    const Values& x = tensor(s, 0);
    const Values& w = tensor(s, 1);
    const Argument* bias = s.arg(2, "bias");
    const auto n = static_cast<std::size_t>(w.sizes[0]);
    const auto k = static_cast<std::size_t>(w.sizes[1]);
    Values v;
    for (std::size_t row = 0; row < x.at.size() / k; ++row) {
      for (std::size_t c = 0; c < n; ++c) {
        std::vector<Real> terms;
        for (std::size_t i = 0; i < k; ++i) terms.push_back(x.at[row * k + i] * w.at[c * k + i]);
        Real sum = total(terms, w.dtype);
        if (bias != nullptr && bias->is_tensor()) {
          sum += values_[static_cast<std::size_t>(bias->tensors[0])].at[c];
        }
        v.at.push_back(sum);
      }
    }
    return v;
  }

  /// Positions in a tensor of `sizes` as (outer, along dim, inner).
  struct Span3 {
    std::int64_t outer = 1, along = 1, inner = 1;
  };
  static Span3 span_of(const std::vector<std::int64_t>& sizes, std::int64_t dim) {
    if (dim < 0) dim += static_cast<std::int64_t>(sizes.size());
    Span3 s;
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      const auto k = static_cast<std::int64_t>(d);
      (k < dim ? s.outer : k == dim ? s.along : s.inner) *= sizes[d];
    }
    return s;
  }
  static std::int64_t number(const Argument& a) { return std::get<std::int64_t>(a.scalar); }

  Values concatenate(const Step& s) const {
    Values v;
    const std::int64_t dim = s.args.size() > 1 ? number(s.args[1]) : 0;
    const Span3 all = span_of(s.output.sizes, dim);
    for (std::int64_t o = 0; o < all.outer; ++o) {
      for (const std::int32_t t : s.args[0].tensors) {
        const Values& from = values_[static_cast<std::size_t>(t)];
        const Span3 part = span_of(from.sizes, dim);
        const std::int64_t n = part.along * part.inner;
        v.at.insert(v.at.end(), from.at.begin() + o * n, from.at.begin() + (o + 1) * n);
      }
    }
    return v;
  }

  Values gather(const Step& s, bool embedding) const {
    const Values& table = tensor(s, 0);
    const Values& index = tensor(s, embedding ? 1 : 2);
    const Span3 from = span_of(table.sizes, embedding ? 0 : number(s.args[1]));
    Values v;
    for (std::int64_t o = 0; o < from.outer; ++o) {
      for (const Real row : index.at) {
        const auto at =
            table.at.begin() + (o * from.along + static_cast<std::int64_t>(row)) * from.inner;
        v.at.insert(v.at.end(), at, at + from.inner);
      }
    }
    return v;
  }

  Values index_copy(const Step& s) const {
    Values v = tensor(s, 0);
    const Values& index = tensor(s, 2);
    const Values& source = tensor(s, 3);
    const Span3 to = span_of(v.sizes, number(s.args[1]));
    const Span3 from = span_of(source.sizes, number(s.args[1]));
    for (std::int64_t o = 0; o < to.outer; ++o) {
      for (std::int64_t r = 0; r < from.along; ++r) {
        const auto row = static_cast<std::int64_t>(index.at[static_cast<std::size_t>(r)]);
        for (std::int64_t i = 0; i < to.inner; ++i) {
          v.at[static_cast<std::size_t>((o * to.along + row) * to.inner + i)] =
              source.at[static_cast<std::size_t>((o * from.along + r) * to.inner + i)];
        }
      }
    }
    return v;
  }

  Values attention(const Step& s) const {
    const Values& q = tensor(s, 0);
    const Values& k = tensor(s, 1);
    const Values& v = tensor(s, 2);
    const auto [heads, rows, size] = std::tuple(q.sizes[1], q.sizes[2], q.sizes[3]);
    const std::int64_t keys = k.sizes[2];
    const std::int64_t group = heads / k.sizes[1];
    const Argument* c = s.arg(5, "is_causal");
    const auto* causal = c != nullptr ? std::get_if<bool>(&c->scalar) : nullptr;
    std::vector<Real> mask(static_cast<std::size_t>(q.sizes[0] * heads * rows * keys), 0);
    if (const Argument* m = s.arg(3, "attn_mask"); m != nullptr && m->is_tensor()) {
      Step full = s;
      full.output = TensorDesc{DType::kF32, {q.sizes[0], heads, rows, keys}, {0, 0, 0, 0}};
      mask = operand(full, *m);
      const bool boolean = values_[static_cast<std::size_t>(m->tensors[0])].dtype == DType::kBool;
      for (Real& x : mask) {
        if (boolean) x = x != 0 ? 0 : -std::numeric_limits<Real>::infinity();
      }
    }
    constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
    Values out;
    for (std::int64_t row = 0; row < q.sizes[0] * heads * rows; ++row) {
      const std::int64_t kv = row / (heads * rows) * k.sizes[1] + row / rows % heads / group;
      std::vector<Real> score;
      Real most = -kInfinity;
      for (std::int64_t j = 0; j < keys; ++j) {
        std::vector<Real> terms;
        for (std::int64_t d = 0; d < size; ++d) {
          terms.push_back(q.at[static_cast<std::size_t>(row * size + d)] *
                          k.at[static_cast<std::size_t>((kv * keys + j) * size + d)]);
        }
        Real x = total(terms, q.dtype) / std::sqrt(static_cast<Real>(size));
        const Real term = mask[static_cast<std::size_t>(row * keys + j)];
        const bool later = causal != nullptr && *causal && j > row % rows;
        // An excluded key counts for nothing, or as eager has it for nothing times what it holds.
        const bool nothing = rounding_ == Rounding::kExact && term == -kInfinity;
        x = later || nothing ? -kInfinity : x + term;
        score.push_back(x);
        most = x != x ? x : std::max(most, x);
      }
      // A row that may look at nothing is zero, as LibTorch has it.
      const Real base = most == -kInfinity ? 0 : most;
      std::vector<bool> excluded;
      Real sum = 0;
      for (Real& x : score) {
        excluded.push_back(rounding_ == Rounding::kExact && x == -kInfinity);
        sum += x = std::exp(x - base);
      }
      if (sum == 0) sum = 1;
      for (std::int64_t d = 0; d < size; ++d) {
        std::vector<Real> terms;
        for (std::int64_t j = 0; j < keys; ++j) {
          if (excluded[static_cast<std::size_t>(j)]) continue;
          // Probabilities in the dtype of q, as eager multiplies them.
          const Real p = score[static_cast<std::size_t>(j)] / sum;
          terms.push_back((rounding_ == Rounding::kEager ? stored(p, q.dtype) : p) *
                          v.at[static_cast<std::size_t>((kv * keys + j) * size + d)]);
        }
        out.at.push_back(total(terms, q.dtype));
      }
    }
    return out;
  }

  /// Sum of terms: exact, or pairwise in the type that eager kernels accumulate in.
  Real total(const std::vector<Real>& terms, DType dtype) const {
    if (terms.empty()) return 0;
    std::vector<Real> t = terms;
    const DType type = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
    const bool rounds = rounding_ == Rounding::kEager && monograph::kernels::is_floating(dtype);
    while (t.size() > 1) {
      std::vector<Real> next;
      for (std::size_t i = 0; i + 1 < t.size(); i += 2) {
        next.push_back(rounds ? stored(t[i] + t[i + 1], type) : t[i] + t[i + 1]);
      }
      if (t.size() % 2 == 1) next.push_back(t.back());
      t = std::move(next);
    }
    return t[0];
  }

  Real reduced_value(const Values& x, const std::vector<std::size_t>& at,
                     const std::string& name) const {
    std::vector<Real> terms;
    std::size_t best = 0;
    const bool largest = name == "amax" || name == "argmax";
    for (std::size_t k = 0; k < at.size(); ++k) {
      const Real v = x.at[at[k]];
      const Real b = x.at[at[best]];
      terms.push_back(v);
      if (b == b && (v != v || (largest ? v > b : v < b))) best = k;
    }
    if (name == "sum") return total(terms, x.dtype);
    if (name == "mean") return total(terms, x.dtype) / static_cast<Real>(at.size());
    if (name == "argmax" || name == "argmin") return static_cast<Real>(best);
    return x.at[at[best]];
  }

  Values reduce(const Step& s, const std::string& name) const {
    const Values& x = tensor(s, 0);
    Values v;
    rows(x.sizes, reduced_dims(s.arg(1, "dim"), x.sizes.size()),
         [&](const auto& at) { v.at.push_back(reduced_value(x, at, name)); });
    return v;
  }

  const Call& call_;
  const Body& body_;
  Rounding rounding_;
  std::vector<Values> values_;
};

Real unit(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 0x1p-11L;
    case DType::kBF16:
      return 0x1p-8L;
    case DType::kF32:
      return 0x1p-24L;
    case DType::kF64:
      return 0x1p-53L;
    default:
      return 0;
  }
}

/// The k first of each row by `before`: NaN counts as the largest number, the earlier of equals
/// comes first. Nothing is computed, so nothing rounds.
std::vector<Values> top_k(const Call& call, const Values& x) {
  const auto k = static_cast<std::size_t>(std::get<std::int64_t>(call.args[1].scalar));
  const auto* given = call.arg(3, "largest");
  const bool largest = given == nullptr || std::get<bool>(given->scalar);
  const auto n = static_cast<std::size_t>(x.sizes.back());
  std::vector<Values> out;
  for (const auto& desc : call.outputs) out.push_back({desc.dtype, desc.sizes, {}});
  for (std::size_t first = 0; first < x.at.size(); first += n) {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto above = [](Real a, Real b) { return std::isnan(a) ? !std::isnan(b) : a > b; };
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const Real u = x.at[first + a];
      const Real v = x.at[first + b];
      return largest ? above(u, v) : above(v, u);
    });
    for (std::size_t i = 0; i < k; ++i) {
      out[0].at.push_back(x.at[first + order[i]]);
      out[1].at.push_back(static_cast<Real>(order[i]));
    }
  }
  return out;
}

}  // namespace

std::vector<Values> reference(const Call& call, const std::vector<Values>& inputs,
                              Rounding rounding) {
  if (call.op == "aten.topk.default") return top_k(call, inputs[0]);
  if (call.op == "monograph.batched_copy") return inputs;
  const Body own = call.body ? Body{} : monograph::kernels::fusion::body_of(call);
  return Interpreter(call, call.body ? *call.body : own, inputs, rounding).run();
}

std::vector<Values> reference_effects(const Call& call, const std::vector<Values>& inputs,
                                      Rounding rounding) {
  if (!call.body) return {};
  Call all = call;
  Body body = *call.body;
  body.outputs.clear();
  all.outputs.clear();
  for (std::size_t s = 0; s < body.steps.size(); ++s) {
    if (!monograph::kernels::fusion::writes_state(body.steps[s])) continue;
    body.outputs.push_back(static_cast<std::int32_t>(call.inputs.size() + s));
    all.outputs.push_back(body.steps[s].output);
  }
  return Interpreter(all, body, inputs, rounding).run();
}

std::string compare(const Values& got, const Values& exact, const Values& eager, Real magnitude) {
  Real ours = 0;
  Real theirs = 0;
  Real size = magnitude;
  Real worst = 0;
  std::size_t worst_at = 0;
  std::size_t n = 0;
  for (std::size_t i = 0; i < got.at.size(); ++i) {
    const Real want = stored(exact.at[i], got.dtype);
    const bool integer = !monograph::kernels::is_floating(got.dtype);
    if (integer && !(std::fabs(exact.at[i]) < 0x1p31L)) continue;
    const bool eager_odd = !std::isfinite(eager.at[i]) || !std::isfinite(want);
    if (eager_odd &&
        (std::isnan(got.at[i]) == std::isnan(want) && (std::isnan(want) || got.at[i] == want))) {
      continue;
    }
    // Where intermediate results overflow in eager, either answer will do.
    const bool both = std::isnan(got.at[i]) ? std::isnan(eager.at[i]) : got.at[i] == eager.at[i];
    if (eager_odd && both) continue;
    if (!std::isfinite(want) || !std::isfinite(got.at[i])) {
      return fmt::format("element {}: {} instead of {} (eager {})", i, double(got.at[i]),
                         double(want), double(eager.at[i]));
    }
    const Real error = std::fabs(got.at[i] - exact.at[i]);
    ours += error * error;
    if (!eager_odd) theirs += (eager.at[i] - exact.at[i]) * (eager.at[i] - exact.at[i]);
    size = std::max(size, std::fabs(exact.at[i]));
    if (error > worst) {
      worst = error;
      worst_at = i;
    }
    ++n;
  }
  if (n == 0) return {};
  const Real factor = monograph::kernels::is_half(got.dtype) ? 3 : 2;
  ours = std::sqrt(ours / static_cast<Real>(n));
  // Approximate functions of the device are good to a few units in the last place.
  const Real floor = 4 * unit(got.dtype == DType::kF64 ? DType::kF64 : got.dtype) * size;
  const Real allowed = std::max(factor * std::sqrt(theirs / static_cast<Real>(n)), floor);
  if (ours <= allowed && worst <= 16 * std::max(allowed, floor)) return {};
  return fmt::format(
      "root mean square error {:.3g}, allowed {:.3g}; element {}: {} instead of {} (eager {})",
      double(ours), double(allowed), worst_at, double(got.at[worst_at]), double(exact.at[worst_at]),
      double(eager.at[worst_at]));
}

}  // namespace kernels_test
