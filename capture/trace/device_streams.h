// The streams of an accelerator that a forward may work on.
#pragma once

#include <ATen/core/TensorBody.h>
#include <c10/core/Stream.h>

#include <optional>
#include <vector>

namespace monograph::trace {

/// The current device of this thread, and its current stream of each. Reads through LibTorch's
/// device guard, so it needs no CUDA; empty where no guard is registered or no device is there.
class DeviceStreams {
 public:
  static DeviceStreams read();

  /// True if `device` is one of these and its current stream is another one by now.
  bool moved(c10::Device device) const;
  bool empty() const noexcept { return streams_.empty(); }
  bool same_streams(const DeviceStreams& other) const { return streams_ == other.streams_; }
  bool same_device(const DeviceStreams& other) const { return device_ == other.device_; }
  /// Makes them the current ones.
  void restore() const;

 private:
  std::optional<c10::Device> device_;
  std::vector<c10::Stream> streams_;  // by index of the device
};

}  // namespace monograph::trace
