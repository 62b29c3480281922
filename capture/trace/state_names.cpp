#include "capture/trace/state_names.h"

#include <monograph/error.h>

#include <algorithm>

#include "capture/trace/convert.h"

namespace monograph::trace {
namespace {

[[noreturn]] void no_such_tensor(const Module& module, const std::string& pattern) {
  constexpr std::size_t kNamed = 8;
  std::string there;
  for (std::size_t i = 0; i < module.tensors.size() && i < kNamed; ++i) {
    there += (i == 0 ? "'" : ", '") + module.tensors[i].name + "'";
  }
  if (module.tensors.size() > kNamed) there += ", ...";
  throw Error(Code::kInvalidOption,
              "mutable_state '" + pattern +
                  "' fits no tensor of the module; there are: " + (there.empty() ? "none" : there));
}

std::size_t position_of(Module& module, const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || !tensor.has_storage()) {
    throw Error(Code::kInvalidOption,
                "mutable_state expects dense tensors, got " + describe(tensor));
  }
  for (std::size_t i = 0; i < module.tensors.size(); ++i) {
    if (module.tensors[i].tensor.is_same(tensor)) return i;
  }
  std::string name;
  std::size_t n = 0;
  const auto taken = [&module, &name] {
    for (const NamedTensor& t : module.tensors) {
      if (t.name == name) return true;
    }
    return false;
  };
  do {
    name = "state_" + std::to_string(n++);
  } while (taken());
  module.tensors.push_back({name, tensor, true});
  return module.tensors.size() - 1;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view name) noexcept {
  // Greedy with one point to go back to: the last '*' (Wagner's wildcard match, linear in
  // practice).
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool names_state(const Options& options, std::string_view name) noexcept {
  return std::any_of(
      options.mutable_state.begin(), options.mutable_state.end(), [name](const StateRef& ref) {
        return !ref.tensor.defined() && !ref.pattern.empty() && glob_matches(ref.pattern, name);
      });
}

std::set<std::size_t> declare_state(Module& module, const Options& options) {
  std::set<std::size_t> states;
  const std::size_t own = module.tensors.size();
  for (const StateRef& ref : options.mutable_state) {
    if (ref.tensor.defined() || ref.pattern.empty()) {
      states.insert(position_of(module, ref.tensor));
      continue;
    }
    bool found = false;
    for (std::size_t i = 0; i < own; ++i) {
      if (!glob_matches(ref.pattern, module.tensors[i].name)) continue;
      states.insert(i);
      found = true;
    }
    if (!found) no_such_tensor(module, ref.pattern);
  }
  return states;
}

}  // namespace monograph::trace
