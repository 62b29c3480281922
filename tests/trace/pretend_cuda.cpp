#include "tests/trace/pretend_cuda.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/FakeGuardImpl.h>
#include <torch/library.h>

#include <memory>
#include <utility>
#include <vector>

namespace monograph::test {
namespace {

C10_REGISTER_GUARD_IMPL(CUDA, c10::impl::FakeGuardImpl<kPretended>)

const c10::Device kDevice(kPretended, 0);

/// A storage that calls itself the device's, over the memory of one of the host.
c10::Storage device_storage(const c10::Storage& host) {
  auto keep = std::make_unique<c10::Storage>(host);
  void* data = keep->mutable_data();
  return c10::Storage(c10::Storage::use_byte_size_t(), host.nbytes(),
                      c10::DataPtr(
                          data, keep.release(),
                          [](void* kept) { delete static_cast<c10::Storage*>(kept); }, kDevice),
                      nullptr, /*resizable=*/false);
}

/// Another tensor on the memory of `base`, which has inference tensors and others alike.
at::Tensor view_of(const at::Tensor& base, const at::Tensor& like) {
  auto t = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(base.storage()), base.key_set(), like.dtype());
  t.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(),
                                                 like.storage_offset());
  return t;
}

at::Tensor with_storage(const at::Tensor& like, c10::Storage storage, c10::DispatchKey key) {
  auto t = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key),
                                                    like.dtype());
  t.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(),
                                                 like.storage_offset());
  return t;
}

c10::Storage host_storage(const c10::Storage& device) {
  return *static_cast<const c10::Storage*>(device.data_ptr().get_context());
}

/// One call: arguments become the host's, results the device's. A result on an argument's memory
/// is on that argument's storage, as on a real device.
class Call {
 public:
  c10::IValue to_host(const c10::IValue& value) {
    if (value.isDevice()) return value.toDevice().is_cuda() ? c10::Device(at::kCPU) : value;
    if (value.isTensor() && value.toTensor().defined()) return host_of(value.toTensor());
    if (value.isStorage() && value.toStorage().device().is_cuda()) {
      storages_.emplace_back(value.toStorage(), host_storage(value.toStorage()));
      return storages_.back().second;
    }
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : value.toTensorList().vec()) list.push_back(host_of(t));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector()) {
        list.push_back(t && t->defined() ? std::optional(host_of(*t)) : t);
      }
      return list;
    }
    return value;
  }
  c10::IValue to_device(const c10::IValue& value) {
    if (value.isTensor() && value.toTensor().defined()) return device_of(value.toTensor());
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : value.toTensorList().vec()) list.push_back(device_of(t));
      return list;
    }
    return value;
  }

 private:
  at::Tensor host_of(const at::Tensor& t) {
    if (!t.is_cuda()) {
      pairs_.emplace_back(t, t);
      return t;
    }
    storages_.emplace_back(t.storage(), host_storage(t.storage()));
    at::Tensor host = with_storage(t, storages_.back().second, c10::DispatchKey::CPU);
    pairs_.emplace_back(t, host);
    return host;
  }
  c10::Storage storage_of(const at::Tensor& host) const {
    for (const auto& [device, known] : storages_) {
      if (known.unsafeGetStorageImpl() == host.storage().unsafeGetStorageImpl()) return device;
    }
    return device_storage(host.storage());
  }
  at::Tensor device_of(const at::Tensor& host) {
    for (const auto& [given, view] : pairs_) {
      if (!view.is_same(host)) continue;
      if (given.is_cuda()) {  // set_, resize_ and their like have changed what it shows
        given.unsafeGetTensorImpl()->set_storage_keep_dtype(storage_of(host));
        given.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides(),
                                                           host.storage_offset());
      }
      return given;
    }
    for (const auto& [given, view] : pairs_) {
      if (given.is_cuda() && view.is_alias_of(host)) return view_of(given, host);
    }
    return with_storage(host, storage_of(host), c10::DispatchKey::CUDA);
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;         // as given, as the host has them
  std::vector<std::pair<c10::Storage, c10::Storage>> storages_;  // likewise
};

void pretend(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  Call call;
  const std::size_t count = op.schema().arguments().size();
  for (std::size_t i = stack->size() - count; i < stack->size(); ++i) {
    (*stack)[i] = call.to_host((*stack)[i]);
  }
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(*stack);
  }
  for (std::size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    (*stack)[i] = call.to_device((*stack)[i]);
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&pretend>());
}
// LibTorch's kernel for every device would look for a CUDA one of its own.
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("copy_", torch::CppFunction::makeFromBoxedFunction<&pretend>());
}

const c10::impl::DeviceGuardImplInterface& guard() {
  return *c10::impl::getDeviceGuardImpl(kPretended);
}

}  // namespace

at::Tensor on_device(const at::Tensor& host) {
  const at::Tensor own = host.clone();
  return with_storage(own, device_storage(own.storage()), c10::DispatchKey::CUDA);
}

OnStream::OnStream(c10::StreamId id)
    : before_(guard().exchangeStream(c10::Stream(c10::Stream::UNSAFE, kDevice, id))) {}
OnStream::~OnStream() {
  (void)guard().exchangeStream(before_);
}

void switch_stream(c10::StreamId id) {
  (void)guard().exchangeStream(c10::Stream(c10::Stream::UNSAFE, kDevice, id));
}
c10::StreamId current_stream() {
  return guard().getStream(kDevice).id();
}
void switch_device(c10::DeviceIndex index) {
  guard().setDevice(c10::Device(kPretended, index));
}
c10::DeviceIndex current_device() {
  return guard().getDevice().index();
}

}  // namespace monograph::test
