#include "tests/passes/random_graphs.h"

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "capture/ir/analysis.h"

namespace monograph::passes::testing {
namespace {

using ir::Arg;
using ir::DType;
using ir::Graph;
using ir::Node;
using ir::Results;
using ir::TensorType;
using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t kSide = 3;  // every dimension has this size, or 1, or 2 * 3 when flattened

TensorType f32(Sizes sizes) {
  return TensorType::contiguous(DType::kF32, std::move(sizes));
}

/// No element twice, so that writes have one meaning.
bool is_writable(const TensorType& t) {
  for (std::size_t i = 0; i < t.sizes.size(); ++i) {
    if (t.sizes[i] != 1 && t.strides[i] == 0) return false;
  }
  return true;
}

class Builder {
 public:
  explicit Builder(std::uint64_t seed) : random_(seed) {}

  Graph build(std::size_t calls) {
    sources();
    const std::size_t wanted = graph_.size() + calls;
    while (graph_.size() < wanted) step();
    outputs();
    return std::move(graph_);
  }

 private:
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  bool chance(std::size_t percent) { return below(100) < percent; }

  template <class T>
  const T& any(const std::vector<T>& of) {
    return of[below(of.size())];
  }
  /// A tensor made recently rather than long ago.
  Node* tensor() {
    const std::size_t n = tensors_.size();
    return chance(60) ? tensors_[n - 1 - below(std::min<std::size_t>(n, 5))] : any(tensors_);
  }
  Node* tensor(const std::function<bool(const Node&)>& wanted) {
    for (int tries = 0; tries < 12; ++tries) {
      Node* t = tensor();
      if (wanted(*t)) return t;
    }
    return nullptr;
  }

  Node* keep(Node* node) {
    tensors_.push_back(node);
    return node;
  }
  Node* call(const std::string& target, std::vector<Arg> args, TensorType type,
             ir::Kwargs kwargs = {}) {
    return keep(
        graph_.call(target, std::move(args), std::move(kwargs), Results::tensor(std::move(type))));
  }
  Node* view(const std::string& op, std::vector<Arg> args, TensorType type) {
    const ir::StorageId storage = args[0].node()->storage();
    return keep(
        graph_.call("aten." + op, std::move(args), {}, Results::tensor(std::move(type), storage)));
  }

  void sources() {
    keep(graph_.placeholder("x", f32({kSide, kSide})));
    keep(graph_.placeholder("y", f32({2, kSide, kSide})));
    weights_.push_back(graph_.get_attr("w", f32({kSide, kSide}), ir::StorageKind::kParameter));
    weights_.push_back(graph_.get_attr("u", f32({kSide, kSide}), ir::StorageKind::kBuffer));
    bias_ = graph_.get_attr("b", f32({kSide}), ir::StorageKind::kParameter);
    state_ = graph_.get_attr("s", f32({kSide, kSide}), ir::StorageKind::kState);
    for (Node* w : weights_) keep(w);
    keep(bias_);
    keep(state_);
  }

  void step() {
    using Step = void (Builder::*)();
    static constexpr std::array<Step, 20> kSteps{
        &Builder::unary,     &Builder::unary,    &Builder::binary,   &Builder::binary,
        &Builder::in_place,  &Builder::in_place, &Builder::in_place, &Builder::overwrite,
        &Builder::transpose, &Builder::reshape,  &Builder::slice,    &Builder::identity,
        &Builder::copy,      &Builder::copy,     &Builder::product,  &Builder::layer,
        &Builder::factory,   &Builder::draw,     &Builder::list,     &Builder::weight_only};
    (this->*kSteps[below(kSteps.size())])();
  }

  void unary() {
    static const std::vector<std::string> kOps{"relu.default", "neg.default", "exp.default",
                                               "abs.default"};
    Node* x = tensor();
    call("aten." + any(kOps), {Arg(x)}, f32(x->type().sizes));
  }

  Node* partner(const Node& x) {
    return tensor([&](const Node& y) {
      if (y.type().sizes == x.type().sizes) return true;
      return y.type().rank() == 1 && x.type().rank() > 0 &&
             y.type().sizes[0] == x.type().sizes.back();
    });
  }

  void binary() {
    static const std::vector<std::string> kOps{"add.Tensor", "mul.Tensor", "sub.Tensor",
                                               "atan2.default"};
    Node* x = tensor();
    Node* y = partner(*x);
    if (y != nullptr) call("aten." + any(kOps), {Arg(x), Arg(y)}, f32(x->type().sizes));
  }

  Node* writable() {
    return tensor([&](const Node& n) {
      const ir::StorageKind kind = graph_.storage(n.storage()).kind;
      return is_writable(n.type()) &&
             (kind == ir::StorageKind::kIntermediate || kind == ir::StorageKind::kState);
    });
  }

  void write(const std::string& op, Node* x, std::vector<Arg> more) {
    std::vector<Arg> args{Arg(x)};
    args.insert(args.end(), more.begin(), more.end());
    keep(graph_.call("aten." + op, std::move(args), {}, Results::tensor(x->type(), x->storage()),
                     {x}));
  }

  void in_place() {
    Node* x = writable();
    if (x == nullptr) return;
    static const std::vector<std::string> kOne{"relu_.default", "neg_.default", "exp_.default",
                                               "erfinv_.default"};
    static const std::vector<std::string> kTwo{"add_.Tensor", "mul_.Tensor", "ldexp_.default"};
    Node* y = chance(50) ? partner(*x) : nullptr;
    if (y == nullptr) return write(any(kOne), x, {});
    write(any(kTwo), x, {Arg(y)});
  }

  void overwrite() {
    Node* x = writable();
    if (x == nullptr) return;
    if (chance(30)) return write("zero_.default", x, {});
    if (chance(40)) return write("fill_.Scalar", x, {Arg(0.5)});
    Node* y = tensor([&](const Node& n) { return n.type().sizes == x->type().sizes; });
    if (y != nullptr) write("copy_.default", x, {Arg(y)});
  }

  void transpose() {
    Node* x = tensor([](const Node& n) { return n.type().rank() == 2; });
    if (x == nullptr) return;
    TensorType t = x->type();
    std::swap(t.sizes[0], t.sizes[1]);
    std::swap(t.strides[0], t.strides[1]);
    view("t.default", {Arg(x)}, std::move(t));
  }

  void reshape() {
    Node* x = tensor([](const Node& n) { return n.type().is_contiguous(); });
    if (x == nullptr) return;
    const std::int64_t n = x->type().numel();
    Sizes sizes{n};
    if (n % kSide == 0 && chance(70)) sizes = {n / kSide, kSide};
    TensorType t = f32(sizes);
    t.offset = x->type().offset;
    static const std::vector<std::string> kOps{"view.default", "_unsafe_view.default",
                                               "reshape.default"};
    view(any(kOps), {Arg(x), Arg::ints(sizes)}, std::move(t));
  }

  void slice() {
    Node* x = tensor([](const Node& n) { return n.type().rank() > 0 && n.type().sizes[0] > 1; });
    if (x == nullptr) return;
    const std::int64_t from = chance(50) ? 0 : 1;
    TensorType t = x->type();
    t.offset += from * t.strides[0];
    t.sizes[0] -= 1;
    const std::int64_t to = from + t.sizes[0];
    view("slice.Tensor", {Arg(x), Arg(0), Arg(from), Arg(to)}, std::move(t));
  }

  void identity() {
    static const std::vector<std::string> kOps{"alias.default", "detach.default",
                                               "contiguous.default"};
    Node* x = tensor();
    if (chance(30)) {
      view("dropout.default", {Arg(x), Arg(0.5), Arg(false)}, x->type());
    } else if (chance(30)) {
      TensorType t = x->type();
      t.sizes.insert(t.sizes.begin(), 2);
      t.strides.insert(t.strides.begin(), 0);
      view("expand.default", {Arg(x), Arg::ints(t.sizes)}, t);
    } else {
      view(any(kOps), {Arg(x)}, x->type());
    }
  }

  void copy() {
    Node* x = tensor();
    TensorType t = x->type();
    t.offset = 0;
    const bool keep_strides = ir::is_dense(t) && chance(50);
    if (!keep_strides) t = f32(t.sizes);
    const auto format = keep_strides ? ir::MemoryFormat::kPreserve : ir::MemoryFormat::kContiguous;
    call(chance(80) ? "aten.clone.default" : "aten._to_copy.default", {Arg(x)}, std::move(t),
         {{"memory_format", format}});
  }

  /// [.., K] with K = kSide.
  Node* rows(std::int64_t rank) {
    return tensor(
        [&](const Node& n) { return n.type().rank() == rank && n.type().sizes.back() == kSide; });
  }

  Node* transposed_weight() {
    Node* w = chance(80) ? any(weights_) : tensor([](const Node& n) {
      return n.type().sizes == Sizes{kSide, kSide};
    });
    if (w == nullptr) return nullptr;
    TensorType t = w->type();
    std::swap(t.strides[0], t.strides[1]);
    return view("t.default", {Arg(w)}, std::move(t));
  }

  void product() {
    Node* x = rows(2);
    Node* w = chance(70) ? transposed_weight() : rows(2);
    if (x == nullptr || w == nullptr || w->type().sizes[0] != kSide) return;
    const Sizes sizes{x->type().sizes[0], kSide};
    if (chance(30)) {
      call("aten.addmm.default", {Arg(bias_), Arg(x), Arg(w)}, f32(sizes));
    } else {
      call(chance(70) ? "aten.mm.default" : "aten.matmul.default", {Arg(x), Arg(w)}, f32(sizes));
    }
  }

  /// A linear layer as LibTorch decomposes it for 3-D inputs, with variations.
  void layer() {
    Node* x = tensor([](const Node& n) {
      return n.type().rank() == 3 && n.type().is_contiguous() && n.type().sizes.back() == kSide;
    });
    Node* w = transposed_weight();
    if (x == nullptr || w == nullptr) return;
    const Sizes sizes = x->type().sizes;
    TensorType flat = f32({sizes[0] * sizes[1], kSide});
    flat.offset = x->type().offset;
    Node* v = view("view.default", {Arg(x), Arg::ints(flat.sizes)}, flat);
    Node* mm = call("aten.mm.default", {Arg(v), Arg(w)}, f32(flat.sizes));
    if (chance(10)) step();
    Node* u = view("_unsafe_view.default", {Arg(mm), Arg::ints(sizes)}, f32(sizes));
    if (chance(10)) step();
    if (chance(60)) return write("add_.Tensor", u, {Arg(bias_)});
    call("aten.add.Tensor", {Arg(u), Arg(bias_)}, f32(sizes));
  }

  void factory() {
    const Sizes sizes{kSide, kSide};
    if (chance(40)) {
      call("aten.ones.default", {Arg::ints(sizes)}, f32(sizes));
    } else {
      Node* e = call("aten.empty.memory_format", {Arg::ints(sizes)}, f32(sizes));
      tensors_.pop_back();  // nobody may read it before the write
      write("fill_.Scalar", e, {Arg(2)});
      if (chance(50)) tensors_.push_back(e);
    }
  }

  void draw() {
    if (!chance(30)) return;
    Node* r = call("aten.rand.default", {Arg::ints(Sizes{kSide, kSide})}, f32({kSide, kSide}));
    r->traits.random = true;
  }

  void list() {
    Node* x = tensor([](const Node& n) { return n.type().rank() > 0; });
    if (x == nullptr) return;
    Node* made = nullptr;
    if (chance(50)) {
      made = graph_.call("aten.frexp.Tensor", {Arg(x)}, {},
                         Results::list({{f32(x->type().sizes)}, {f32(x->type().sizes)}}));
    } else {
      TensorType t = x->type();
      std::vector<ir::Value> parts;
      for (std::int64_t i = 0; i < t.sizes[0]; ++i) {
        TensorType part = t;
        part.sizes[0] = 1;
        part.offset += i * t.strides[0];
        parts.push_back({part, x->storage()});
      }
      made = graph_.call("aten.split.Tensor", {Arg(x), Arg(1)}, {}, Results::list(parts));
    }
    for (std::size_t i = 0; i < 2 && i < made->values().size(); ++i) {
      if (chance(70)) keep(graph_.getitem(made, static_cast<std::int64_t>(i)));
    }
    if (chance(20)) keep(graph_.getitem(made, 0));
  }

  void weight_only() {
    Node* w = any(weights_);
    if (chance(50)) {
      Node* made = call("aten.mul.Tensor", {Arg(w), Arg(any(weights_))}, f32(w->type().sizes));
      if (chance(70)) weights_.push_back(made);
    } else {
      weights_.push_back(transposed_weight());
      if (weights_.back() == nullptr) weights_.pop_back();
    }
  }

  void outputs() {
    std::vector<Arg> leaves;
    const std::size_t n = 1 + below(5);
    for (std::size_t i = 0; i < n; ++i) leaves.emplace_back(tensor());
    if (chance(30)) leaves.emplace_back(Arg::List{Arg(tensor()), Arg(), leaves.front()});
    graph_.output(std::move(leaves));
  }

  Graph graph_{"random"};
  std::mt19937_64 random_;
  std::vector<Node*> tensors_;
  std::vector<Node*> weights_;
  Node* bias_ = nullptr;
  Node* state_ = nullptr;
};

}  // namespace

Graph random_graph(std::uint64_t seed, std::size_t calls) {
  return Builder(seed).build(calls);
}

}  // namespace monograph::passes::testing
