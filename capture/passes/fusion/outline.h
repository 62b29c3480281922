// Groups of calls into calls of named subgraphs, and back.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "capture/ir/cost.h"
#include "capture/ir/graph.h"
#include "capture/passes/pass.h"

namespace monograph::passes {

/// Turns groups of calls into fusions of one graph. Equal subgraphs are kept once.
///
/// Form of a fusion: the call's arguments are the tensors it reads from outside, each once, in the
/// order in which its operators use them; a view of something outside is an argument itself, with
/// its strides, and its placeholder has offset 0. Views of what is made inside are inside. Its
/// results are what is needed outside, in the order of the operators, as a list if there are
/// several. Operators that write state write a placeholder; the call says so in `writes`, and
/// returns what was written only if it returns nothing else.
class Outliner {
 public:
  Outliner(ir::Graph& graph, const ir::Rates& rates);

  /// Makes one call of `members` (in graph order, at least two, convex: see Groups) and notes it in
  /// `report` with what it saves. Nodes that depend on members move behind it. Leaves the graph
  /// alone and returns false if the fusion can't be formed or is predicted not to be faster.
  bool outline(const std::vector<ir::Node*>& members, PassReport& report) {
    return outline_call(members, report) != nullptr;
  }
  /// The same; the call, or nullptr.
  ir::Node* outline_call(const std::vector<ir::Node*>& members, PassReport& report);

 private:
  std::string name_for(ir::Graph& body, const std::vector<ir::Node*>& members);

  ir::Graph& graph_;
  ir::Rates rates_;
  std::map<std::string, std::string> known_;  ///< text of a subgraph without its name -> its name
};

/// Puts the operators of a fusion in place of its call, whose subgraph stays, and returns those
/// that aren't views, in order.
std::vector<ir::Node*> inline_fusion(ir::Graph& graph, ir::Node* call);

}  // namespace monograph::passes
