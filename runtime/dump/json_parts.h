// Pieces of dump.json. Not for use outside runtime/dump.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/dump/diff.h"
#include "runtime/dump/snapshot.h"

namespace monograph::dump {

using Json = nlohmann::ordered_json;

/// "03_dead_code.txt": the file of stage `index`.
std::string stage_file(std::size_t index, const std::string& name);

/// One object per node of the final graph, in order. `lines` are the numbers of the lines of the
/// graph's text.
Json nodes_json(const Snapshot& snapshot, const std::vector<std::int32_t>& lines,
                const LineTable& table);
Json fusions_json(const ir::Graph& graph);
Json launches_json(const Snapshot& snapshot);
Json plan_json(const plan::Plan& plan);

/// Figures that a back end reports per node, from lines "%node: words key=value key=value".
std::map<std::string, Json> kernel_figures(const Snapshot& snapshot);

/// Distinct nodes that `node` uses, in the order of its arguments.
std::vector<const ir::Node*> inputs_of(const ir::Node& node);

}  // namespace monograph::dump
