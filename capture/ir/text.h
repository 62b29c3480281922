// Text form of a graph: `parse(text(g))` equals `g`.
//
//   graph mlp {
//     %x : f32[1,64] = placeholder[target=x]
//     %w : f32[64,32] = get_attr[target=fc.weight, kind=parameter]
//     %t : f32[32,64]{strides=[1,32], alias=%w} = call_function[target=aten.t.default](args =
//     (%w,), kwargs = {}) %mm : f32[1,64] = call_function[target=aten.mm.default](args = (%x, %t),
//     kwargs = {}) %relu_ : f32[1,64]{alias=%mm} = call_function[target=aten.relu_.default,
//     writes=(%mm,)](args = (%mm,), kwargs = {}) in "fc" at "mlp.cpp:7" %split :
//     (f32[1,32]{strides=[64,1], alias=%mm}, f32[1,32]{strides=[64,1], offset=32, alias=%mm}) =
//     call_function[...](...) return (%relu_,) subgraph NAME { ... }
//   }
//
// A result without `alias` defines a new storage; `alias=%n` (or `alias=%n#2` for element 2 of a
// list) says it lives in the storage that %n defined first. `bytes=` appears when the storage is
// larger than the defining result's extent, `strides=` when not row-major, `offset=` when not 0,
// `device=` when not cpu. Where a graph departs from what is usual it says so: `storage=` and
// `kind=` in braces if the storage isn't named or isn't of the kind that its first value suggests,
// `return[name=output_1] (...)`, `subgraph KEY = NAME {`. A list may alias its own earlier
// elements. Names with other characters than letters, digits, underscores and dots are quoted.
// Arguments are spelt as Python does, apart from strings, which have double quotes and escape
// single bytes
// (\xNN), `complex(1.0, -0.0)` and NaNs with unusual bits, `nan(0x7ff8000000000001)`. Space is free
// and "//" starts a comment. Storage ids are numbered by first definition, so a graph whose ids are
// numbered otherwise (after erasures) equals its parse in every other respect; see `same`.
#pragma once

#include <string>
#include <string_view>

#include "capture/ir/graph.h"

namespace monograph::ir {

std::string text(const Graph& graph);
/// One line, without indentation or newline. O(nodes before it), to find what it aliases.
std::string text(const Node& node);
std::string text(const TensorType& type);
std::string text(const Arg& arg);

/// Throws Error(kInvalidGraph) "line L, column C: expected ..." on malformed text. Bounded:
/// nesting ≤ 64, names ≤ 4096 bytes. The result isn't verified.
Graph parse(std::string_view text);

/// Structural equality up to storage numbering: the same names, kinds, targets, arguments, types,
/// alias relations, storage kinds and sizes, metadata and subgraphs in the same order.
/// On difference `why` (if given) says the first one.
bool same(const Graph& a, const Graph& b, std::string* why = nullptr);

}  // namespace monograph::ir
