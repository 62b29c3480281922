#include "tests/dump/models.h"

#include <fmt/format.h>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "capture/passes/pass.h"

namespace monograph::dump::testing {
namespace {

using ir::Arg;
using ir::DType;
using ir::Node;
using ir::Results;
using ir::TensorType;

/// Builds nodes as a recorder would: every call in a module.
class Builder {
 public:
  Builder(ir::Graph& graph, int tokens, int width) : g_(graph), tokens_(tokens), width_(width) {}

  Node* linear(Node* x, const std::string& name, std::int64_t out) {
    const std::int64_t in = x->type().sizes.back();
    Node* w = g_.get_attr(name + ".weight", TensorType::contiguous(DType::kF32, {out, in}),
                          ir::StorageKind::kParameter);
    Node* b = g_.get_attr(name + ".bias", TensorType::contiguous(DType::kF32, {out}),
                          ir::StorageKind::kParameter);
    return call("aten.linear.default", {x, w, b}, {1, tokens_, out}, parent(name));
  }

  Node* norm(Node* x, const std::string& name) {
    const TensorType vector = TensorType::contiguous(DType::kF32, {width_});
    Node* w = g_.get_attr(name + ".weight", vector, ir::StorageKind::kParameter);
    Node* b = g_.get_attr(name + ".bias", vector, ir::StorageKind::kParameter);
    return call("aten.layer_norm.default", {x, Arg::List{Arg(width_)}, w, b, 1e-5},
                {1, tokens_, width_}, parent(name));
  }

  /// [1, tokens, width] as [1, heads, tokens, width / heads], two views.
  Node* heads(Node* x, const std::string& module) {
    constexpr std::int64_t kHeads = 4;
    const std::int64_t part = width_ / kHeads;
    TensorType split = TensorType::contiguous(DType::kF32, {1, tokens_, kHeads, part});
    Node* v = view("aten.view.default",
                   {x, Arg::List{Arg(1), Arg(tokens_), Arg(kHeads), Arg(part)}}, split, module);
    TensorType swapped = split;
    std::swap(swapped.sizes[1], swapped.sizes[2]);
    std::swap(swapped.strides[1], swapped.strides[2]);
    return view("aten.transpose.int", {v, 1, 2}, swapped, module);
  }

  Node* attention(Node* x, const std::string& module) {
    Node* q = heads(linear(x, module + ".self.query", width_), module + ".self");
    Node* k = heads(linear(x, module + ".self.key", width_), module + ".self");
    Node* v = heads(linear(x, module + ".self.value", width_), module + ".self");
    Node* a = call("aten.scaled_dot_product_attention.default", {q, k, v}, q->type().sizes,
                   module + ".self");
    Node* back = call("aten.clone.default", {a}, {1, tokens_, width_}, module + ".self");
    return norm(add(linear(back, module + ".output.dense", width_), x, module + ".output"),
                module + ".output.LayerNorm");
  }

  Node* layer(Node* x, const std::string& module) {
    Node* attended = attention(x, module + ".attention");
    Node* wide = linear(attended, module + ".intermediate.dense", 4 * width_);
    Node* act = call("aten.gelu.default", {wide}, wide->type().sizes, module + ".intermediate");
    Node* narrow = linear(act, module + ".output.dense", width_);
    return norm(add(narrow, attended, module + ".output"), module + ".output.LayerNorm");
  }

  Node* add(Node* a, Node* b, const std::string& module) {
    return call("aten.add.Tensor", {a, b}, a->type().sizes, module);
  }

  Node* call(const std::string& target, std::vector<Arg> args, std::vector<std::int64_t> sizes,
             const std::string& module) {
    Node* n = g_.call(target, std::move(args), {},
                      Results::tensor(TensorType::contiguous(DType::kF32, std::move(sizes))));
    n->module_path = module;
    return n;
  }

 private:
  static std::string parent(const std::string& name) { return name.substr(0, name.rfind('.')); }

  Node* view(const std::string& target, std::vector<Arg> args, TensorType type,
             const std::string& module) {
    const ir::StorageId storage = args[0].node()->storage();
    Node* n = g_.call(target, std::move(args), {}, Results::tensor(std::move(type), storage));
    n->module_path = module;
    return n;
  }

  ir::Graph& g_;
  std::int64_t tokens_;
  std::int64_t width_;
};

}  // namespace

ir::Graph encoder(int layers, int tokens, int width) {
  ir::Graph graph("encoder");
  Builder b(graph, tokens, width);
  Node* x =
      graph.placeholder("hidden_states", TensorType::contiguous(DType::kF32, {1, tokens, width}));
  Node* unused = b.call("aten.relu.default", {x}, x->type().sizes, "embeddings");
  static_cast<void>(unused);  // for dead_code to remove
  x = b.norm(x, "embeddings.LayerNorm");
  for (int i = 0; i < layers; ++i) x = b.layer(x, fmt::format("encoder.layer.{}", i));
  x = b.call("aten.tanh.default", {b.linear(x, "pooler.dense", width)}, x->type().sizes, "pooler");
  graph.output({Arg(x)});
  ir::verify(graph);
  return graph;
}

Made make(ir::Graph graph, const std::string& module) {
  Made m;
  m.graph = std::make_unique<ir::Graph>(std::move(graph));
  Snapshot& s = m.snapshot;
  s.module = module;
  s.key = "f32_1x32x64";
  s.backend = "host";
  s.nodes_traced = m.graph->size();
  s.trace_ms = 3;
  s.build_ms = 1;
  passes::PassContext context;
  const auto reports =
      passes::run_passes(*m.graph, passes::default_pipeline(), context,
                         [&s](const ir::Graph& g, const passes::PassReport& r) {
                           s.stages.push_back({r.pass.empty() ? "trace" : r.pass, ir::text(g)});
                         });
  for (const auto& r : reports) {
    s.passes.push_back({r.pass, r.changes, r.nodes_before, r.nodes_after, r.milliseconds, r.notes});
    s.passes_ms += r.milliseconds;
  }
  m.lowered = std::make_unique<lower::Lowered>(lower::lower(*m.graph, [](const ir::Node& node) {
    return node.is_call("aten.linear.default")
               ? lower::Choice{lower::LaunchKind::kKernel, "host.linear", "suits", 512}
               : lower::Choice{lower::LaunchKind::kAten, "", "LibTorch's CPU kernel", 0};
  }));
  m.plan = std::make_unique<plan::Plan>(plan::make_plan(m.lowered->problem));
  for (const auto& storage : m.graph->storages()) {
    if (storage.kind == ir::StorageKind::kParameter) s.weight_bytes += storage.nbytes;
  }
  s.graph = m.graph.get();
  s.lowered = m.lowered.get();
  s.plan = m.plan.get();
  return m;
}

Made hostile() {
  const std::string evil = "</script><img src=x onerror=\"document.title='pwned'\">";
  ir::Graph graph("g");
  Node* x = graph.placeholder(evil, TensorType::contiguous(DType::kF32, {4}));
  Node* y = graph.call("aten.relu.default", {Arg(x)}, {}, Results::tensor(x->type()), {},
                       "<b>&amp;'\"\\");
  y->module_path = "a<script>alert(1)</script>.b";
  y->source = "evil\xff\xfe\"<!--.cpp:7";
  graph.output({Arg(y)});
  Made m = make(std::move(graph), evil);
  m.snapshot.key = "../../etc <b>";
  m.snapshot.backend_texts.push_back(
      {"graph_nodes", "node 0 %\"<x>\": kernel \"k\"\nedge 0 -> 0\n"});
  m.snapshot.backend_texts.push_back({"kernels", "%x: k registers=3 predicted=1.5us\n"});
  m.snapshot.sources.push_back({"evil</script>.cu", "// </script><!-- \n", {y->name()}});
  return m;
}

Made rejected() {
  Made m;
  m.rejection = std::make_unique<Rejection>();
  m.rejection->code = Code::kRejectedMutation;
  m.rejection->op = "aten.add_.Tensor";
  m.rejection->node = "add_";
  m.rejection->module_path = "counter";
  m.rejection->subject = "counter.steps";
  m.rejection->reason = "forward writes the buffer 'counter.steps'";
  m.rejection->remedy = "declare it as state or return the new value";
  m.rejection->excerpt =
      "    %x : f32[4] = placeholder[target=x]\n"
      ">>> %add_ : f32[4] = call_function[target=aten.add_.Tensor](args = (%steps, 1))\n"
      "    return (%x,)";
  m.snapshot.module = "counter";
  m.snapshot.key = "f32_4";
  m.snapshot.backend = "host";
  m.snapshot.rejection = m.rejection.get();
  return m;
}

}  // namespace monograph::dump::testing
