#include "kernels/fusion/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "kernels/elementwise/elementwise.h"
#include "kernels/fusion/definitions.h"

namespace monograph::kernels::fusion {
namespace {

constexpr const char* kLinear = "aten.linear.default";

/// Reads a call's body.
class Finder {
 public:
  Finder(const Call& call, const Body& body, std::string* why)
      : call_(call), body_(body), why_(why) {}

  std::optional<LinearCall> run() {
    const Step* linear = nullptr;
    for (std::size_t s = 0; s < body_.steps.size(); ++s) {
      if (writes_state(body_.steps[s])) return no("it writes state");
      if (body_.steps[s].op != kLinear) continue;
      if (linear != nullptr) return no("several products");
      linear = &body_.steps[s];
      value_ = static_cast<std::int32_t>(call_.inputs.size() + s);
    }
    if (linear == nullptr) return no("no product");
    if (!read_weight(*linear) || !read_x(linear->args[0].tensors.front())) return std::nullopt;
    if (!read_epilogue(*linear)) return std::nullopt;
    return out_;
  }

 private:
  std::nullopt_t no(std::string why) {
    *why_ = std::move(why);
    return std::nullopt;
  }
  bool refuse(std::string why) {
    *why_ = std::move(why);
    return false;
  }

  bool is_input(std::int32_t v) const { return static_cast<std::size_t>(v) < call_.inputs.size(); }
  const Step& step_of(std::int32_t v) const {
    return body_.steps[static_cast<std::size_t>(v) - call_.inputs.size()];
  }
  const TensorDesc& desc(std::int32_t v) const {
    return is_input(v) ? call_.inputs[static_cast<std::size_t>(v)] : step_of(v).output;
  }
  static bool has_tensor(const Argument* a) { return a != nullptr && a->is_tensor(); }

  bool read_weight(const Step& linear) {
    if (linear.args.size() < 2 || !linear.args[0].is_tensor() || !linear.args[1].is_tensor()) {
      return refuse("operands");
    }
    out_.weight = linear.args[1].tensors.front();
    if (!is_input(out_.weight)) return refuse("the weight is computed");
    const TensorDesc& w = desc(out_.weight);
    if (w.sizes.size() != 2 || w.numel() == 0) return refuse("the weight is no matrix");
    out_.dtype = w.dtype;
    if (!is_half(w.dtype) && w.dtype != DType::kF32) return refuse("dtype of the weight");
    out_.units = w.sizes[0];
    out_.k = w.sizes[1];
    out_.stride = w.strides[0];
    if (w.sizes[1] > 1 && w.strides[1] != 1) return refuse("the weight is transposed");
    if (has_tensor(linear.arg(2, "bias"))) {
      out_.bias = linear.arg(2, "bias")->tensors.front();
      if (!is_input(out_.bias) || desc(out_.bias).strides.back() != 1 ||
          desc(out_.bias).dtype != out_.dtype) {
        return refuse("layout of the bias");
      }
    }
    return true;
  }

  /// x is an input, a view of all of one, or a normalisation of such.
  bool read_x(std::int32_t v) {
    while (!is_input(v)) {
      const Step& s = step_of(v);
      const bool norm = s.op == "aten.rms_norm.default" || s.op == "aten.layer_norm.default";
      if (norm && out_.norm == LinearCall::Norm::kNone) {
        if (!read_norm(s)) return false;
        v = s.args[0].tensors.front();
        continue;
      }
      const bool whole = s.alias >= 0 && s.offset == 0 && s.output.is_contiguous() &&
                         desc(s.alias).is_contiguous() && s.output.numel() == desc(s.alias).numel();
      if (!whole) return refuse(s.op + " before the product");
      v = s.alias;
    }
    out_.x = v;
    const TensorDesc& x = desc(v);
    if (!x.is_contiguous()) return refuse("x is not contiguous");
    if (x.dtype != out_.dtype) return refuse("x and the weight have different dtypes");
    out_.m = x.numel() / out_.k;
    return out_.m > 0 || refuse("no vectors");
  }

  bool read_norm(const Step& s) {
    const bool layer = s.op == "aten.layer_norm.default";
    const auto* shape = std::get_if<std::vector<std::int64_t>>(&s.args[1].scalar);
    if (shape == nullptr || shape->size() != 1 || shape->front() != out_.k) {
      return refuse("a normalisation of other dimensions");
    }
    const Argument* weight = s.arg(2, "weight");
    const Argument* bias = layer ? s.arg(3, "bias") : nullptr;
    const Argument* eps = s.arg(layer ? 4 : 3, "eps");
    if (!has_tensor(weight)) return refuse("a normalisation without weight");
    if (eps == nullptr || !std::holds_alternative<double>(eps->scalar)) {
      if (!layer) return refuse("a normalisation without epsilon");
    }
    out_.norm = layer ? LinearCall::Norm::kLayer : LinearCall::Norm::kRms;
    out_.norm_weight = weight->tensors.front();
    if (has_tensor(bias)) out_.norm_bias = bias->tensors.front();
    out_.epsilon = real(eps, 1e-5);
    for (const std::int32_t t : {out_.norm_weight, out_.norm_bias}) {
      if (t < 0) continue;
      if (!is_input(t) || desc(t).dtype != out_.dtype || !desc(t).is_contiguous()) {
        return refuse("layout of the normalisation's weight");
      }
    }
    return true;
  }

  bool read_epilogue(const Step& linear) {
    std::int64_t narrowest = out_.units;
    for (const Step& s : body_.steps) {
      if (s.alias == value_ && !s.output.sizes.empty()) {
        narrowest = std::min(narrowest, s.output.sizes.back());
      }
    }
    // Views that split the last dimension into heads say nothing about parts.
    const bool sliced = std::ranges::any_of(body_.steps, [&](const Step& s) {
      return s.alias == value_ && s.output.numel() < linear.output.numel();
    });
    if (sliced) {
      if (narrowest == 0 || out_.units % narrowest != 0) return refuse("unequal slices");
      out_.parts = out_.units / narrowest;
      out_.units = narrowest;
    }
    if (out_.parts > 2) return refuse("more than two slices");
    Wanted all;
    for (std::size_t o = 0; o < call_.outputs.size(); ++o) all.outputs.push_back(o);
    Builder builder(call_, body_, std::move(all), External{value_, out_.parts});
    auto program = builder.run();
    if (!program) return refuse(builder.reason());
    for (const Node& n : program->nodes) {
      if (n.kind == Node::Kind::kReduce) return refuse("a reduction after the product");
    }
    for (const Operand& o : program->loads) {
      if (o.tensor == Operand::kCoordinate || !o.gathers.empty()) {
        return refuse("a lookup or concatenation after the product");
      }
    }
    std::int64_t elements = 1;
    for (const std::int64_t a : program->axes) elements *= a;
    if (elements != out_.m * out_.units) return refuse("results of another shape");
    out_.epilogue = std::move(*program);
    return true;
  }

  const Call& call_;
  const Body& body_;
  std::string* why_;
  std::int32_t value_ = -1;
  LinearCall out_;
};

/// What comes after the product for `width` neighbouring units, offsets once for all; `packed`
/// also loads their biases at once.
std::string epilogue_body(const LinearCall& linear, int width, bool packed = false) {
  const Program& p = linear.epilogue;
  const bool wide = needs_wide_index(p);
  const Space space = collapse(p, false);
  std::string s = fmt::format("    const {0} i = static_cast<{0}>(m) * {1} + n;\n",
                              wide ? "long long" : "int", linear.units);
  s += offset_lines(space, "i", wide, "o", std::vector<bool>(space.strides.size(), true));
  for (std::size_t i = 0; width > 1 && i < p.stores.size(); ++i) {
    s += fmt::format("    mg::Pack<{}, {}> r{};\n", device_type(p.stores[i].operand.dtype), width,
                     i);
  }
  for (std::int64_t part = 0; packed && part < linear.parts; ++part) {
    s += fmt::format("    const auto b{0} = mg::load_pack<{1}, {2}>(in{3} + n + {4});\n", part,
                     device_type(linear.dtype), width, linear.bias, part * linear.units);
  }
  if (width > 1) s += fmt::format("#pragma unroll\n    for (int e = 0; e < {}; ++e) {{\n", width);
  const auto place = [&](std::size_t operand) {
    const std::int64_t stride = space.strides[operand].back();
    return fmt::format("o{}", operand) + (width > 1 ? fmt::format(" + e * {}", stride) : "");
  };
  for (std::size_t n = 0; n < p.nodes.size(); ++n) {
    const Node& node = p.nodes[n];
    std::string value;
    if (node.kind == Node::Kind::kExternal) {
      value = fmt::format("acc{}[{}]", width > 1 ? "[e]" : "", node.part);
      if (linear.bias >= 0 && packed) {
        value += fmt::format(" + mg::convert<float>(b{}.v[e])", node.part);
      } else if (linear.bias >= 0) {
        value += fmt::format(" + mg::convert<float>(in{}[n + {}{}])", linear.bias,
                             node.part * linear.units, width > 1 ? " + e" : "");
      }
    } else if (node.kind == Node::Kind::kLoad) {
      const auto operand = static_cast<std::size_t>(node.operand);
      value = fmt::format("mg::convert<{}>({}[{}])", type_text(node.type),
                          pointer(p.loads[operand], false), place(operand));
    } else {
      std::vector<std::string> names;
      for (const int a : node.args) names.push_back(fmt::format("v{}", a));
      value = value_text(p, node, names);
    }
    s += fmt::format("    const {} v{} = {};\n", type_text(node.type), n, value);
  }
  std::string packs;
  for (std::size_t i = 0; i < p.stores.size(); ++i) {
    const Store& store = p.stores[i];
    const std::string_view type = device_type(store.operand.dtype);
    const std::string to = pointer(store.operand, true);
    const std::size_t o = p.loads.size() + i;
    s += width > 1 ? fmt::format("    r{}.v[e]", i) : fmt::format("    {}[o{}]", to, o);
    s += fmt::format(" = mg::convert<{}>(v{});\n", type, store.node);
    packs += fmt::format("    mg::store_pack<{}, {}>({} + o{}, r{});\n", type, width, to, o, i);
  }
  return width > 1 ? s + "    }\n" + packs : s;
}

/// `pair`: the same for units n and n + 1 of a tile, of which the second may not exist.
std::string epilogue_pair(const Call& call, const LinearCall& linear) {
  std::string s = fmt::format(
      "  __device__ __forceinline__ void pair(int m, int n, const float (&acc)[2][{}]) const {{\n",
      linear.parts);
  const Space space = collapse(linear.epilogue, false);
  const bool even = linear.units % 2 == 0 && space.sizes.back() % 2 == 0;
  if (even && vector_width(linear.epilogue, space, nullptr) > 1) {
    const bool packed =
        linear.bias >= 0 &&
        call.inputs[static_cast<std::size_t>(linear.bias)].alignment >= 2 * itemsize(linear.dtype);
    return s + epilogue_body(linear, 2, packed) + "  }\n";
  }
  return s + fmt::format(
                 "    (*this)(m, n, acc[0]);\n    if (n + 1 < {}) (*this)(m, n + 1, "
                 "acc[1]);\n  }}\n",
                 linear.units);
}

}  // namespace

std::optional<LinearCall> find_linear(const Call& call, std::string* why) {
  const Body own = call.body ? Body{} : body_of(call);
  if (!call.body && call.op != kLinear) {
    *why = "no product";
    return std::nullopt;
  }
  return Finder(call, call.body ? *call.body : own, why).run();
}

std::string linear_operand(const LinearCall& linear, std::int32_t tensor) {
  return tensor >= 0 ? fmt::format("in{}", tensor)
                     : fmt::format("static_cast<const {}*>(nullptr)", device_type(linear.dtype));
}

LinearSource linear_source(const Call& call, const LinearCall& linear, bool pairs) {
  LinearSource s;
  std::set<std::int32_t> in_epilogue;
  for (const Operand& o : linear.epilogue.loads) in_epilogue.insert(o.tensor);
  if (linear.bias >= 0) in_epilogue.insert(linear.bias);
  std::set<std::int32_t> used = in_epilogue;
  for (const std::int32_t t : {linear.x, linear.weight, linear.norm_weight, linear.norm_bias}) {
    if (t >= 0) used.insert(t);
  }
  const auto type = [&](std::int32_t t) {
    return device_type(call.inputs[static_cast<std::size_t>(t)].dtype);
  };
  std::string members;
  for (const std::int32_t t : used) {
    s.parameters += fmt::format("{}const {}* in{}", s.parameters.empty() ? "" : ", ", type(t), t);
    s.params.push_back(Param::input(t));
    if (!in_epilogue.contains(t)) continue;
    members += fmt::format("  const {}* in{};\n", type(t), t);
    s.arguments += fmt::format("{}in{}", s.arguments.empty() ? "" : ", ", t);
  }
  for (std::size_t o = 0; o < call.outputs.size(); ++o) {
    const std::string_view t = device_type(call.outputs[o].dtype);
    s.parameters += fmt::format(", {}* out{}", t, o);
    s.params.push_back(Param::output(static_cast<std::int32_t>(o)));
    members += fmt::format("  {}* out{};\n", t, o);
    s.arguments += fmt::format("{}out{}", s.arguments.empty() ? "" : ", ", o);
  }
  s.arguments = "Epilogue{" + s.arguments + "}";
  s.epilogue = "struct Epilogue {\n" + members +
               fmt::format(
                   "  __device__ __forceinline__ void operator()(int m, int n, const float "
                   "(&acc)[{}]) const {{\n",
                   linear.parts) +
               epilogue_body(linear, 1) + "  }\n" + (pairs ? epilogue_pair(call, linear) : "") +
               "};\n";
  return s;
}

std::string unaligned(const Call& call, const LinearCall& linear) {
  const std::int64_t size = itemsize(linear.dtype);
  if (linear.k * size % 16 != 0 || linear.stride * size % 16 != 0) {
    return "rows are no multiple of 16 bytes";
  }
  for (const std::int32_t t : {linear.x, linear.weight, linear.norm_weight, linear.norm_bias}) {
    if (t >= 0 && call.inputs[static_cast<std::size_t>(t)].alignment < 16) return "alignment";
  }
  return {};
}

Roofline linear_roofline(const Call&, const LinearCall& linear) {
  Roofline r = roofline(linear.epilogue);
  const auto size = static_cast<double>(itemsize(linear.dtype));
  const auto rows = static_cast<double>(linear.units * linear.parts);
  r.bytes += size * static_cast<double>(linear.k) * (rows + static_cast<double>(linear.m));
  r.flops = 2 * rows * static_cast<double>(linear.k) * static_cast<double>(linear.m);
  return r;
}

}  // namespace monograph::kernels::fusion
