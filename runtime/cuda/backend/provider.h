// The seam behind which LibTorch's kernels run on the device: captured from LibTorch's CUDA half on
// a real GPU, their host reference on the virtual one.
#pragma once

#include <cuda.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "capture/ir/graph.h"
#include "runtime/cuda/graph/work.h"

namespace monograph::cuda {

/// Device address of the first byte of a value's storage.
using StorageAddress = std::function<CUdeviceptr(const ir::Value&)>;

/// What calls of one session share, since their replays follow each other, such as workspaces of
/// libraries.
class AtenShared {
 public:
  virtual ~AtenShared() = default;
};

class AtenProvider {
 public:
  virtual ~AtenProvider() = default;
  virtual std::string name() const = 0;  ///< with its version: times depend on it
  /// Whether calls on this driver's device can be bound.
  virtual bool serves(const Driver& driver) const = 0;
  /// The node's operator over memory at fixed addresses. Throws Error(kRejectedUnsupportedOp) for
  /// operators that draw random numbers, synchronise or depend on data, naming the operator.
  /// `shared` comes from `share`. Calls with the same one mustn't run at the same time.
  virtual std::shared_ptr<LibraryCall> bind(const ir::Node& node, const StorageAddress& address,
                                            const ContextRef& context,
                                            const std::shared_ptr<AtenShared>& shared) const = 0;
  virtual std::shared_ptr<AtenShared> share() const { return nullptr; }
  /// `bytes` of device memory from LibTorch's caching allocator. Freed with the last reference,
  /// when nothing uses it any more. Throws Error(kDeviceOutOfMemory) as the driver table does.
  virtual std::shared_ptr<void> allocate(const ContextRef& context, std::size_t bytes) const = 0;
  /// The stream on which the caller expects work on its tensors (null: the legacy default stream),
  /// or nothing for the session's own.
  virtual std::optional<CUstream> current_stream(const Context&) const { return std::nullopt; }
};

/// Registers at static initialisation (also of a library opened later).
struct AtenProviderRegistration {
  explicit AtenProviderRegistration(std::unique_ptr<AtenProvider> provider);
};
/// The provider that serves `driver`, or nullptr.
const AtenProvider* find_aten_provider(const Driver& driver);

}  // namespace monograph::cuda
