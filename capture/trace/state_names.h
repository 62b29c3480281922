// Which tensors Options::mutable_state means.
#pragma once

#include <monograph/program.h>

#include <set>
#include <string_view>

namespace monograph::trace {

/// Adds state tensors that the module doesn't list ("state_0", ...), and returns the positions in
/// `module.tensors` of all that are declared. Error(kInvalidOption) for a name or glob that fits no
/// tensor, and for an undefined or non-strided tensor.
std::set<std::size_t> declare_state(Module& module, const Options& options);

/// True if a name or glob of `options.mutable_state` fits `name`.
bool names_state(const Options& options, std::string_view name) noexcept;

/// True if `name` fits `pattern`, where '*' stands for any characters and '?' for one.
bool glob_matches(std::string_view pattern, std::string_view name) noexcept;

}  // namespace monograph::trace
