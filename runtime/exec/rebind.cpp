// New tensors for the weights of a built executable.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>

#include "runtime/exec/executable_impl.h"

namespace monograph {
namespace {

/// What constant folding made of weights; which weights isn't known any more.
constexpr std::string_view kFolded = "_folded_constant";

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw Error(Code::kInvalidArgument, fmt::format("weight '{}' {}", name, why));
}

void check_like(const std::string& name, const at::Tensor& now, const at::Tensor& old) {
  if (!now.defined() || !now.has_storage() || now.is_sparse() || now.is_conj() || now.is_neg()) {
    refuse(name, "can't be replaced by a tensor that isn't plain and dense");
  }
  const auto place = [](const at::Tensor& t) {
    return fmt::format("{} at element {} of its storage", exec::describe(t), t.storage_offset());
  };
  const bool like = now.scalar_type() == old.scalar_type() && now.device() == old.device() &&
                    now.sizes() == old.sizes() && now.strides() == old.strides() &&
                    now.storage_offset() == old.storage_offset();
  if (!like) refuse(name, fmt::format("is {}, not {}", place(old), place(now)));
  if (now.storage().nbytes() < old.storage().nbytes()) {
    refuse(name, fmt::format("lies in a storage of {} bytes, not of {}", old.storage().nbytes(),
                             now.storage().nbytes()));
  }
}

using Weights = std::map<std::string, at::Tensor>;

/// Weights that shared memory share it still, and no others do.
void check_sharing(const Weights& now, const Weights& old) {
  for (const auto& [a, tensor] : old) {
    for (const auto& [b, other] : old) {
      if (!(a < b)) continue;
      const bool shared = tensor.storage().is_alias_of(other.storage());
      if (shared == now.at(a).storage().is_alias_of(now.at(b).storage())) continue;
      refuse(a, fmt::format("and weight '{}' {}", b,
                            shared ? "share memory: replace them together, by tensors that do"
                                   : "don't share memory, so their replacements must not either"));
    }
  }
}

}  // namespace

Weights Executable::Impl::replaced(const std::vector<NamedTensor>& weights) const {
  const Weights& old = planned_.weights;
  if (std::ranges::any_of(old, [](const auto& w) { return w.first.starts_with(kFolded); })) {
    throw Error(Code::kInvalidState,
                "constants were computed from this program's weights when it was traced, so they "
                "can't be replaced: trace with Options::fold_constants = false");
  }
  Weights now = old;
  for (const NamedTensor& w : weights) {
    const auto it = now.find(w.name);
    if (it == now.end()) refuse(w.name, "is none of this program's");
    check_like(w.name, w.tensor, old.at(w.name));
    it->second = w.tensor;
  }
  check_sharing(now, old);
  return now;
}

void Executable::Impl::rebind_weights(const std::vector<NamedTensor>& weights) {
  const InFlight in_flight(in_flight_);
  Weights now = replaced(weights);
  std::vector<std::string> changed;
  for (const NamedTensor& w : weights) changed.push_back(w.name);
  planned_.weights.swap(now);  // `now` holds the old ones
  try {
    runner_->rebind_weights(changed);
  } catch (const Error& e) {
    planned_.weights.swap(now);
    if (e.code() != Code::kInvalidState) {
      broken_ = fmt::format("a replacement of weights has failed, build again: {}", e.what());
    }
    throw;
  } catch (const std::exception& e) {
    broken_ = fmt::format("a replacement of weights has failed, build again: {}", e.what());
    throw;
  }
  pin_weights();
}

}  // namespace monograph
