// Parts of a graph as graphs of their own.
#pragma once

#include <ATen/core/TensorBody.h>

#include <map>
#include <string>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::inspect {

/// A graph with everything that running it takes.
struct Subject {
  ir::Graph graph;
  std::map<std::string, at::Tensor> weights;  ///< by get_attr target; may hold more than needed
  std::vector<at::Tensor> inputs;             ///< in placeholder order
};

/// A copy with a graph of its own and, where the graph writes declared state, tensors of its own
/// for that; other tensors are shared.
Subject copy_of(const Subject& subject);

/// Results of the reference interpreter; the subject's state stays as it is.
std::vector<at::Tensor> results_of(const Subject& subject);

/// The calls of `graph` in order, views included.
std::vector<const ir::Node*> calls_of(const ir::Graph& graph);

/// The subgraph of `calls` (a subset of `calls_of(subject.graph)`, in order) that returns `outputs`
/// (those of them that are among the calls; empty: whatever the rest of the graph uses). What it
/// reads of other calls becomes inputs with the values that the reference interpreter finds;
/// weights stay weights. Throws Error(kInvalidGraph) if these calls can't stand alone: they write
/// into memory that would be an input, or take a list apart that another call makes. The result is
/// verified.
Subject extract(const Subject& subject, const std::vector<const ir::Node*>& calls,
                const std::vector<const ir::Node*>& outputs = {});

}  // namespace monograph::inspect
