// Convolutions over two dimensions as cuDNN does them.
#include <array>
#include <utility>

#include "kernels/fusion/program.h"
#include "runtime/cuda/library/body.h"

namespace monograph::cuda {
namespace {

using detail::Chain;
using detail::number;
using detail::Source;
using kernels::Argument;
using kernels::DType;
using kernels::Step;
using kernels::TensorDesc;

constexpr std::size_t kRank = 4;

bool is_convolution(std::string_view op) {
  return op == "aten.conv2d.default" || op == "aten.convolution.default";
}

/// Whether the elements lie row-major in the order of dimensions `order`, outermost first.
bool lies(const TensorDesc& t, const std::array<std::size_t, kRank>& order) {
  std::int64_t step = 1;
  for (std::size_t i = kRank; i-- > 0;) {
    const std::size_t d = order[i];
    if (t.sizes[d] != 1 && t.strides[d] != step) return false;
    step *= t.sizes[d];
  }
  return true;
}
bool channels_last(const TensorDesc& t) {
  return lies(t, {0, 2, 3, 1});
}

/// Two numbers, or one for both dimensions.
bool read_pair(const Argument* a, std::int64_t (&out)[2]) {
  if (a == nullptr) return true;  // the default
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&a->scalar)) {
    if (list->empty() || list->size() > 2) return false;
    out[0] = list->front();
    out[1] = list->back();
    return true;
  }
  const auto* one = std::get_if<std::int64_t>(&a->scalar);
  if (one != nullptr) out[0] = out[1] = *one;
  return one != nullptr;
}

class Matcher {
 public:
  Matcher(const kernels::Call& call, const kernels::Body& body, std::string* why)
      : chain_(call, body), why_(why) {}

  std::optional<LibraryMatch> run() {
    if (!chain_.find_core(is_convolution, why_) || !read_core(chain_.core())) return std::nullopt;
    const auto take = [this](const Step& step) { return read_step(step); };
    if (!chain_.walk(take, why_) || !read_layout()) return std::nullopt;
    places_[kResult].input = OperandPlace::kOutput;
    return LibraryMatch{p_, places_};
  }

 private:
  bool refuse(std::string why) const { return Chain::refuse(why_, std::move(why)); }

  bool read_core(const Step& step) {
    const auto x = chain_.source(step.arg(0, "input"));
    const auto w = chain_.source(step.arg(1, "weight"));
    if (!x || !w) return refuse("an operand is computed in the same launch");
    x_ = x->desc;
    w_ = w->desc;
    y_ = step.output;
    if (x_.sizes.size() != kRank || w_.sizes.size() != kRank || y_.sizes.size() != kRank ||
        y_.numel() == 0 || x_.numel() == 0) {
      return refuse("other than two dimensions");
    }
    p_.dtype = x_.dtype;
    if (x_.dtype != w_.dtype || y_.dtype != x_.dtype ||
        !(kernels::is_half(x_.dtype) || x_.dtype == DType::kF32)) {
      return refuse("dtype " + std::string(kernels::dtype_name(x_.dtype)));
    }
    places_[kFirst] = x->place();
    places_[kSecond] = w->place();
    return read_geometry(step) && read_bias(step.arg(2, "bias"));
  }

  bool read_geometry(const Step& step) {
    const bool general = step.op == "aten.convolution.default";
    if (!read_pair(step.arg(3, "stride"), p_.stride) ||
        !read_pair(step.arg(4, "padding"), p_.padding) ||
        !read_pair(step.arg(5, "dilation"), p_.dilation)) {
      return refuse("form of the convolution");
    }
    const Argument* transposed = general ? step.arg(6, "transposed") : nullptr;
    if (transposed != nullptr && number(transposed).value_or(1) != 0) {
      return refuse("a transposed convolution");
    }
    const Argument* groups = step.arg(general ? 8 : 6, "groups");
    p_.groups = groups == nullptr ? 1 : static_cast<std::int64_t>(number(groups).value_or(0));
    if (p_.groups < 1) return refuse("form of the convolution");
    p_.n = x_.sizes[0];
    p_.c = x_.sizes[1];
    p_.h = x_.sizes[2];
    p_.w = x_.sizes[3];
    p_.k = w_.sizes[0];
    p_.r = w_.sizes[2];
    p_.s = w_.sizes[3];
    p_.p = y_.sizes[2];
    p_.q = y_.sizes[3];
    return true;
  }

  bool read_bias(const Argument* argument) {
    if (argument == nullptr || argument->tensors.empty()) return true;
    const auto bias = chain_.source(argument);
    if (!bias || bias->desc.dtype != p_.dtype || !bias->desc.is_contiguous()) {
      return refuse("form of the bias");
    }
    p_.has_bias = true;
    places_[kBias] = bias->place();
    return true;
  }

  bool read_step(const Step& step) {
    if (p_.activation != Activation::kNone) return refuse(step.op + " after the activation");
    if (step.output.dtype != p_.dtype) return refuse("a cast");
    if (step.op == "aten.relu.default") {
      p_.activation = Activation::kRelu;
      y_ = step.output;
      return true;
    }
    if (step.op != "aten.add.Tensor" || step.args.size() < 2) {
      return refuse(step.op + " after the convolution");
    }
    const bool first = chain_.is_value(step.args[0]);
    const auto z = chain_.source(&step.args[first ? 1 : 0]);
    const Argument* scale = step.arg(2, "alpha");
    p_.alpha_z = scale == nullptr ? 1 : number(scale).value_or(0);
    if (!z || p_.has_z || z->desc.sizes != y_.sizes || z->desc.dtype != p_.dtype ||
        (!first && p_.alpha_z != 1)) {
      return refuse("form of the sum");
    }
    p_.has_z = true;
    z_ = z->desc;
    y_ = step.output;
    places_[kAddend] = z->place();
    return true;
  }

  bool read_layout() {
    const auto all = [this](auto&& holds) {
      return holds(x_) && holds(w_) && holds(y_) && (!p_.has_z || holds(z_));
    };
    p_.channels_last = all(channels_last);
    return p_.channels_last || all([](const TensorDesc& t) { return t.is_contiguous(); }) ||
           refuse("operands of several layouts");
  }

  Chain chain_;
  std::string* why_;
  ConvolutionProblem p_;
  TensorDesc x_, w_, y_, z_;
  std::array<OperandPlace, kOperands> places_;
};

}  // namespace

std::optional<LibraryMatch> match_convolution(const kernels::Call& call, std::string* why) {
  const kernels::Body own = call.body ? kernels::Body{} : kernels::fusion::body_of(call);
  return Matcher(call, call.body ? *call.body : own, why).run();
}

}  // namespace monograph::cuda
