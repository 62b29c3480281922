#include "capture/passes/fusion/expand.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "capture/ir/text.h"
#include "capture/passes/fusion/outline.h"
#include "capture/passes/rewrite.h"

namespace monograph::passes {
namespace {

using ir::Graph;
using ir::Node;
using Nodes = std::vector<Node*>;

bool is_fusion(const Node& node) {
  return node.kind() == ir::NodeKind::kCallFunction && node.target().starts_with("fusion.");
}

/// Parts of `members` between which nothing flows, each in order, ordered by their first members.
std::vector<Nodes> components(const Nodes& members) {
  std::map<ir::StorageId, std::size_t> made;  // by storage: which member
  std::vector<std::size_t> part(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    part[i] = i;
    for (const Node* input : inputs_of(*members[i])) {
      const auto from = made.find(input->storage());
      if (from == made.end()) continue;
      const std::size_t old = part[i];
      const std::size_t joined = part[from->second];
      std::replace(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(i) + 1, old, joined);
    }
    // State flows, too, from who writes it to who reads it afterwards.
    made[members[i]->storage()] = i;
  }
  std::vector<Nodes> out;
  std::map<std::size_t, std::size_t> index;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const auto [at, fresh] = index.emplace(part[i], out.size());
    if (fresh) out.emplace_back();
    out[at->second].push_back(members[i]);
  }
  return out;
}

class Expander {
 public:
  Expander(Graph& graph, const Refusal& refuse, const ir::Rates& rates)
      : graph_(graph), refuse_(refuse), outliner_(graph, rates) {}

  std::vector<std::string> run() {
    // Taking one apart erases views, but no other call.
    for (Node* node : nodes_where(graph_, is_fusion)) {
      const std::string why = refusal(*node);
      if (why.empty()) continue;
      const std::string what = fmt::format("%{} ({})", node->name(), node->target());
      std::vector<std::string> kept;
      regroup(inline_fusion(graph_, node), kept);
      lines_.push_back(
          fmt::format("{} taken apart: {}; fused still: {}", what, why,
                      kept.empty() ? "nothing" : fmt::format("{}", fmt::join(kept, ", "))));
    }
    remove_unused_subgraphs();
    return std::move(lines_);
  }

 private:
  const std::string& refusal(const Node& call) {
    std::string key = call.target();
    for (const ir::Arg& a : call.args()) {
      const ir::Storage& storage = graph_.storage(a.node()->storage());
      key += fmt::format(" {} {}", ir::text(a.node()->type()), ir::storage_kind_name(storage.kind));
    }
    const auto known = refusals_.find(key);
    if (known != refusals_.end()) return known->second;
    return refusals_.emplace(std::move(key), refuse_(call)).first->second;
  }

  /// One fusion of `members` if the back end takes it; otherwise the graph stays as it is, with
  /// other nodes for the same operators: `members` is updated.
  bool fuse(Nodes& members, std::vector<std::string>& kept) {
    PassReport report;
    Node* const call = outliner_.outline_call(members, report);
    if (call == nullptr) return false;
    if (refusal(*call).empty()) {
      kept.push_back("%" + call->name());
      return true;
    }
    members = inline_fusion(graph_, call);
    return false;
  }

  void regroup(const Nodes& members, std::vector<std::string>& kept) {
    for (Nodes& part : components(members)) {
      if (part.size() < 2) continue;
      if (part.size() < members.size() && fuse(part, kept)) continue;
      cut(part, kept);
    }
  }

  /// Fuses as many of `members`, which as a whole are refused, as the back end takes: the longest
  /// beginning, and what is left of it by itself; or else the longest end.
  void cut(Nodes& members, std::vector<std::string>& kept) {
    const auto n = static_cast<std::ptrdiff_t>(members.size());
    for (std::ptrdiff_t k = n - 1; k >= 2; --k) {
      Nodes first(members.begin(), members.begin() + k);
      const bool done = fuse(first, kept);
      if (done) return regroup(Nodes(members.begin() + k, members.end()), kept);
      std::copy(first.begin(), first.end(), members.begin());
    }
    for (std::ptrdiff_t k = 1; k <= n - 2; ++k) {
      Nodes last(members.begin() + k, members.end());
      if (fuse(last, kept)) return;
      std::copy(last.begin(), last.end(), members.begin() + k);
    }
  }

  void remove_unused_subgraphs() {
    std::set<std::string, std::less<>> called;
    for (const auto& node : graph_.nodes()) {
      if (is_fusion(*node)) called.insert(node->target().substr(7));
    }
    std::vector<std::string> unused;
    for (const auto& [name, body] : graph_.subgraphs()) {
      if (!called.contains(name)) unused.push_back(name);
    }
    for (const std::string& name : unused) graph_.erase_subgraph(name);
  }

  Graph& graph_;
  const Refusal& refuse_;
  Outliner outliner_;
  std::map<std::string, std::string> refusals_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> expand_fusions(Graph& graph, const Refusal& refuse,
                                        const ir::Rates& rates) {
  std::vector<std::string> lines = Expander(graph, refuse, rates).run();
  if (lines.empty()) return lines;
  // What was left off may go with something else, such as a residual sum with the norm after it.
  PassContext context;
  for (const char* pass : {"fuse_reductions", "fuse_pointwise"}) {
    const PassReport report = find_pass(pass).run(graph, context);
    for (const std::string& note : report.notes) lines.push_back(fmt::format("{}: {}", pass, note));
  }
  for (std::string& line : Expander(graph, refuse, rates).run()) lines.push_back(std::move(line));
  return lines;
}

}  // namespace monograph::passes
