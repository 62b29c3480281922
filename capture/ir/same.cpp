#include <unordered_map>

#include "capture/ir/spelling.h"
#include "capture/ir/text.h"

namespace monograph::ir {
namespace {

/// Walks two graphs in step. Storages correspond if they are first seen at the same place.
class Comparison {
 public:
  Comparison(const Graph& a, const Graph& b, std::string& why) : a_(a), b_(b), why_(why) {}

  bool graphs() {
    if (a_.name() != b_.name()) return differ("graph name", quoted(a_.name()), quoted(b_.name()));
    if (a_.size() != b_.size()) return differ_in_size("number of nodes", a_.size(), b_.size());
    const std::vector<Node*> nodes_b = b_.node_vector();
    std::size_t at = 0;
    for (const auto& a : a_.nodes()) partner_[a.get()] = nodes_b[at++];
    at = 0;
    for (const auto& a : a_.nodes()) {
      if (!nodes(*a, *nodes_b[at++])) return false;
    }
    return subgraphs();
  }

 private:
  bool differ(const std::string& what, const std::string& a, const std::string& b) {
    why_ = what + ": " + a + " against " + b;
    return false;
  }

  bool differ_in_size(const std::string& what, std::size_t a, std::size_t b) {
    return differ(what, std::to_string(a), std::to_string(b));
  }

  bool nodes(const Node& a, const Node& b) {
    if (a.name() != b.name()) return differ("node name", "%" + a.name(), "%" + b.name());
    const std::string at = "%" + a.name() + ": ";
    if (a.kind() != b.kind()) {
      return differ(at + "kind", std::string(node_kind_name(a.kind())),
                    std::string(node_kind_name(b.kind())));
    }
    if (a.target() != b.target())
      return differ(at + "target", quoted(a.target()), quoted(b.target()));
    if (!arguments(a, b, at)) return false;
    if (a.is_list() != b.is_list())
      return differ_in_size(at + "is a list", a.is_list(), b.is_list());
    if (a.values().size() != b.values().size()) {
      return differ_in_size(at + "number of results", a.values().size(), b.values().size());
    }
    for (std::size_t i = 0; i < a.values().size(); ++i) {
      if (!values(a.values()[i], b.values()[i], at)) return false;
    }
    return metadata(a, b, at);
  }

  bool arguments(const Node& a, const Node& b, const std::string& at) {
    if (!lists(a.args(), b.args(), at + "args")) return false;
    if (a.kwargs().size() != b.kwargs().size()) {
      return differ_in_size(at + "number of kwargs", a.kwargs().size(), b.kwargs().size());
    }
    for (std::size_t i = 0; i < a.kwargs().size(); ++i) {
      const auto& [key_a, value_a] = a.kwargs()[i];
      const auto& [key_b, value_b] = b.kwargs()[i];
      if (key_a != key_b) return differ(at + "kwarg", quoted(key_a), quoted(key_b));
      std::string what = at;
      what.append("kwarg ").append(key_a);
      if (!args(value_a, value_b, what)) return false;
    }
    const std::vector<Arg> writes_a(a.writes().begin(), a.writes().end());
    const std::vector<Arg> writes_b(b.writes().begin(), b.writes().end());
    return lists(writes_a, writes_b, at + "writes");
  }

  bool lists(const std::vector<Arg>& a, const std::vector<Arg>& b, const std::string& what) {
    if (a.size() != b.size()) return differ_in_size(what + " in number", a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (!args(a[i], b[i], what)) return false;
    }
    return true;
  }

  bool args(const Arg& a, const Arg& b, const std::string& what) {
    if (a.is_list() && b.is_list()) return lists(a.list(), b.list(), what);
    const bool equal = a.is_node() && b.is_node() ? correspond(a.node(), b.node()) : a == b;
    return equal || differ(what, text(a), text(b));
  }

  bool correspond(const Node* a, const Node* b) const {
    const auto at = partner_.find(a);
    return at != partner_.end() && at->second == b;
  }

  bool values(const Value& a, const Value& b, const std::string& at) {
    if (a.type != b.type) return differ(at + "type", text(a.type), text(b.type));
    if ((a.storage == kNoStorage) != (b.storage == kNoStorage)) {
      return differ_in_size(at + "has a storage", a.storage != kNoStorage, b.storage != kNoStorage);
    }
    if (a.storage == kNoStorage) return true;
    const auto [to_b, new_in_a] = storage_partner_.emplace(a.storage, b.storage);
    const auto [to_a, new_in_b] = storage_partner_back_.emplace(b.storage, a.storage);
    if (to_b->second != b.storage || to_a->second != a.storage) {
      return differ(at + "alias", "storage " + std::to_string(a.storage),
                    "storage " + std::to_string(b.storage));
    }
    return !new_in_a || storages(a_.storage(a.storage), b_.storage(b.storage), at + "storage");
  }

  bool storages(const Storage& a, const Storage& b, const std::string& what) {
    if (a.kind != b.kind) {
      return differ(what + " kind", std::string(storage_kind_name(a.kind)),
                    std::string(storage_kind_name(b.kind)));
    }
    if (a.name != b.name) return differ(what + " name", quoted(a.name), quoted(b.name));
    if (a.nbytes != b.nbytes) {
      return differ(what + " bytes", std::to_string(a.nbytes), std::to_string(b.nbytes));
    }
    return a.device == b.device ||
           differ(what + " device", to_string(a.device), to_string(b.device));
  }

  bool metadata(const Node& a, const Node& b, const std::string& at) {
    if (a.traits != b.traits) {
      return differ(at + "traits (random, nondeterministic)", spell(a.traits), spell(b.traits));
    }
    if (a.module_path != b.module_path) {
      return differ(at + "module path", quoted(a.module_path), quoted(b.module_path));
    }
    return a.source == b.source || differ(at + "source", quoted(a.source), quoted(b.source));
  }

  static std::string spell(const Traits& t) {
    return std::to_string(t.random) + ", " + std::to_string(t.nondeterministic);
  }

  bool subgraphs() {
    const auto& subs_a = a_.subgraphs();
    const auto& subs_b = b_.subgraphs();
    if (subs_a.size() != subs_b.size()) {
      return differ_in_size("number of subgraphs", subs_a.size(), subs_b.size());
    }
    auto b = subs_b.begin();
    for (const auto& [key, sub] : subs_a) {
      if (key != b->first) return differ("subgraph", quoted(key), quoted(b->first));
      if (!Comparison(*sub, *b->second, why_).graphs()) {
        why_ = "subgraph " + quoted(key) + ": " + why_;
        return false;
      }
      ++b;
    }
    return true;
  }

  const Graph& a_;
  const Graph& b_;
  std::string& why_;
  // Looked up only, never iterated.
  std::unordered_map<const Node*, const Node*> partner_;
  std::unordered_map<StorageId, StorageId> storage_partner_;
  std::unordered_map<StorageId, StorageId> storage_partner_back_;
};

}  // namespace

bool same(const Graph& a, const Graph& b, std::string* why) {
  std::string ignored;
  return Comparison(a, b, why != nullptr ? *why : ignored).graphs();
}

}  // namespace monograph::ir
