// One bound launch, and the registry of operators that the host runs with kernels of its own.
#pragma once

#include <ATen/core/TensorBody.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "capture/ir/graph.h"

namespace monograph::host {

/// Does the work of one launch on tensors it was bound to. Their addresses may change between
/// runs (inputs, outputs), nothing else does.
class Step {
 public:
  virtual ~Step() = default;
  virtual void run() = 0;
};

/// A call with everything resolved: schema, arguments in schema order with defaults filled in, and
/// tensors over the memory where each result belongs.
struct Call {
  const ir::Node& node;
  c10::OperatorHandle op;
  std::vector<c10::IValue> args;
  std::vector<at::Tensor> results;
  std::byte* workspace = nullptr;

  const at::Tensor& tensor(std::size_t index) const { return args[index].toTensor(); }
};

/// An operator (or some of its shapes and dtypes) with a host kernel of our own.
struct HostOp {
  std::string target;  ///< "aten.linear.default"
  std::string name;    ///< implementation name in launches, "host.linear"
  /// Whether this node's types suit the kernel; decided before memory exists.
  std::function<bool(const ir::Node&)> accepts;
  std::function<std::int64_t(const ir::Node&)> workspace_bytes;  ///< empty: none
  std::function<std::unique_ptr<Step>(const Call&)> bind;
};

/// Registers at static initialisation; a second op for one target terminates with a message.
struct HostOpRegistration {
  explicit HostOpRegistration(HostOp op);
};
/// The op for this node, or nullptr if LibTorch's own kernel is to run.
const HostOp* find_host_op(const ir::Node& node);

/// A step from a callable.
template <class Fn>
std::unique_ptr<Step> make_step(Fn fn) {
  class FnStep final : public Step {
   public:
    explicit FnStep(Fn f) : fn_(std::move(f)) {}
    void run() override { fn_(); }

   private:
    Fn fn_;
  };
  return std::make_unique<FnStep>(std::move(fn));
}

}  // namespace monograph::host
