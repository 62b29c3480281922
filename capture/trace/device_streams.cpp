#include "capture/trace/device_streams.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace monograph::trace {
namespace {

constexpr c10::DeviceType kAccelerator = c10::DeviceType::CUDA;

}  // namespace

DeviceStreams DeviceStreams::read() {
  DeviceStreams now;
  if (!c10::impl::hasDeviceGuardImpl(kAccelerator)) return now;
  const auto* guard = c10::impl::getDeviceGuardImpl(kAccelerator);
  const c10::DeviceIndex count = guard->deviceCount();
  if (count == 0) return now;
  now.device_ = guard->getDevice();
  for (c10::DeviceIndex i = 0; i < count; ++i) {
    now.streams_.push_back(guard->getStream(c10::Device(kAccelerator, i)));
  }
  return now;
}

bool DeviceStreams::moved(c10::Device device) const {
  if (device.type() != kAccelerator || streams_.empty()) return false;
  const auto* guard = c10::impl::getDeviceGuardImpl(kAccelerator);
  const c10::Device there = device.has_index() ? device : guard->getDevice();
  const auto index = static_cast<std::size_t>(there.index());
  return index < streams_.size() && guard->getStream(there) != streams_[index];
}

void DeviceStreams::restore() const {
  if (streams_.empty()) return;
  const auto* guard = c10::impl::getDeviceGuardImpl(kAccelerator);
  for (const c10::Stream& stream : streams_) (void)guard->exchangeStream(stream);
  if (device_) guard->setDevice(*device_);
}

}  // namespace monograph::trace
