#include "tests/ir/random_graph.h"

#include <algorithm>
#include <bit>
#include <random>

namespace monograph::ir::testing {
namespace {

class Generator {
 public:
  Generator(std::uint64_t seed, int depth) : random_(seed), depth_(depth) {}

  Graph graph(int nodes) {
    Graph g(string());
    g_ = &g;
    for (std::int64_t i = below(4); i >= 0; --i) placeholder();
    for (int i = 0; i < nodes; ++i) node();
    std::vector<Arg> returned;
    for (std::int64_t i = below(4); i > 0; --i) returned.push_back(arg(0));
    Node* out = g.output(std::move(returned));
    decorate(out);
    return g;
  }

 private:
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }
  template <class T>
  T pick(const std::vector<T>& items) {
    return items[static_cast<std::size_t>(below(static_cast<std::int64_t>(items.size())))];
  }

  // --- leaves ---

  std::string string() {
    static const std::vector<std::string> pieces{"none",
                                                 "a",
                                                 "\"",
                                                 "\\",
                                                 "\n",
                                                 "\r\t",
                                                 "größe",
                                                 "日本",
                                                 "🙂",
                                                 "%x",
                                                 "//",
                                                 " ",
                                                 "'",
                                                 "]",
                                                 "\xff",
                                                 "\xc3",
                                                 std::string(1, '\0'),
                                                 "\xe2\x80\xae",
                                                 "x\\x41",
                                                 "\xed\xa0\x80"};
    std::string s;
    for (std::int64_t i = below(6); i > 0; --i) s += pick(pieces);
    return s;
  }

  std::string name() {
    static const std::vector<std::string> names{
        "x", "x_1", "encoder.layer.0.weight", "output", "class", "0", "a b", "größe"};
    return one_in(2) ? pick(names) : "n" + std::to_string(below(50));
  }

  double real() {
    static const std::vector<double> values{0.0, -0.0, 1.0, -1.5, 0.1, 1e-5, 1e22, 5e-324, 3e38};
    return one_in(2) ? pick(values) : std::bit_cast<double>(random_());  // NaNs and infinities
  }

  DType dtype() { return static_cast<DType>(1 + below(14)); }
  Device device() {
    return {static_cast<DeviceType>(below(3)), static_cast<std::int32_t>(below(3)) - 1};
  }

  TensorType type(const Device& device) {
    TensorType t;
    t.dtype = dtype();
    for (std::int64_t i = below(5); i > 0; --i) t.sizes.push_back(below(5));
    t.device = device;
    t.strides = contiguous_strides(t.sizes);
    if (one_in(3)) std::reverse(t.strides.begin(), t.strides.end());
    for (std::int64_t& stride : t.strides) {
      if (one_in(6)) stride = below(20);
    }
    if (one_in(4)) t.offset = below(100);
    return t;
  }

  Arg arg(std::size_t depth) {
    switch (below(depth < 4 ? 13 : 11)) {
      case 0:
        return {};
      case 1:
        return one_in(2);
      case 2:
        return static_cast<std::int64_t>(random_());
      case 3:
        return below(10) - 5;
      case 4:
        return real();
      case 5:
        return std::complex<double>(real(), real());
      case 6:
        return string();
      case 7:
        return static_cast<DType>(below(15));
      case 8:
        return device();
      case 9:
        return static_cast<Layout>(below(3));
      case 10:
        return static_cast<MemoryFormat>(below(4));
      case 11:
        return any_node();
      default:
        break;
    }
    Arg::List list;
    for (std::int64_t i = below(4); i > 0; --i) list.push_back(arg(depth + 1));
    return list;
  }

  // --- nodes ---

  Node* any_node() { return pick(all_); }
  Node* any_tensor() { return pick(tensors_); }

  void decorate(Node* node) {
    if (one_in(8)) node->traits.random = true;
    if (one_in(8)) node->traits.nondeterministic = true;
    if (one_in(3)) node->module_path = string();
    if (one_in(3)) node->source = string();
  }

  void add(Node* node) {
    decorate(node);
    all_.push_back(node);
    if (node->has_tensor() && node->type().defined()) tensors_.push_back(node);
    if (node->is_list() && !node->values().empty()) lists_.push_back(node);
  }

  void placeholder() {
    const TensorType t = type(device());
    const std::string target = name() + "#" + std::to_string(all_.size());
    const std::int64_t spare = one_in(3) ? below(100) : 0;
    Node* node = g_->placeholder(target, t, t.storage_extent() + spare);
    if (one_in(4)) g_->rename(node, name());
    add(node);
  }

  void get_attr() {
    const std::string fqn = name() + "." + std::to_string(all_.size());
    const StorageId shared = weights_.empty() || one_in(2) ? kNoStorage : pick(weights_);
    const auto kind = static_cast<StorageKind>(1 + below(4));
    const TensorType t = type(shared == kNoStorage ? device() : g_->storage(shared).device);
    if (shared != kNoStorage) g_->grow_storage(shared, t.storage_extent());
    Node* node = g_->get_attr(fqn, t, kind, -1, shared);
    if (shared == kNoStorage) weights_.push_back(node->storage());
    if (one_in(4)) g_->rename(node, name());
    add(node);
  }

  Value value(const std::vector<Value>& earlier) {
    const std::int64_t choice = below(10);
    if (choice == 0) return {};
    StorageId id = kNoStorage;
    if (choice < 4) id = any_tensor()->storage();
    if (choice == 4 && !earlier.empty()) id = pick(earlier).storage;
    if (choice == 5) id = g_->add_storage(StorageKind::kIntermediate, string(), 0, device());
    const TensorType t = type(id == kNoStorage ? device() : g_->storage(id).device);
    if (id != kNoStorage) g_->grow_storage(id, t.storage_extent());
    return {t, id};
  }

  bool may_write(const Node* node) const {
    const auto& values = node->values();
    return !values.empty() && std::all_of(values.begin(), values.end(), [&](const Value& v) {
      if (v.storage == kNoStorage) return false;
      const StorageKind kind = g_->storage(v.storage).kind;
      return kind == StorageKind::kIntermediate || kind == StorageKind::kState;
    });
  }

  void call() {
    static const std::vector<std::string> targets{"aten.add_.Tensor", "prims.mul.default",
                                                  "my_ns.op.out", "aten.__and__.Tensor"};
    std::vector<Arg> args;
    for (std::int64_t i = below(4); i >= 0; --i) args.push_back(one_in(2) ? any_tensor() : arg(0));
    Kwargs kwargs;
    for (std::int64_t i = below(3); i > 0; --i) {
      kwargs.emplace_back(one_in(4) ? "k" + string() + std::to_string(i) : "k" + std::to_string(i),
                          arg(0));
    }
    std::vector<Node*> writes;
    const auto consider = [&](Node* n) {
      if (one_in(3) && may_write(n)) writes.push_back(n);
    };
    for (const Arg& a : args) for_each_node(a, consider);
    for (const auto& [key, a] : kwargs) for_each_node(a, consider);
    Results results;
    results.is_list = one_in(4);
    for (std::int64_t i = results.is_list ? below(4) : below(5) > 0 ? 1 : 0; i > 0; --i) {
      // A list may alias itself only by storages that exist already.
      results.values.push_back(value(results.values));
    }
    add(g_->call(pick(targets), std::move(args), std::move(kwargs), std::move(results),
                 std::move(writes), one_in(3) ? name() : ""));
  }

  void getitem() {
    Node* list = pick(lists_);
    add(g_->getitem(list, below(static_cast<std::int64_t>(list->values().size()))));
  }

  void fusion() {
    const std::string name = string() + std::to_string(g_->subgraphs().size() + all_.size());
    Generator inner(random_(), depth_ + 1);
    Graph sub = inner.graph(static_cast<int>(below(5)));
    sub.set_args(sub.output_node(), {inner.any_tensor(), Arg::List{inner.any_tensor()}}, {});
    std::vector<Arg> args;
    for (const Node* p : sub.placeholders()) {
      TensorType t = p->type();
      t.strides = contiguous_strides(t.sizes);
      t.offset = 0;
      Node* arg = g_->call("aten.empty.default", {}, {}, Results::tensor(t));
      add(arg);
      args.emplace_back(arg);
    }
    Results results;
    results.is_list = true;
    for (const Arg& a : sub.output_node()->args()) {
      for_each_node(a, [&](const Node* n) {
        results.values.push_back(
            {TensorType::contiguous(n->type().dtype, n->type().sizes), kNoStorage});
      });
    }
    g_->add_subgraph(name, std::move(sub));
    add(g_->call("fusion." + name, std::move(args), {}, std::move(results)));
  }

  void node() {
    const std::int64_t choice = below(20);
    if (choice < 3) return get_attr();
    if (choice < 6 && !lists_.empty()) return getitem();
    if (choice == 6 && depth_ < 3) return fusion();
    call();
  }

  std::mt19937_64 random_;
  int depth_;
  Graph* g_ = nullptr;
  std::vector<Node*> all_;
  std::vector<Node*> tensors_;  // one defined tensor
  std::vector<Node*> lists_;    // with an element at least
  std::vector<StorageId> weights_;
};

}  // namespace

Graph random_graph(std::uint64_t seed, int nodes) {
  return Generator(seed, 0).graph(nodes);
}

}  // namespace monograph::ir::testing
