// Pictures for Graphviz.
#pragma once

#include <string>
#include <string_view>

#include "runtime/plan/plan.h"

namespace monograph::dump {

/// The plan's launches and edges in DOT.
std::string plan_dot(const plan::Plan& plan);

/// A back end's text of its device graph ("node 0 %linear: kernel ...", "edge 0 -> 1 ...") in DOT;
/// lines of another form are left out.
std::string device_graph_dot(std::string_view text);

}  // namespace monograph::dump
