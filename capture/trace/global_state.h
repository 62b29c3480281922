// The global and thread state that a forward can meet, saved and put back around it.
#pragma once

#include <ATen/core/TensorBody.h>
#include <c10/core/DispatchKeySet.h>

#include <array>
#include <string>

#include "capture/trace/device_streams.h"

namespace monograph::trace {

/// Everything that LibTorch lets a forward switch, read at one moment. Per thread: grad, inference
/// and forward-AD mode, included and excluded dispatch keys, autocast per device and its cache,
/// denormals, current device and streams of an accelerator. Per process: default dtype,
/// deterministic algorithms, cuDNN's flags, precision of f32 products, choice of attention kernels,
/// number of threads.
class GlobalState {
 public:
  static GlobalState read();

  /// What differs from `other`, first in the order above: "default dtype"; empty if nothing does.
  std::string difference(const GlobalState& other) const;
  /// Switches everything that differs back to what is here.
  void restore() const;

 private:
  struct Autocast {
    bool on = false;
    at::ScalarType dtype = at::kFloat;
    bool operator==(const Autocast&) const = default;
  };
  bool grad_ = true;
  bool inference_ = false;
  bool forward_grad_ = true;
  c10::DispatchKeySet included_;
  c10::DispatchKeySet excluded_;
  std::array<Autocast, 2> autocast_;
  bool autocast_cache_ = true;
  unsigned denormals_ = 0;
  DeviceStreams streams_;
  at::ScalarType default_dtype_ = at::kFloat;
  bool deterministic_ = false;
  bool deterministic_warns_ = false;
  std::array<int, 11> switches_{};   ///< of kernels, in the order of a table in the source
  std::array<int, 6> precisions_{};  ///< of f32 work, by library and kind of operator
  int precision_ = 0;  ///< of f32 products by the older setting; -1 where it can't be asked
  int threads_ = 1;
};

/// Puts the state of its construction back when it ends, however the scope is left.
class GlobalStateScope {
 public:
  GlobalStateScope() : before_(GlobalState::read()) {}
  ~GlobalStateScope();
  GlobalStateScope(const GlobalStateScope&) = delete;
  GlobalStateScope& operator=(const GlobalStateScope&) = delete;
  const GlobalState& before() const noexcept { return before_; }

 private:
  GlobalState before_;
};

}  // namespace monograph::trace
