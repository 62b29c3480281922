#include "tests/passes/interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string_view>

#include "capture/ir/analysis.h"
#include "capture/ir/text.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes::testing {
namespace {

using ir::Arg;
using ir::DType;
using ir::Node;
using ir::TensorType;

std::uint64_t scramble(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}
std::uint64_t mix(std::uint64_t seed, std::uint64_t value) {
  return scramble(seed ^ scramble(value));
}
std::uint64_t mix(std::uint64_t seed, double value) {
  return mix(seed, std::bit_cast<std::uint64_t>(value));
}
std::uint64_t hash(std::string_view s) {
  std::uint64_t h = s.size();
  for (const char c : s) h = mix(h, static_cast<std::uint64_t>(static_cast<unsigned char>(c)));
  return h;
}
/// A number in [-2, 2) with few bits, so that sums of products are exact.
double small(std::uint64_t h) {
  return static_cast<double>(static_cast<std::int64_t>(h % 64)) / 16 - 2;
}

double rounded(double x, DType dtype) {
  if (dtype == DType::kBool) return x != 0 ? 1 : 0;
  return ir::is_integral(dtype) ? std::trunc(x) : x;
}

std::int64_t count(const std::vector<std::int64_t>& sizes) {
  std::int64_t n = 1;
  for (const std::int64_t s : sizes) n *= s;
  return n;
}

/// Calls fn(linear index, byte address) for each element in row-major order.
template <class Fn>
void for_each_element(const TensorType& type, Fn&& fn) {
  std::vector<std::int64_t> at(type.sizes.size(), 0);
  const std::int64_t n = type.numel();
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t element = type.offset;
    for (std::size_t d = 0; d < at.size(); ++d) element += at[d] * type.strides[d];
    fn(static_cast<std::size_t>(i), static_cast<std::size_t>(element * ir::itemsize(type.dtype)));
    for (std::size_t d = at.size(); d-- > 0;) {
      if (++at[d] < type.sizes[d]) break;
      at[d] = 0;
    }
  }
}

bool broadcasts(const std::vector<std::int64_t>& from, const std::vector<std::int64_t>& to) {
  if (from.size() > to.size()) return false;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::int64_t f = from[from.size() - 1 - i];
    if (f != 1 && f != to[to.size() - 1 - i]) return false;
  }
  return true;
}

Tensor broadcast(const Tensor& t, const std::vector<std::int64_t>& sizes) {
  if (!broadcasts(t.sizes, sizes)) throw std::logic_error("operands don't broadcast");
  TensorType view;  // strides over t.elements, read as bytes
  view.dtype = DType::kU8;
  view.sizes = sizes;
  view.strides.assign(sizes.size(), 0);
  const auto own = ir::contiguous_strides(t.sizes);
  const std::size_t lead = sizes.size() - t.sizes.size();
  for (std::size_t d = 0; d < t.sizes.size(); ++d) {
    if (t.sizes[d] != 1) view.strides[lead + d] = own[d];
  }
  Tensor out{sizes, std::vector<double>(static_cast<std::size_t>(count(sizes)))};
  for_each_element(view, [&](std::size_t i, std::size_t at) { out.elements[i] = t.elements[at]; });
  return out;
}

template <class Fn>
Tensor pointwise(const std::vector<Tensor>& in, const std::vector<std::int64_t>& sizes, Fn&& fn) {
  std::vector<Tensor> wide;
  for (const Tensor& t : in) wide.push_back(broadcast(t, sizes));
  Tensor out{sizes, std::vector<double>(static_cast<std::size_t>(count(sizes)))};
  std::vector<double> values(in.size());
  for (std::size_t i = 0; i < out.elements.size(); ++i) {
    for (std::size_t k = 0; k < wide.size(); ++k) values[k] = wide[k].elements[i];
    out.elements[i] = fn(values);
  }
  return out;
}

/// Last two dimensions multiplied; b may be one matrix for all batches. `transposed`: b is [N,K].
Tensor product(const Tensor& a, const Tensor& b, bool transposed,
               const std::vector<std::int64_t>& sizes) {
  const std::int64_t k = a.sizes.back();
  const std::int64_t n = sizes.back();
  const std::int64_t rows = a.sizes.size() > 1 ? a.sizes[a.sizes.size() - 2] : 1;
  const bool batched = b.sizes.size() > 2 && count(b.sizes) != k * n;
  Tensor out{sizes, std::vector<double>(static_cast<std::size_t>(count(sizes)), 0)};
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(out.elements.size()); ++i) {
    const std::int64_t row = i / n, column = i % n;
    const std::int64_t base = batched ? row / rows * k * n : 0;
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int64_t at = base + (transposed ? column * k + j : j * n + column);
      out.elements[static_cast<std::size_t>(i)] +=
          a.elements[static_cast<std::size_t>(row * k + j)] *
          b.elements[static_cast<std::size_t>(at)];
    }
  }
  return out;
}

double number(const Arg& arg) {
  if (const auto* i = arg.get_if<std::int64_t>()) return static_cast<double>(*i);
  if (const auto* b = arg.get_if<bool>()) return *b ? 1 : 0;
  if (const auto* d = arg.get_if<double>()) return *d;
  throw std::logic_error("not a number: " + ir::text(arg));
}

/// Name and scalars of a call, the same for `op_`, `op` and every overload.
std::uint64_t identity(const Node& node, std::string_view op) {
  std::uint64_t h = hash(op);
  const auto scalar = [&h](const Arg& a) {
    bool tensors = false;
    ir::for_each_node(a, [&tensors](const Node*) { tensors = true; });
    h = mix(h, tensors ? 0 : hash(ir::text(a)));
  };
  for (const Arg& a : node.args()) scalar(a);
  for (const auto& [key, a] : node.kwargs()) scalar(a);
  return h;
}

std::string_view base_op(const Node& node) {
  const auto parts = split_target(node.target());
  std::string_view op = parts ? parts->op : std::string_view(node.target());
  if (op.ends_with('_')) op.remove_suffix(1);
  return op;
}

bool is_eval_dropout(const Node& node) {
  const Arg* train = find_arg(node, 2, "train");
  return base_op(node).ends_with("dropout") && train != nullptr && *train == Arg(false);
}

/// Linear combination a + alpha * b.
Tensor sum(const Node& node, std::vector<Tensor> in, double sign,
           const std::vector<std::int64_t>& sizes) {
  const Arg* alpha = node.kwarg("alpha");
  const double scale = sign * (alpha != nullptr ? number(*alpha) : 1);
  if (in.size() == 1) {
    const double b = number(node.args().at(1));
    return pointwise(in, sizes, [=](const std::vector<double>& v) { return v[0] + scale * b; });
  }
  return pointwise(in, sizes, [=](const std::vector<double>& v) { return v[0] + scale * v[1]; });
}

Tensor softmax(const Tensor& x) {
  Tensor out = x;
  const auto n = static_cast<std::size_t>(x.sizes.back());
  for (std::size_t row = 0; row < x.elements.size(); row += n) {
    double* p = out.elements.data() + row;
    const double top = *std::max_element(p, p + n);
    double total = 0;
    for (std::size_t i = 0; i < n; ++i) total += p[i] = std::exp(p[i] - top);
    for (std::size_t i = 0; i < n; ++i) p[i] /= total;
  }
  return out;
}

Tensor mean(const Node& node, const Tensor& x, const std::vector<std::int64_t>& sizes) {
  if (node.args().at(1) != Arg(Arg::List{Arg(-1)})) throw std::logic_error("mean over what?");
  const auto n = static_cast<std::size_t>(x.sizes.back());
  Tensor out{sizes, {}};
  for (std::size_t row = 0; row < x.elements.size(); row += n) {
    double total = 0;
    for (std::size_t i = 0; i < n; ++i) total += x.elements[row + i];
    out.elements.push_back(total / static_cast<double>(n));
  }
  return out;
}

Tensor rms_norm(const Node& node, const std::vector<Tensor>& in) {
  Tensor out = in.at(0);
  const auto n = static_cast<std::size_t>(out.sizes.back());
  for (std::size_t i = 0; i < out.elements.size(); i += n) {
    double total = 0;
    for (std::size_t k = 0; k < n; ++k) total += out.elements[i + k] * out.elements[i + k];
    const double factor =
        1 / std::sqrt(total / static_cast<double>(n) + node.args().at(3).as<double>());
    for (std::size_t k = 0; k < n; ++k) {
      out.elements[i + k] *= factor * (in.size() > 1 ? in[1].elements[k] : 1);
    }
  }
  return out;
}

/// Along one dimension: blocks of the parts in turn.
Tensor concatenated(const Node& node, const std::vector<Tensor>& in,
                    const std::vector<std::int64_t>& sizes) {
  std::int64_t dim = node.args().size() > 1 ? node.args()[1].as<std::int64_t>() : 0;
  if (dim < 0) dim += static_cast<std::int64_t>(sizes.size());
  std::int64_t outer = 1;
  for (std::int64_t d = 0; d < dim; ++d) outer *= sizes[static_cast<std::size_t>(d)];
  Tensor out{sizes, {}};
  for (std::int64_t i = 0; i < outer; ++i) {
    for (const Tensor& t : in) {
      const auto block = static_cast<std::ptrdiff_t>(t.elements.size()) / outer;
      out.elements.insert(out.elements.end(), t.elements.begin() + i * block,
                          t.elements.begin() + (i + 1) * block);
    }
  }
  return out;
}

/// softmax(q k^T * scale + mask) v, [B,H,Tq,D]; the mask is bool where it is made of 0 and 1 only.
Tensor attend(const Node& node, const std::vector<Tensor>& in,
              const std::vector<std::int64_t>& sizes) {
  const Tensor &q = in.at(0), &k = in.at(1), &v = in.at(2);
  const std::int64_t tq = q.sizes[2], tk = k.sizes[2], d = q.sizes[3], dv = v.sizes[3];
  const Arg* given = node.kwarg("scale");
  const double scale = given != nullptr && given->is<double>()
                           ? given->as<double>()
                           : 1 / std::sqrt(static_cast<double>(d));
  const bool causal = node.args().size() > 5 && node.args()[5] == Arg(true);
  const bool has_mask = in.size() > 3;
  const bool keeps = has_mask && node_arg(node, 3)->type().dtype == DType::kBool;
  const Tensor mask = has_mask ? broadcast(in[3], {q.sizes[0], q.sizes[1], tq, tk}) : Tensor{};
  Tensor out{sizes, {}};
  const std::int64_t heads = q.sizes[1], group = heads / k.sizes[1];
  for (std::int64_t row = 0; row < q.sizes[0] * heads * tq; ++row) {
    const std::int64_t h = row / tq, t = row % tq;
    const std::int64_t kv = h / heads * k.sizes[1] + h % heads / group;
    Tensor scores{{tk}, {}};
    for (std::int64_t j = 0; j < tk; ++j) {
      double s = 0;
      for (std::int64_t i = 0; i < d; ++i) {
        s += q.elements[static_cast<std::size_t>(row * d + i)] *
             k.elements[static_cast<std::size_t>((kv * tk + j) * d + i)];
      }
      s *= scale;
      const double m = has_mask ? mask.elements[static_cast<std::size_t>(row * tk + j)] : 0;
      if ((keeps && m == 0) || (causal && j > t)) s = -HUGE_VAL;
      scores.elements.push_back(has_mask && !keeps ? s + m : s);
    }
    scores = softmax(scores);
    for (std::int64_t i = 0; i < dv; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < tk; ++j) {
        sum += scores.elements[static_cast<std::size_t>(j)] *
               v.elements[static_cast<std::size_t>((kv * tk + j) * dv + i)];
      }
      out.elements.push_back(sum);
    }
  }
  return out;
}

Tensor filled(const std::vector<std::int64_t>& sizes, double value) {
  return {sizes, std::vector<double>(static_cast<std::size_t>(count(sizes)), value)};
}

/// Both numbers of a convolution's stride or padding.
std::array<std::int64_t, 2> both(const Node& node, std::size_t arg, std::int64_t otherwise) {
  if (node.args().size() <= arg) return {otherwise, otherwise};
  const auto& list = *node.args()[arg].get_if<ir::Arg::List>();
  return {*list.front().get_if<std::int64_t>(), *list.back().get_if<std::int64_t>()};
}

Tensor convolved(const Node& node, const std::vector<Tensor>& in,
                 const std::vector<std::int64_t>& sizes) {
  const Tensor &x = in.at(0), &w = in.at(1);
  const auto stride = both(node, 3, 1), padding = both(node, 4, 0);
  const auto element = [&x](std::int64_t b, std::int64_t c, std::int64_t i, std::int64_t j) {
    if (i < 0 || j < 0 || i >= x.sizes[2] || j >= x.sizes[3]) return 0.0;
    const std::int64_t at = ((b * x.sizes[1] + c) * x.sizes[2] + i) * x.sizes[3] + j;
    return x.elements[static_cast<std::size_t>(at)];
  };
  Tensor out{sizes, {}};
  for (std::int64_t at = 0; at < count(sizes); ++at) {
    const std::int64_t j = at % sizes[3], i = at / sizes[3] % sizes[2];
    const std::int64_t n = at / sizes[3] / sizes[2] % sizes[1];
    const std::int64_t b = at / sizes[3] / sizes[2] / sizes[1];
    double sum = in.size() > 2 ? in[2].elements[static_cast<std::size_t>(n)] : 0;
    const std::int64_t window = w.sizes[2] * w.sizes[3];
    for (std::int64_t k = 0; k < w.sizes[1] * window; ++k) {
      sum += w.elements.at(static_cast<std::size_t>(n * w.sizes[1] * window + k)) *
             element(b, k / window, i * stride[0] - padding[0] + k % window / w.sizes[3],
                     j * stride[1] - padding[1] + k % w.sizes[3]);
    }
    out.elements.push_back(sum);
  }
  return out;
}

/// x, gamma, beta, mean, variance; the variance made positive.
Tensor normed(const Node& node, const std::vector<Tensor>& in,
              const std::vector<std::int64_t>& sizes) {
  const double eps = node.args().at(7).as<double>();
  Tensor out = in.at(0);
  const std::int64_t pixels = sizes[2] * sizes[3];
  for (std::int64_t i = 0; i < count(sizes); ++i) {
    const auto c = static_cast<std::size_t>(i / pixels % sizes[1]);
    double& x = out.elements[static_cast<std::size_t>(i)];
    x = (x - in.at(3).elements[c]) / std::sqrt(in.at(4).elements[c] + eps) * in.at(1).elements[c] +
        in.at(2).elements[c];
  }
  return out;
}

using Kernel = std::function<Tensor(const Node&, const std::vector<Tensor>&,
                                    const std::vector<std::int64_t>& sizes)>;

/// Operators that whole layers are made of.
const std::map<std::string_view, Kernel>& layer_kernels() {
  using Sizes = std::vector<std::int64_t>;
  using In = std::vector<Tensor>;
  static const std::map<std::string_view, Kernel> all{
      {"cat", concatenated},
      {"div",
       [](const Node& n, const In& in, const Sizes& s) {
         In both = in;
         if (in.size() == 1) both.push_back(filled({}, number(n.args().at(1))));
         return pointwise(both, s, [](const auto& v) { return v[0] / v[1]; });
       }},
      {"rsqrt",
       [](const Node&, const In& in, const Sizes& s) {
         return pointwise(in, s, [](const auto& v) { return 1 / std::sqrt(v[0]); });
       }},
      {"pow",
       [](const Node& n, const In& in, const Sizes& s) {
         In both = in;
         if (in.size() == 1) both.push_back(filled({}, number(n.args().at(1))));
         return pointwise(both, s, [](const auto& v) { return std::pow(v[0], v[1]); });
       }},
      {"mean", [](const Node& n, const In& in, const Sizes& s) { return mean(n, in.at(0), s); }},
      {"softmax", [](const Node&, const In& in, const Sizes&) { return softmax(in.at(0)); }},
      {"_softmax", [](const Node&, const In& in, const Sizes&) { return softmax(in.at(0)); }},
      {"rms_norm", [](const Node& n, const In& in, const Sizes&) { return rms_norm(n, in); }},
      {"scaled_dot_product_attention", attend},
      {"bitwise_not",
       [](const Node&, const In& in, const Sizes& s) {
         return pointwise(in, s, [](const auto& v) { return v[0] == 0 ? 1.0 : 0.0; });
       }},
      {"masked_fill",
       [](const Node& n, const In& in, const Sizes& s) {
         const double value = number(n.args().at(2));
         return pointwise(in, s, [value](const auto& v) { return v[1] != 0 ? value : v[0]; });
       }},
      {"tril",
       [](const Node&, const In& in, const Sizes&) {
         Tensor out = in.at(0);
         const std::int64_t n = out.sizes.back();
         for (std::int64_t i = 0; i < static_cast<std::int64_t>(out.elements.size()); ++i) {
           if (i % n > i / n % out.sizes[out.sizes.size() - 2]) {
             out.elements[static_cast<std::size_t>(i)] = 0;
           }
         }
         return out;
       }},
      {"conv2d", convolved},
      {"batch_norm", normed}};
  return all;
}

const std::map<std::string_view, Kernel>& kernels() {
  using Sizes = std::vector<std::int64_t>;
  using In = std::vector<Tensor>;
  static const Kernel copy = [](const Node&, const In& in, const Sizes& s) {
    return broadcast(in.at(0), s);
  };
  static const std::map<std::string_view, Kernel> all{
      {"add", [](const Node& n, const In& in, const Sizes& s) { return sum(n, in, 1, s); }},
      {"sub", [](const Node& n, const In& in, const Sizes& s) { return sum(n, in, -1, s); }},
      {"relu",
       [](const Node&, const In& in, const Sizes& s) {
         return pointwise(in, s, [](const auto& v) { return v[0] > 0 ? v[0] : 0.0; });
       }},
      {"neg", [](const Node&, const In& in,
                 const Sizes& s) { return pointwise(in, s, [](const auto& v) { return -v[0]; }); }},
      {"clone", copy},
      {"contiguous", copy},
      {"_to_copy", copy},
      {"to", copy},
      {"dropout", copy},  // in eval mode; the random ones never get here
      {"feature_dropout", copy},
      {"alpha_dropout", copy},
      {"copy", [](const Node&, const In& in, const Sizes& s) { return broadcast(in.at(1), s); }},
      {"zero", [](const Node&, const In&, const Sizes& s) { return filled(s, 0); }},
      {"zeros", [](const Node&, const In&, const Sizes& s) { return filled(s, 0); }},
      {"zeros_like", [](const Node&, const In&, const Sizes& s) { return filled(s, 0); }},
      {"full_like",
       [](const Node& n, const In&, const Sizes& s) { return filled(s, number(n.args().at(1))); }},
      {"ones", [](const Node&, const In&, const Sizes& s) { return filled(s, 1); }},
      {"fill",
       [](const Node& n, const In&, const Sizes& s) { return filled(s, number(n.args().at(1))); }},
      {"full",
       [](const Node& n, const In&, const Sizes& s) { return filled(s, number(n.args().at(1))); }},
      {"mm", [](const Node&, const In& in,
                const Sizes& s) { return product(in.at(0), in.at(1), false, s); }},
      {"bmm", [](const Node&, const In& in,
                 const Sizes& s) { return product(in.at(0), in.at(1), false, s); }},
      {"matmul", [](const Node&, const In& in,
                    const Sizes& s) { return product(in.at(0), in.at(1), false, s); }},
      {"addmm",
       [](const Node& n, const In& in, const Sizes& s) {
         const double alpha = n.kwarg("alpha") != nullptr ? number(*n.kwarg("alpha")) : 1;
         const double beta = n.kwarg("beta") != nullptr ? number(*n.kwarg("beta")) : 1;
         return pointwise({in.at(0), product(in.at(1), in.at(2), false, s)}, s,
                          [=](const auto& v) { return beta * v[0] + alpha * v[1]; });
       }},
      {"linear", [](const Node&, const In& in, const Sizes& s) {
         const Tensor y = product(in.at(0), in.at(1), true, s);
         if (in.size() == 2) return y;
         return pointwise({y, in[2]}, s, [](const auto& v) { return v[0] + v[1]; });
       }}};
  return all;
}

/// A fixed arbitrary function of the operands for operators without a kernel.
Tensor opaque(const Node& node, std::uint64_t seed, const std::vector<Tensor>& in,
              const std::vector<std::int64_t>& sizes) {
  const bool wide = !in.empty() && std::all_of(in.begin(), in.end(), [&](const Tensor& t) {
    return broadcasts(t.sizes, sizes);
  });
  seed = mix(seed, identity(node, base_op(node)));
  if (wide && !node.is_list()) {
    return pointwise(in, sizes, [seed](const std::vector<double>& v) {
      std::uint64_t h = seed;
      for (const double x : v) h = mix(h, x);
      return small(h);
    });
  }
  for (const Tensor& t : in) {
    for (const double x : t.elements) seed = mix(seed, x);
  }
  Tensor out = filled(sizes, 0);
  for (std::size_t i = 0; i < out.elements.size(); ++i) out.elements[i] = small(mix(seed, i));
  return out;
}

}  // namespace

bool Tensor::operator==(const Tensor& other) const {
  return sizes == other.sizes &&
         std::equal(elements.begin(), elements.end(), other.elements.begin(), other.elements.end(),
                    [](double a, double b) {
                      return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
                    });
}

Memory Contents::of(const ir::Storage& storage) const {
  const auto found = given_.find(storage.name);
  if (found != given_.end()) return found->second;
  Memory memory(static_cast<std::size_t>(storage.nbytes));
  for (std::size_t i = 0; i < memory.size(); ++i) {
    memory[i] = small(mix(mix(seed_, hash(storage.name)), std::uint64_t{i}));
  }
  return memory;
}

Machine::Machine(const ir::Graph& graph, const Contents& contents, std::uint64_t poison)
    : graph_(graph), contents_(contents), poison_(poison), storages_(graph.storages().size()) {}

void Machine::run() {
  for (const auto& node : graph_.nodes()) execute(*node);
}

void Machine::execute(const Node& node) {
  define(node);
  if (node.kind() == ir::NodeKind::kCallFunction && !is_view(node)) call(node);
}

bool Machine::alive(ir::StorageId id) const {
  return storages_.at(static_cast<std::size_t>(id)).has_value();
}

const Memory& Machine::memory(ir::StorageId id) const {
  if (!alive(id)) throw std::logic_error(fmt::format("storage {} is read before it exists", id));
  return *storages_[static_cast<std::size_t>(id)];
}

void Machine::define(const Node& node) {
  for (const ir::Value& v : node.values()) {
    if (v.storage == ir::kNoStorage || alive(v.storage)) continue;
    const ir::Storage& storage = graph_.storage(v.storage);
    auto& memory = storages_[static_cast<std::size_t>(v.storage)];
    if (storage.kind != ir::StorageKind::kIntermediate) {
      memory = contents_.of(storage);
      continue;
    }
    memory.emplace(static_cast<std::size_t>(storage.nbytes));
    for (double& cell : *memory) cell = 1e6 + small(poison_ = scramble(poison_));
  }
}

Tensor Machine::read(const ir::Value& value) const {
  Tensor t{value.type.sizes, {}};
  t.elements.resize(static_cast<std::size_t>(value.type.numel()));
  const Memory& cells = memory(value.storage);
  for_each_element(value.type, [&](std::size_t i, std::size_t at) {
    t.elements[i] = rounded(cells.at(at), value.type.dtype);
  });
  return t;
}

void Machine::write(const ir::Value& value, const Tensor& tensor) {
  if (tensor.sizes != value.type.sizes) throw std::logic_error("a result has other sizes");
  Memory& cells = storages_.at(static_cast<std::size_t>(value.storage)).value();
  for_each_element(value.type, [&](std::size_t i, std::size_t at) {
    cells.at(at) = rounded(tensor.elements[i], value.type.dtype);
  });
}

std::vector<Tensor> Machine::operands(const Node& node) const {
  std::vector<Tensor> in;
  const auto add = [&](const Node* n) {
    for (const ir::Value& v : n->values()) {
      if (v.storage != ir::kNoStorage) in.push_back(read(v));
    }
  };
  for (const Arg& a : node.args()) ir::for_each_node(a, add);
  for (const auto& [key, a] : node.kwargs()) {
    if (key != "out") ir::for_each_node(a, add);
  }
  return in;
}

void Machine::fusion(const Node& node) {
  const ir::Graph& body = *graph_.subgraph(std::string_view(node.target()).substr(7));
  const std::vector<Node*> inputs = body.placeholders();
  Contents contents(0);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ir::Storage& storage = body.storage(inputs[i]->storage());
    Memory memory(static_cast<std::size_t>(storage.nbytes));
    const Tensor given = read(node.args()[i].node()->value());
    for_each_element(inputs[i]->type(),
                     [&](std::size_t k, std::size_t at) { memory.at(at) = given.elements[k]; });
    contents.set(storage.name, std::move(memory));
  }
  Machine machine(body, contents, poison_ = scramble(poison_));
  machine.run();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto& writes = node.writes();
    if (std::find(writes.begin(), writes.end(), node.args()[i].node()) == writes.end()) continue;
    write(node.args()[i].node()->value(), machine.read(inputs[i]->value()));
  }
  const std::vector<Node*> leaves = ir::output_leaves(body);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    write(node.values()[i], machine.read(leaves[i]->value()));
  }
}

void Machine::call(const Node& node) {
  if (node.target().starts_with("aten.empty")) return;
  if (node.target().starts_with("fusion.")) return fusion(node);
  if (!node.writes().empty()) {
    const ir::Value& target = node.writes().at(0)->value();
    write(target, compute(node, 0));
    return;
  }
  std::vector<Tensor> results;
  for (std::size_t i = 0; i < node.values().size(); ++i) results.push_back(compute(node, i));
  for (std::size_t i = 0; i < node.values().size(); ++i) {
    const ir::Value& v = node.values()[i];
    const std::vector<Node*> inputs = inputs_of(node);
    const bool view = std::any_of(inputs.begin(), inputs.end(), [&v](const Node* n) {
      return std::any_of(n->values().begin(), n->values().end(),
                         [&v](const ir::Value& other) { return other.storage == v.storage; });
    });
    if (!view && v.storage != ir::kNoStorage) write(v, results[i]);
  }
}

Tensor Machine::compute(const Node& node, std::size_t result) {
  const auto& sizes =
      node.writes().empty() ? node.values().at(result).type.sizes : node.writes()[0]->type().sizes;
  const std::string_view op = base_op(node);
  if (node.traits.random && !is_eval_dropout(node)) {
    Tensor t = filled(sizes, 0);
    for (double& x : t.elements) x = small(scramble(++drawn_));
    return t;
  }
  std::vector<Tensor> in = operands(node);
  if (op == "mul") {
    if (in.size() == 1) in.push_back(filled({}, number(node.args().at(1))));
    return pointwise(in, sizes, [](const std::vector<double>& v) { return v[0] * v[1]; });
  }
  if (op == "native_dropout") return result == 0 ? broadcast(in.at(0), sizes) : filled(sizes, 1);
  for (const auto* table : {&kernels(), &layer_kernels()}) {
    const auto kernel = table->find(op);
    if (kernel != table->end()) return kernel->second(node, in, sizes);
  }
  return opaque(node, result, in, sizes);
}

Outcome Machine::outcome() const {
  Outcome outcome;
  for (const Node* leaf : ir::output_leaves(graph_)) {
    for (const ir::Value& v : leaf->values()) {
      if (v.storage == ir::kNoStorage) continue;
      outcome.outputs.push_back(read(v));
      outcome.output_storages.insert(v.storage);
    }
  }
  for (const ir::Storage& s : graph_.storages()) {
    if (s.kind != ir::StorageKind::kState) continue;
    outcome.state[s.name] = alive(s.id) ? memory(s.id) : contents_.of(s);
  }
  return outcome;
}

Outcome interpret(const ir::Graph& graph, const Contents& contents, std::uint64_t poison) {
  Machine machine(graph, contents, poison);
  machine.run();
  return machine.outcome();
}

std::optional<std::vector<FoldedConstant>> Evaluator::evaluate(const Node& node) {
  std::int64_t bytes = 0;
  for (const ir::Value& v : node.values()) bytes += v.type.nbytes();
  if (bytes > largest) return std::nullopt;
  evaluated.push_back(node.target());
  std::vector<FoldedConstant> constants;
  for (const ir::Value& v : node.values()) {
    const ir::Storage& storage = node.graph().storage(v.storage);
    constants.push_back({fmt::format("folded_{}", made_++), v.type, storage.nbytes});
  }
  for (Contents* contents : contents_) {
    Machine machine(node.graph(), *contents, 1);
    for (const Node* input : inputs_of(node)) {
      if (input->kind() != ir::NodeKind::kGetAttr) throw std::logic_error("not a get_attr");
      machine.execute(*input);
    }
    machine.execute(node);
    for (std::size_t i = 0; i < constants.size(); ++i) {
      contents->set(constants[i].attr, machine.memory(node.values()[i].storage));
    }
  }
  return constants;
}

}  // namespace monograph::passes::testing
