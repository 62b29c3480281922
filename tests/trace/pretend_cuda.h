// A "CUDA device" whose memory is the host's and whose operators are the host's: what the tracer
// does about devices and streams, without a device and without LibTorch's CUDA half.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

namespace monograph::test {

inline constexpr c10::DeviceType kPretended = c10::DeviceType::CUDA;

/// A copy of `host` on the device.
at::Tensor on_device(const at::Tensor& host);

/// Makes stream `id` of the device current while alive.
class OnStream {
 public:
  explicit OnStream(c10::StreamId id);
  ~OnStream();
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;

 private:
  c10::Stream before_;
};

/// Makes stream `id` current and leaves it so.
void switch_stream(c10::StreamId id);
c10::StreamId current_stream();
void switch_device(c10::DeviceIndex index);
c10::DeviceIndex current_device();

}  // namespace monograph::test
