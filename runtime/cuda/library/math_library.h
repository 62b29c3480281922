// The seam behind which libraries of kernels stand: cuBLASLt and cuDNN on a real GPU, stand-ins
// with the same entry points on the virtual one.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/graph/work.h"
#include "runtime/cuda/library/problem.h"

namespace monograph::cuda {

/// One way in which a library does a problem.
struct LibraryWay {
  std::string name;  ///< unique among the ways of a problem, the same in every process; one line
  std::int64_t workspace_bytes = 0;
  std::vector<std::byte> detail;  ///< the library's own
};

/// Device addresses of a problem's tensors by OperandIndex, 0 for absent ones, and of scratch.
struct LibraryAddresses {
  std::array<CUdeviceptr, kOperands> operands{};
  CUdeviceptr workspace = 0;
};

/// A library opened for one context. Thread-safe. The context is current in every call.
class MathLibrary : public std::enable_shared_from_this<MathLibrary> {
 public:
  virtual ~MathLibrary() = default;
  virtual std::string name() const = 0;     ///< "cublasLt"
  virtual std::string version() const = 0;  ///< "130100"
  virtual bool takes(const LibraryProblem& problem) const noexcept = 0;
  /// Best guess first; empty with the reason if it can't.
  virtual std::vector<LibraryWay> ways(const LibraryProblem& problem, std::string* why) const = 0;
  /// The call over memory that stays where it is. It keeps the library open.
  virtual std::shared_ptr<LibraryCall> bind(const LibraryProblem& problem, const LibraryWay& way,
                                            const LibraryAddresses& addresses) const = 0;
};

/// How a library is had on the devices of some drivers.
struct MathLibraryMaker {
  std::string name;
  std::function<bool(const Driver&)> serves;
  /// Throws Error(kDeviceUnavailable) if the library isn't there or too old.
  std::function<std::shared_ptr<MathLibrary>(const ContextRef&)> open;
};
/// Registers at static initialisation (also of a library opened later).
struct MathLibraryRegistration {
  explicit MathLibraryRegistration(MathLibraryMaker maker);
};
/// All that serve the context's driver and can be opened; the others are warned about.
std::vector<std::shared_ptr<MathLibrary>> open_math_libraries(const ContextRef& context);

/// cuBLASLt and cuDNN from the shared library `path`, whose entry points have their own names after
/// `prefix`.
std::shared_ptr<MathLibrary> open_cublaslt(const ContextRef& context, const std::string& path,
                                           const std::string& prefix = {});
std::shared_ptr<MathLibrary> open_cudnn(const ContextRef& context, const std::string& path,
                                        const std::string& prefix = {});

namespace detail {
/// Opens a shared library for good: such libraries keep threads and state of their own.
void* open_library(const std::string& path, const std::string& what);
/// Error(kDeviceUnavailable) if it isn't there.
void* entry_point(void* library, const std::string& name, const std::string& what);
template <class Fn>
void load(void* library, const std::string& name, const std::string& what, Fn& fn) {
  fn = reinterpret_cast<Fn>(entry_point(library, name, what));
}
}  // namespace detail

}  // namespace monograph::cuda
