#include "tests/lower/graphs.h"

#include <string>
#include <utility>
#include <vector>

namespace monograph::lower::testing {
namespace {

using ir::Arg;
using ir::DType;
using ir::Graph;
using ir::Node;
using ir::Results;
using ir::StorageKind;
using ir::TensorType;
using Random = std::mt19937_64;

TensorType f32(std::vector<std::int64_t> sizes) {
  return TensorType::contiguous(DType::kF32, std::move(sizes));
}

/// Builds a random graph of tensors with kElements elements.
class RandomGraph {
 public:
  explicit RandomGraph(Random& random) : random_(random) {
    for (const char* name : {"a", "b"}) readable_.push_back(graph_.placeholder(name, full()));
    readable_.push_back(graph_.get_attr("w", full(), StorageKind::kParameter));
    readable_.push_back(graph_.get_attr("cache", full(), StorageKind::kState));
    writable_.push_back(readable_.back());
    graph_.get_attr("unused", full(), StorageKind::kBuffer);
  }

  Graph run(int calls) {
    for (int i = 0; i < calls; ++i) add_call();
    std::vector<Arg> leaves;
    for (int i = 0; i < 2; ++i) {
      leaves.emplace_back(
          graph_.call("aten.neg.default", {any(readable_)}, {}, Results::tensor(full())));
    }
    graph_.output({leaves[0], Arg::List{leaves[1], Arg()}});
    return std::move(graph_);
  }

 private:
  static constexpr std::int64_t kElements = 24;
  static TensorType full() { return f32({kElements}); }

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  Node* any(const std::vector<Node*>& nodes) { return nodes[below(nodes.size())]; }

  void add_call() {
    switch (below(7)) {
      case 0:
        return add_view();
      case 1:
        return add_list_of_views();
      case 2:
        return add_fresh_list();
      case 3:
        return add_in_place();
      case 4:
        return add_part_view();
      default:
        Node* sum = graph_.call("aten.add.Tensor", {any(readable_), any(readable_)}, {},
                                Results::tensor(full()));
        readable_.push_back(sum);
        writable_.push_back(sum);
    }
  }

  void add_view() {
    Node* of = any(readable_);
    Node* view = graph_.call("aten.view.default", {of, Arg::List{kElements}}, {},
                             Results::tensor(full(), of->storage()));
    note_alias(view, of);
  }

  void add_list_of_views() {
    Node* of = any(readable_);
    Node* list = graph_.call("aten.expand_list.default", {of}, {},
                             Results::list({{full(), of->storage()}, {full(), of->storage()}}));
    note_alias(graph_.getitem(list, 1), of);
  }

  void add_fresh_list() {
    Node* list = graph_.call("aten.pair.default", {Arg::List{any(readable_), any(readable_)}}, {},
                             Results::list({{full(), ir::kNoStorage}, {full(), ir::kNoStorage}}));
    Node* item = graph_.getitem(list, static_cast<std::int64_t>(below(2)));
    readable_.push_back(item);
    writable_.push_back(item);
  }

  void add_in_place() {
    Node* target = any(writable_);
    Node* result = graph_.call("aten.add_.Tensor", {target, any(readable_)}, {},
                               Results::tensor(full(), target->storage()), {target});
    readable_.push_back(result);
    writable_.push_back(result);
  }

  void add_part_view() {
    Node* of = any(readable_);
    Node* list = graph_.call("aten.norm_stats.default", {of}, {},
                             Results::list({{full(), of->storage()}, {full(), ir::kNoStorage}}));
    note_alias(graph_.getitem(list, 0), of);
    readable_.push_back(graph_.getitem(list, 1));
  }

  void note_alias(Node* view, Node* of) {
    readable_.push_back(view);
    const StorageKind kind = graph_.storage(of->storage()).kind;
    if (kind == StorageKind::kIntermediate || kind == StorageKind::kState) {
      writable_.push_back(view);
    }
  }

  Random& random_;
  Graph graph_{"random"};
  std::vector<Node*> readable_;
  std::vector<Node*> writable_;
};

}  // namespace

Graph random_graph(int calls, Random& random) {
  return RandomGraph(random).run(calls);
}

Graph encoder_graph(int nodes) {
  constexpr std::int64_t kTokens = 32;
  constexpr std::int64_t kHidden = 384;
  Graph g("encoder");
  const TensorType act = f32({kTokens, kHidden});
  const TensorType heads = f32({12, kTokens, 32});
  Node* x = g.placeholder("x", act);
  Node* w = g.get_attr("w", f32({kHidden, kHidden}), StorageKind::kParameter);
  const auto op = [&g, &act](const std::string& name, std::vector<Arg> args) {
    return g.call("aten." + name + ".default", std::move(args), {}, Results::tensor(act));
  };
  while (static_cast<int>(g.size()) + 16 < nodes) {
    std::vector<Arg> qkv;
    for (int i = 0; i < 3; ++i) {
      Node* projected = op("linear", {x, w});
      qkv.emplace_back(g.call("aten.view.default", {projected}, {},
                              Results::tensor(heads, projected->storage())));
    }
    Node* attention = g.call("aten.attention.default", std::move(qkv), {}, Results::tensor(heads));
    Node* merged =
        g.call("aten.view.default", {attention}, {}, Results::tensor(act, attention->storage()));
    Node* sum = op("add", {op("linear", {merged, w}), x});
    Node* normed = op("layer_norm", {sum, w});
    Node* up = op("linear", {normed, w});
    Node* activated =
        g.call("aten.relu_.default", {up}, {}, Results::tensor(act, up->storage()), {up});
    x = op("add", {op("linear", {activated, w}), normed});
  }
  g.output({op("neg", {x})});
  return g;
}

}  // namespace monograph::lower::testing
