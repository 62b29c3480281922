// Guards of Mode::kStock: what must still hold for a compiled program to stand for forward.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/program.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace monograph::session {

/// Global and thread modes that change what forward computes, as words of a shape key: grad,
/// inference and autocast mode, default dtype, deterministic and precision flags.
std::vector<std::int64_t> mode_words();

/// Identity and version of a module's tensors at one moment.
class WeightGuard {
 public:
  explicit WeightGuard(const std::vector<NamedTensor>& tensors);
  /// Stops watching the tensors of these names: state, which changes by itself.
  void release(const std::set<std::string>& names, const std::vector<NamedTensor>& tensors);
  /// False if a tensor was replaced, moved or written since. Cost: a few loads per tensor.
  bool holds(const std::vector<NamedTensor>& tensors) const noexcept;

 private:
  struct State {
    const void* tensor = nullptr;
    const void* storage = nullptr;
    const void* data = nullptr;
    std::uint32_t version = 0;
    bool released = false;
    bool operator==(const State&) const = default;
  };
  static State state_of(const at::Tensor& t) noexcept;
  std::vector<State> states_;
};

}  // namespace monograph::session
