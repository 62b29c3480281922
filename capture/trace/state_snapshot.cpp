#include "capture/trace/state_snapshot.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "capture/trace/dispatch_key.h"
#include "runtime/base/log.h"

namespace monograph::trace {

at::Tensor storage_bytes(const at::Tensor& tensor) {
  const RecordingPause pause;
  const auto size = static_cast<std::int64_t>(tensor.storage().nbytes());
  if (size == 0) return {};
  return at::empty({0}, at::TensorOptions().dtype(at::kByte).device(tensor.device()))
      .set_(tensor.storage(), 0, {size}, {1});
}

void StateSnapshot::save(const at::Tensor& tensor) {
  const c10::InferenceMode inference;
  const RecordingPause pause;
  const auto known = [&tensor](const Saved& s) { return s.bytes.is_alias_of(tensor); };
  if (std::any_of(saved_.begin(), saved_.end(), known)) return;
  at::Tensor bytes = storage_bytes(tensor);
  if (!bytes.defined()) return;
  at::Tensor copy = bytes.clone();
  saved_.push_back({std::move(bytes), std::move(copy)});
}

void StateSnapshot::restore() {
  const c10::InferenceMode inference;
  const RecordingPause pause;
  while (!saved_.empty()) {
    saved_.back().bytes.copy_(saved_.back().copy);
    saved_.pop_back();
  }
}

StateSnapshot::~StateSnapshot() {
  try {
    restore();
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kError, std::string("state could not be put back: ") + e.what());
  }
}

}  // namespace monograph::trace
