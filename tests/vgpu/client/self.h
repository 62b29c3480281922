// Where the stand-ins of libraries are: in this library itself.
#pragma once

#include <string>

#include "runtime/cuda/handles.h"

namespace monograph::vgpu {

std::string path_of_self();
bool is_virtual(const cuda::Driver& driver);

/// While it lives, libraries that this thread opens are on `context`, which C's functions that make
/// handles aren't told.
class Opening {
 public:
  explicit Opening(const cuda::ContextRef& context) noexcept : outer_(now_) { now_ = &context; }
  ~Opening() { now_ = outer_; }
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  static const cuda::ContextRef& context() noexcept { return *now_; }

 private:
  const cuda::ContextRef* outer_;
  static thread_local const cuda::ContextRef* now_;
};

}  // namespace monograph::vgpu
