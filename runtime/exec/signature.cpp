#include "runtime/exec/signature.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarTypeToTypeMeta.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>

#include <cstring>

namespace monograph::exec {
namespace {

std::string_view short_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBool:
      return "bool";
    case at::kByte:
      return "u8";
    case at::kChar:
      return "i8";
    case at::kShort:
      return "i16";
    case at::kInt:
      return "i32";
    case at::kLong:
      return "i64";
    case at::kHalf:
      return "f16";
    case at::kBFloat16:
      return "bf16";
    case at::kFloat:
      return "f32";
    case at::kDouble:
      return "f64";
    case at::kComplexFloat:
      return "c64";
    case at::kComplexDouble:
      return "c128";
    case at::kFloat8_e4m3fn:
      return "f8e4m3fn";
    case at::kFloat8_e5m2:
      return "f8e5m2";
    default:
      return c10::toString(dtype);
  }
}

/// Bytes from the first element to the end of the last; 0 if there is none.
std::size_t extent_bytes(at::IntArrayRef sizes, at::IntArrayRef strides, std::size_t itemsize) {
  std::size_t last = 0;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 0) return 0;
    last += static_cast<std::size_t>((sizes[d] - 1) * strides[d]);
  }
  return (last + 1) * itemsize;
}

/// Row-major as torch sees it: strides of size-1 dimensions don't matter.
bool row_major(at::IntArrayRef sizes, at::IntArrayRef strides) {
  std::int64_t expected = 1;
  for (std::size_t d = sizes.size(); d-- > 0;) {
    if (sizes[d] == 0) return true;
    if (sizes[d] != 1 && strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

std::string describe(at::ScalarType dtype, at::IntArrayRef sizes, at::IntArrayRef strides,
                     c10::Device device) {
  std::string s = fmt::format("{}[{}]", short_name(dtype), fmt::join(sizes, ","));
  if (!row_major(sizes, strides)) s += fmt::format("{{strides=[{}]}}", fmt::join(strides, ","));
  return s + " on " + device.str();
}

c10::DispatchKey backend_key(c10::Device device) {
  switch (device.type()) {
    case at::kCPU:
      return c10::DispatchKey::CPU;
    case at::kCUDA:
      return c10::DispatchKey::CUDA;
    default:
      return c10::DispatchKey::Undefined;
  }
}

/// Keys of an ordinary tensor of this kind, as LibTorch itself sets them.
c10::DispatchKeySet key_set_of(const TensorSpec& spec, bool inference) {
  const c10::InferenceMode mode(inference);
  return c10::TensorImpl(c10::DispatchKeySet(backend_key(spec.device)),
                         c10::scalarTypeToTypeMeta(spec.dtype), spec.device)
      .key_set();
}

bool is_plain(c10::DispatchKeySet keys) {
  // Lazily conjugated or negated tensors, wrappers and modes have other bytes than values.
  const c10::DispatchKeySet odd({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative,
                                 c10::DispatchKey::ZeroTensor, c10::DispatchKey::Python,
                                 c10::DispatchKey::Functionalize});
  return !keys.has_any(odd) && keys.has_any(c10::DispatchKeySet({c10::DispatchKey::Dense}));
}

/// What a storage says that refuses to show its data, as those of borrowed outputs do that have
/// ended; empty if it has nothing to say.
std::string own_words(const c10::Storage& storage) {
  try {
    (void)storage.data();
  } catch (const c10::Error& e) {
    return std::string(": ") + e.msg();
  }
  return {};
}

}  // namespace

ByteRange byte_range(const at::Tensor& t) noexcept {
  const auto* impl = t.unsafeGetTensorImpl();
  const std::size_t itemsize = impl->dtype().itemsize();
  const auto* base = static_cast<const std::byte*>(impl->unsafe_storage().data());
  const auto* first = base + static_cast<std::size_t>(impl->storage_offset()) * itemsize;
  return {first, first + extent_bytes(impl->sizes(), impl->strides(), itemsize)};
}

std::string describe(const at::Tensor& t) {
  if (!t.defined()) return "an undefined tensor";
  if (t.layout() != at::kStrided) {
    return fmt::format("{}[{}] with layout {}", short_name(t.scalar_type()),
                       fmt::join(t.sizes(), ","), c10::str(t.layout()));
  }
  return describe(t.scalar_type(), t.sizes(), t.strides(), t.device());
}

std::string describe(const TensorSpec& spec) {
  return describe(spec.dtype, spec.sizes, spec.strides, spec.device);
}

Signature::Signature(std::vector<TensorSpec> specs, std::string role)
    : specs_(std::move(specs)), role_(std::move(role)) {
  for (const TensorSpec& spec : specs_) {
    Slot slot;
    slot.dtype = c10::scalarTypeToTypeMeta(spec.dtype);
    slot.device = spec.device;
    slot.plain = key_set_of(spec, false);
    slot.inference = key_set_of(spec, true);
    slot.rank = spec.sizes.size();
    slot.first_dim = dims_.size();
    dims_.insert(dims_.end(), spec.sizes.begin(), spec.sizes.end());
    dims_.insert(dims_.end(), spec.strides.begin(), spec.strides.end());
    slot.extent = extent_bytes(spec.sizes, spec.strides, slot.dtype.itemsize());
    slot.empty = slot.extent == 0;
    slots_.push_back(slot);
  }
}

bool Signature::slot_matches(const Slot& slot, const c10::TensorImpl& impl,
                             bool grad) const noexcept {
  const c10::DispatchKeySet keys = impl.key_set();
  if (keys != slot.plain && keys != slot.inference) return false;
  if (impl.dtype() != slot.dtype || impl.device() != slot.device) return false;
  const at::IntArrayRef sizes = impl.sizes();
  if (sizes.size() != slot.rank) return false;
  const std::int64_t* dims = dims_.data() + slot.first_dim;
  const at::IntArrayRef strides = impl.strides();
  for (std::size_t d = 0; d < slot.rank; ++d) {
    if (sizes[d] != dims[d] || strides[d] != dims[slot.rank + d]) return false;
  }
  if (grad && impl.requires_grad()) return false;
  const c10::Storage& storage = impl.unsafe_storage();
  const std::size_t start = static_cast<std::size_t>(impl.storage_offset()) * slot.dtype.itemsize();
  // Some storages throw when asked for their data; here only its presence counts.
  const void* data = storage.unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get();
  return slot.empty || (data != nullptr && start + slot.extent <= storage.nbytes());
}

bool Signature::matches(const std::vector<at::Tensor>& tensors) const noexcept {
  if (tensors.size() != slots_.size()) return false;
  const bool grad = c10::GradMode::is_enabled();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slot_matches(slots_[i], *tensors[i].unsafeGetTensorImpl(), grad)) return false;
  }
  return true;
}

void Signature::fail(std::size_t index, const std::string& problem) const {
  const std::string& name = specs_[index].name;
  throw Error(Code::kInvalidArgument,
              fmt::format("{} {}{}: {}", role_, index,
                          name.empty() ? "" : fmt::format(" ('{}')", name), problem));
}

void Signature::check_one(std::size_t index, const at::Tensor& t) const {
  const Slot& slot = slots_[index];
  const TensorSpec& spec = specs_[index];
  const auto expected = [&] { return "expected " + exec::describe(spec) + ", got "; };
  if (!t.defined()) fail(index, expected() + "an undefined tensor");
  const auto differ = [&](std::string_view what) {
    fail(index, fmt::format("{}{} ({} differ{})", expected(), exec::describe(t), what,
                            what.back() == 's' ? "" : "s"));
  };
  if (t.layout() != at::kStrided) differ("layout");
  if (t.device() != slot.device) differ("device");
  if (t.dtype() != slot.dtype) differ("dtype");
  if (t.sizes().size() != slot.rank) differ("rank");
  if (t.sizes() != at::IntArrayRef(spec.sizes)) differ("sizes");
  if (!slot.empty) {
    for (std::size_t d = 0; d < slot.rank; ++d) {
      if (spec.sizes[d] != 1 && t.strides()[d] != spec.strides[d]) differ("strides");
    }
  }
  if (!is_plain(t.key_set())) {
    fail(index, expected() +
                    "a tensor that is lazily conjugated, negated or wrapped; resolve it "
                    "first (resolve_conj, resolve_neg, clone)");
  }
  if (c10::GradMode::is_enabled() && t.requires_grad()) {
    fail(index, expected() +
                    "a tensor that requires grad; replay computes no gradients: detach "
                    "it, or call under c10::InferenceMode or torch::NoGradGuard");
  }
  if (slot.empty) return;
  const c10::Storage& storage = t.storage();
  const std::size_t start = static_cast<std::size_t>(t.storage_offset()) * slot.dtype.itemsize();
  if (start + slot.extent > storage.nbytes() || storage.data() == nullptr) {
    fail(index, fmt::format("{}a tensor whose storage holds only {} bytes of the {} it spans{}",
                            expected(), storage.nbytes(), start + slot.extent, own_words(storage)));
  }
}

void Signature::check(const std::vector<at::Tensor>& tensors) const {
  if (tensors.size() != slots_.size()) {
    std::vector<std::string> all;
    for (const TensorSpec& spec : specs_) all.push_back(spec.name + ": " + exec::describe(spec));
    throw Error(Code::kInvalidArgument,
                fmt::format("expected {} {}{}, got {}: the signature is ({})", slots_.size(), role_,
                            slots_.size() == 1 ? "" : "s", tensors.size(), fmt::join(all, ", ")));
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) check_one(i, tensors[i]);
}

}  // namespace monograph::exec
