// Merges calls that compute the same thing from the same contents (value numbering in one walk).
//
// Two equal views are always one. Two equal computations are one if nothing wrote what they read
// in between, if neither result is written later (each caller of eager owns its own), and if not
// both results reach the output, where they would have to be parted again.
#include <fmt/format.h>

#include <bit>
#include <functional>
#include <unordered_map>
#include <vector>

#include "capture/passes/pass.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Arg;
using ir::Graph;
using ir::Node;
using ir::StorageId;

void mix(std::size_t& seed, std::size_t value) {
  seed ^= value + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2);
}

struct HashArg {
  std::size_t operator()(std::monostate) const { return 1; }
  std::size_t operator()(bool v) const { return v ? 2 : 3; }
  std::size_t operator()(std::int64_t v) const { return std::hash<std::int64_t>{}(v); }
  std::size_t operator()(double v) const { return std::bit_cast<std::uint64_t>(v); }
  std::size_t operator()(const std::complex<double>& v) const {
    std::size_t seed = (*this)(v.real());
    mix(seed, (*this)(v.imag()));
    return seed;
  }
  std::size_t operator()(const std::string& v) const { return std::hash<std::string>{}(v); }
  std::size_t operator()(ir::Device v) const {
    return static_cast<std::size_t>(v.type) * 1024 + static_cast<std::size_t>(v.index + 1);
  }
  std::size_t operator()(ir::DType v) const { return static_cast<std::size_t>(v); }
  std::size_t operator()(ir::Layout v) const { return static_cast<std::size_t>(v); }
  std::size_t operator()(ir::MemoryFormat v) const { return static_cast<std::size_t>(v); }
  std::size_t operator()(const Node* v) const { return static_cast<std::size_t>(v->id()); }
  std::size_t operator()(const Arg::List& v) const {
    std::size_t seed = v.size();
    for (const Arg& a : v) mix(seed, hash(a));
    return seed;
  }
  static std::size_t hash(const Arg& arg) {
    std::size_t seed = arg.variant().index();
    mix(seed, std::visit(HashArg{}, arg.variant()));
    return seed;
  }
};

std::size_t hash_node(const Node& node) {
  std::size_t seed = std::hash<std::string>{}(node.target());
  for (const Arg& a : node.args()) mix(seed, HashArg::hash(a));
  for (const auto& [key, a] : node.kwargs()) {
    mix(seed, std::hash<std::string>{}(key));
    mix(seed, HashArg::hash(a));
  }
  return seed;
}

bool same_call(const Node& a, const Node& b) {
  if (a.kind() != b.kind() || a.target() != b.target() || a.args() != b.args() ||
      a.kwargs() != b.kwargs() || a.is_list() != b.is_list() ||
      a.values().size() != b.values().size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.values().size(); ++i) {
    if (a.values()[i].type != b.values()[i].type) return false;
  }
  return true;
}

class Merger {
 public:
  explicit Merger(Graph& graph) : graph_(graph), index_(graph) {}

  PassReport run() {
    for (Node* node : graph_.node_vector()) visit(node);
    return std::move(report_);
  }

 private:
  static bool candidate(const Node& node) {
    if (node.values().empty() || !node.writes().empty()) return false;
    if (node.kind() == ir::NodeKind::kGetAttr) return true;
    return node.kind() == ir::NodeKind::kCallFunction && is_repeatable(node);
  }

  void visit(Node* node) {
    if (!candidate(*node)) return;
    std::vector<Node*>& equal = table_[hash_node(*node)];
    for (Node*& earlier : equal) {
      if (!same_call(*earlier, *node)) continue;
      if (mergeable(*earlier, *node)) {
        merge(earlier, node);
      } else {
        earlier = node;  // nearer to whatever comes, so fewer writes lie in between
      }
      return;
    }
    equal.push_back(node);
  }

  bool mergeable(const Node& earlier, const Node& node) const {
    bool computes = false;
    for (std::size_t i = 0; i < node.values().size(); ++i) {
      const StorageId a = earlier.values()[i].storage;
      const StorageId b = node.values()[i].storage;
      if (a == b) continue;
      if (node.kind() == ir::NodeKind::kGetAttr) return false;  // same name, other memory
      computes = true;
      if (index_.written(a) || index_.written(b)) return false;
      if (index_.reaches_output(a) && index_.reaches_output(b)) return false;
      if (!pairs_up(earlier, node, i)) return false;
    }
    return !computes || reads_the_same(earlier, node);
  }

  /// The inputs, which are the same nodes, hold the same contents at both calls; and what differs
  /// in storage was made by the calls, so is no view of an input in one of them.
  bool reads_the_same(const Node& earlier, const Node& node) const {
    const std::int32_t from = index_.position(earlier);
    const std::int32_t to = index_.position(node);
    for (const Node* input : inputs_of(node)) {
      for (const ir::Value& v : input->values()) {
        if (v.storage == ir::kNoStorage) continue;
        if (index_.written_between(v.storage, from, to)) return false;
        for (std::size_t i = 0; i < node.values().size(); ++i) {
          const bool aliased = earlier.values()[i].storage == v.storage;
          if (aliased != (node.values()[i].storage == v.storage)) return false;
        }
      }
    }
    return true;
  }

  /// Results that share a storage in one call must share it in the other.
  static bool pairs_up(const Node& earlier, const Node& node, std::size_t i) {
    for (std::size_t j = 0; j < i; ++j) {
      const bool shared = earlier.values()[j].storage == earlier.values()[i].storage;
      if (shared != (node.values()[j].storage == node.values()[i].storage)) return false;
    }
    return true;
  }

  void merge(Node* earlier, Node* node) {
    report_.notes.push_back(fmt::format("%{} is %{}", node->name(), earlier->name()));
    ++report_.changes;
    for (std::size_t i = 0; i < node->values().size(); ++i) {
      index_.rehome(graph_, node->values()[i].storage, earlier->values()[i].storage);
    }
    replace_and_erase(graph_, index_, node, earlier);
  }

  Graph& graph_;
  ir::StorageIndex index_;
  PassReport report_;
  // By hash; looked up only, never iterated.
  std::unordered_map<std::size_t, std::vector<Node*>> table_;
};

PassReport common_subexpressions(Graph& graph, PassContext&) {
  return Merger(graph).run();
}

const Registration kRegistration{{"common_subexpressions",
                                  "compute equal calls on unchanged contents once",
                                  common_subexpressions}};

}  // namespace
}  // namespace monograph::passes
