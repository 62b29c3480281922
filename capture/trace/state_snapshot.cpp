#include "capture/trace/state_snapshot.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "capture/trace/dispatch_key.h"
#include "capture/trace/host_memory.h"
#include "runtime/base/log.h"

namespace monograph::trace {

at::Tensor storage_bytes(const at::Tensor& tensor) {
  const RecordingPause pause;
  const auto size = static_cast<std::int64_t>(tensor.storage().nbytes());
  if (size == 0) return {};
  return at::empty({0}, at::TensorOptions().dtype(at::kByte).device(tensor.device()))
      .set_(tensor.storage(), 0, {size}, {1});
}

namespace {

std::uint64_t device_sum(const at::Tensor& bytes) {
  constexpr std::int64_t kWord = 8;
  const std::int64_t whole = bytes.numel() / kWord * kWord;
  std::uint64_t sum = 0;
  if (whole > 0) {
    sum += static_cast<std::uint64_t>(
        bytes.slice(0, 0, whole).view(at::kLong).sum().item<std::int64_t>());
  }
  if (whole < bytes.numel()) {
    sum += static_cast<std::uint64_t>(bytes.slice(0, whole).sum(at::kLong).item<std::int64_t>());
  }
  return sum;
}

}  // namespace

std::vector<std::uint64_t> sums_of(const std::vector<at::Tensor>& bytes) {
  const RecordingPause pause;
  std::vector<std::uint64_t> sums(bytes.size());
  std::vector<std::size_t> on_host;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (!bytes[i].defined()) continue;
    if (bytes[i].device().is_cpu()) {
      on_host.push_back(i);
    } else {
      sums[i] = device_sum(bytes[i]);
    }
  }
  std::vector<ByteSpan> spans;
  for (const std::size_t i : on_host) {
    spans.push_back({static_cast<const unsigned char*>(bytes[i].const_data_ptr()),
                     static_cast<std::size_t>(bytes[i].numel())});
  }
  const std::vector<std::uint64_t> found = checksums(spans);
  for (std::size_t i = 0; i < on_host.size(); ++i) sums[on_host[i]] = found[i];
  return sums;
}

std::vector<StateSum> StateSnapshot::sums() const {
  std::vector<at::Tensor> bytes;
  for (const Saved& s : saved_) bytes.push_back(s.bytes);
  const auto sums = sums_of(bytes);
  std::vector<StateSum> out;
  for (std::size_t i = 0; i < bytes.size(); ++i) out.push_back({bytes[i], sums[i]});
  return out;
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
