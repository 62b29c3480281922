// Products of matrices as cuBLASLt does them.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/fusion/program.h"
#include "runtime/cuda/library/body.h"

namespace monograph::cuda {
namespace {

using detail::Chain;
using detail::number;
using detail::Source;
using detail::view_strides;
using kernels::Argument;
using kernels::DType;
using kernels::Step;
using kernels::TensorDesc;
using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();

bool is_product(std::string_view op) {
  return op == "aten.linear.default" || op == "aten.mm.default" || op == "aten.bmm.default" ||
         op == "aten.matmul.default" || op == "aten.addmm.default" || op == "aten.baddbmm.default";
}

bool suits(DType dtype) {
  return kernels::is_floating(dtype);
}

std::int64_t product(const Sizes& sizes, std::size_t begin, std::size_t end) {
  std::int64_t n = 1;
  for (std::size_t i = begin; i < end; ++i) n *= sizes[i];
  return n;
}

/// `desc` broadcast to `sizes`: strides 0 where it is repeated. nullopt if it can't be.
std::optional<TensorDesc> expanded(const TensorDesc& desc, const Sizes& sizes) {
  if (desc.sizes.size() > sizes.size()) return std::nullopt;
  TensorDesc out = desc;
  out.sizes = sizes;
  out.strides.assign(sizes.size(), 0);
  const std::size_t lead = sizes.size() - desc.sizes.size();
  for (std::size_t d = 0; d < desc.sizes.size(); ++d) {
    if (desc.sizes[d] == 1) continue;
    if (desc.sizes[d] != sizes[lead + d]) return std::nullopt;
    out.strides[lead + d] = desc.strides[d];
  }
  return out;
}

/// A matrix of rows and columns at the given strides as a layout; nullopt if neither has stride 1,
/// or if rows overlap.
std::optional<MatrixLayout> layout(const TensorDesc& desc, std::int64_t rows, std::int64_t columns,
                                   std::int64_t row_stride, std::int64_t column_stride) {
  MatrixLayout l{desc.dtype, false, 0, 0, desc.alignment};
  if (columns == 1 || column_stride == 1) {
    l.ld = rows == 1 ? columns : row_stride;
    if (l.ld >= columns) return l;
  }
  if (rows == 1 || row_stride == 1) {
    l.by_columns = true;
    l.ld = columns == 1 ? rows : column_stride;
    if (l.ld >= rows) return l;
  }
  return std::nullopt;
}

/// `desc` as `batch` matrices.
std::optional<MatrixLayout> matrices(const TensorDesc& desc, std::int64_t batch, std::int64_t rows,
                                     std::int64_t columns) {
  const auto strides = view_strides(desc.sizes, desc.strides, {batch, rows, columns});
  if (!strides) return std::nullopt;
  auto l = layout(desc, rows, columns, (*strides)[1], (*strides)[2]);
  if (l) l->batch_stride = batch == 1 ? 0 : (*strides)[0];
  return l;
}

class Matcher {
 public:
  Matcher(const kernels::Call& call, const kernels::Body& body, std::string* why)
      : chain_(call, body), why_(why) {}

  std::optional<LibraryMatch> run() {
    if (!chain_.find_core(is_product, why_) || !read_product(chain_.core())) return std::nullopt;
    const auto take = [this](const Step& step) { return read_step(step); };
    if (!chain_.walk(take, why_) || !finish()) return std::nullopt;
    return LibraryMatch{p_, places_};
  }

 private:
  bool refuse(std::string why) const { return Chain::refuse(why_, std::move(why)); }

  bool read_product(const Step& step) {
    const bool adds = step.op == "aten.addmm.default" || step.op == "aten.baddbmm.default";
    const bool linear = step.op == "aten.linear.default";
    const std::size_t first = adds ? 1 : 0;
    const auto a = chain_.source(step.arg(first, ""));
    auto b = chain_.source(step.arg(first + 1, ""));
    if (!a || !b) return refuse("an operand is computed in the same launch");
    if (linear && b->desc.sizes.size() == 2) {  // a weight has a row for each result
      std::swap(b->desc.sizes[0], b->desc.sizes[1]);
      std::swap(b->desc.strides[0], b->desc.strides[1]);
    }
    if (!suits(a->desc.dtype) || a->desc.dtype != b->desc.dtype ||
        step.output.dtype != a->desc.dtype) {
      return refuse("dtype " + std::string(kernels::dtype_name(a->desc.dtype)));
    }
    if (!read_sizes(*a, *b, step.output)) return false;
    out_ = step.output;
    places_[kFirst] = a->place();
    places_[kSecond] = b->place();
    p_.constant_b = b->desc.constant;
    if (linear) {
      const Argument* bias = step.arg(2, "bias");
      return bias == nullptr || bias->tensors.empty() || read_addend(bias, 1);
    }
    return !adds || read_scaled_addend(step);
  }

  /// addmm and baddbmm: beta * C + alpha * A B.
  bool read_scaled_addend(const Step& step) {
    const auto factor = [&](std::size_t i, const char* name) {
      const Argument* a = step.arg(i, name);
      return a == nullptr ? 1.0 : number(a).value_or(1);
    };
    p_.alpha = factor(4, "alpha");
    const double beta = factor(3, "beta");
    return beta == 0 || read_addend(&step.args[0], beta);
  }

  /// Rows and batches: leading dimensions of A are rows as far as memory lets them be.
  bool read_sizes(const Source& a, const Source& b, const TensorDesc& d) {
    const Sizes& sa = a.desc.sizes;
    const Sizes& sb = b.desc.sizes;
    if (sa.size() < 2 || sb.size() < 2) return refuse("a vector");
    if (!d.is_contiguous() || d.numel() == 0) return refuse("layout of the result");
    p_.k = sa.back();
    p_.n = sb.back();
    if (p_.k == 0 || sb[sb.size() - 2] != p_.k) return refuse("nothing to sum over");
    const std::size_t rank = d.sizes.size();
    if (rank < 2) return refuse("a vector");
    const std::int64_t rows = d.numel() / p_.n;
    const bool one_b = product(sb, 0, sb.size() - 2) == 1;
    if (one_b && set_layouts(a, b, d, 1, rows)) return in_range();
    const std::int64_t m = d.sizes[rank - 2];
    if (one_b && rank > 2 && set_layouts(a, b, d, product(d.sizes, 0, 1), rows / d.sizes[0])) {
      return in_range();
    }
    if (set_layouts(a, b, d, rows / m, m)) return in_range();
    return refuse("strides that are no matrices'");
  }

  bool in_range() const {
    const bool fits = std::max({p_.m, p_.n, p_.k, p_.batch, p_.a.ld, p_.b.ld}) <= kLargest;
    return fits || refuse("a size beyond 31 bits");
  }

  bool set_layouts(const Source& a, const Source& b, const TensorDesc& d, std::int64_t batch,
                   std::int64_t m) {
    Sizes lead(d.sizes.begin(), d.sizes.end() - 2);
    const auto full = [&lead](std::int64_t rows, std::int64_t columns) {
      Sizes s = lead;
      s.push_back(rows);
      s.push_back(columns);
      return s;
    };
    const std::int64_t own_rows = d.sizes[d.sizes.size() - 2];
    const auto ea = expanded(a.desc, full(own_rows, p_.k));
    const bool one_b = product(b.desc.sizes, 0, b.desc.sizes.size() - 2) == 1;
    if (!ea) return false;
    const auto la = matrices(*ea, batch, m, p_.k);
    std::optional<MatrixLayout> lb;
    if (one_b) {
      lb = matrices(b.desc, 1, p_.k, p_.n);
    } else if (const auto eb = expanded(b.desc, full(p_.k, p_.n))) {
      lb = matrices(*eb, batch, p_.k, p_.n);
    }
    const auto ld = matrices(d, batch, m, p_.n);
    if (!la || !lb || !ld || ld->by_columns) return false;
    p_.m = m;
    p_.batch = batch;
    p_.a = *la;
    p_.b = *lb;
    p_.d = *ld;
    return true;
  }

  /// What is added to the product: a vector along the columns is the bias, a whole matrix C.
  bool read_addend(const Argument* argument, double factor) {
    const auto other = chain_.source(argument);
    if (!other) return refuse("a sum with something computed in the same launch");
    if (p_.activation != Activation::kNone) return refuse("a sum after the activation");
    if (other->desc.dtype != out_.dtype) return refuse("a sum with another dtype");
    const auto e = expanded(other->desc, out_.sizes);
    if (!e) return refuse("a sum that is broadcast");
    const bool vector = std::all_of(e->strides.begin(), e->strides.end() - 1,
                                    [](std::int64_t s) { return s == 0; }) &&
                        (e->strides.back() == 1 || p_.n == 1) && p_.m * p_.batch > 1;
    if (vector && factor == 1 && !p_.has_bias && out_.dtype != DType::kF64) {
      p_.has_bias = true;
      places_[kBias] = other->place();
      return true;
    }
    if (p_.has_c) return refuse("two sums");
    const auto c = matrices(*e, p_.batch, p_.m, p_.n);
    if (!c || c->by_columns || (p_.m > 1 && c->ld < p_.n)) return refuse("layout of a sum");
    p_.has_c = true;
    p_.c = *c;
    p_.beta = factor;
    places_[kAddend] = other->place();
    return true;
  }

  bool read_step(const Step& step) {
    if (cast_) return refuse(step.op + " after a cast");
    if (step.op == "aten.add.Tensor" || step.op == "aten.sub.Tensor") return read_sum(step);
    if (step.op == "aten.mul.Tensor" || step.op == "aten.div.Tensor") return read_factor(step);
    if (step.op == "aten.relu.default") return read_activation(Activation::kRelu);
    if (step.op == "aten.gelu.default") {
      const Argument* form = step.arg(1, "approximate");
      const auto* name = form == nullptr ? nullptr : std::get_if<std::string>(&form->scalar);
      if (name == nullptr || *name != "tanh") return refuse("GELU by erf, which cuBLASLt hasn't");
      return read_activation(Activation::kGeluTanh);
    }
    if (step.op == "aten._to_copy.default" || step.op == "aten.to.dtype") return read_cast(step);
    return refuse(step.op + " after the product");
  }

  bool read_sum(const Step& step) {
    if (step.args.size() < 2 || step.output.dtype != out_.dtype) return refuse("form of the sum");
    const bool first = chain_.is_value(step.args[0]);
    const Argument* scale = step.arg(2, "alpha");
    double factor = scale == nullptr ? 1 : number(scale).value_or(1);
    if (step.op == "aten.sub.Tensor") factor = -factor;
    if (!first && factor != 1) return refuse("a product that is scaled and added");
    if (step.output.numel() != out_.numel()) return refuse("a sum that is broadcast");
    // Views before may have given the result other dimensions, which the addend's go with.
    out_ = step.output;
    if (out_.sizes.empty() || out_.sizes.back() != p_.n) return refuse("a sum over other columns");
    return read_addend(&step.args[first ? 1 : 0], factor);
  }

  bool read_factor(const Step& step) {
    const auto factor = number(step.arg(1, "other"));
    if (!factor || !chain_.is_value(step.args[0])) return refuse("a factor that is a tensor");
    if (p_.has_bias || p_.has_c || p_.activation != Activation::kNone ||
        step.output.dtype != out_.dtype) {
      return refuse("a factor after a sum or an activation");
    }
    p_.alpha *= step.op == "aten.mul.Tensor" ? *factor : 1 / *factor;
    return true;
  }

  bool read_activation(Activation a) {
    if (p_.activation != Activation::kNone) return refuse("two activations");
    if (out_.dtype == DType::kF64) return refuse("an activation in f64");
    p_.activation = a;
    return true;
  }

  /// From halves to f32, whose bias would have to be f32.
  bool read_cast(const Step& step) {
    if (step.output.dtype == out_.dtype) return true;
    if (!kernels::is_half(out_.dtype) || step.output.dtype != DType::kF32) {
      return refuse("a cast to " + std::string(kernels::dtype_name(step.output.dtype)));
    }
    if (p_.has_bias || p_.has_c || p_.activation != Activation::kNone) {
      return refuse("a cast after a sum or an activation");
    }
    cast_ = true;
    p_.d.dtype = DType::kF32;
    return true;
  }

  bool finish() {
    places_[kResult].input = OperandPlace::kOutput;
    p_.d.alignment = 16;
    return true;
  }

  Chain chain_;
  std::string* why_;
  MatmulProblem p_;
  TensorDesc out_;  ///< the chain's value so far
  bool cast_ = false;
  std::array<OperandPlace, kOperands> places_;
};

}  // namespace

std::optional<LibraryMatch> match_matmul(const kernels::Call& call, std::string* why) {
  const kernels::Body own = call.body ? kernels::Body{} : kernels::fusion::body_of(call);
  return Matcher(call, call.body ? *call.body : own, why).run();
}

std::optional<LibraryMatch> match_library(const kernels::Call& call, std::string* why) {
  if (auto m = match_matmul(call, why)) return m;
  std::string other;
  if (auto m = match_convolution(call, &other)) return m;
  if (*why == "nothing that a library does") *why = other;
  return std::nullopt;
}

}  // namespace monograph::cuda
