// Weights whose memory throws at whoever asks to write it.
#pragma once

#include <monograph/program.h>

#include <map>
#include <string_view>
#include <vector>

namespace monograph::trace {

/// While alive, tensors of the module show the same memory through storages that LibTorch guards:
/// `data_ptr<T>()`, `mutable_data_ptr()` and kernels that write throw there and then. Afterwards
/// they have their own storages again. Pointers and views taken earlier aren't guarded.
class StorageGuard {
 public:
  /// Guards the tensors at `positions` in `module.tensors`.
  StorageGuard(const Module& module, const std::vector<std::size_t>& positions);
  ~StorageGuard();
  StorageGuard(const StorageGuard&) = delete;
  StorageGuard& operator=(const StorageGuard&) = delete;

  /// True if these are the words of LibTorch's exception for a guarded storage.
  static bool threw(std::string_view words) noexcept;

  /// Calls `fn` while guarded tensors among `tensors` show their own storages: for kernels that ask
  /// for writable memory although they only read.
  template <class Fn>
  void lifted(const std::vector<at::Tensor>& tensors, Fn&& fn) const {
    const Lift lift(*this, tensors);
    fn();
  }

 private:
  struct Swapped {
    at::Tensor tensor;
    c10::Storage original;
  };
  class Lift {
   public:
    Lift(const StorageGuard& guard, const std::vector<at::Tensor>& tensors);
    ~Lift();
    Lift(const Lift&) = delete;
    Lift& operator=(const Lift&) = delete;

   private:
    std::vector<Swapped> swapped_;  ///< tensors and their guards
  };
  std::vector<Swapped> swapped_;
  std::map<const c10::StorageImpl*, c10::Storage> originals_;  ///< by guard; looked up only
};

}  // namespace monograph::trace
