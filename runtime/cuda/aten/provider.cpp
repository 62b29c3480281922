// LibTorch's own CUDA kernels inside our graphs. A library of its own, opened when a real GPU is
// used, so that programs without one never load LibTorch's CUDA half.
#include "runtime/cuda/backend/provider.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/MemPool.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>
#include <monograph/error.h>
#include <torch/version.h>

#include <algorithm>
#include <exception>
#include <map>
#include <optional>
#include <string_view>

#include "capture/trace/arguments.h"
#include "capture/trace/convert.h"
#include "runtime/base/log.h"
#include "runtime/cuda/aten/unfit.h"
#include "runtime/cuda/aten/workspaces.h"

namespace monograph::cuda {
namespace {

/// The overload with `out=` arguments for every result and a CUDA kernel; nullopt if there is none.
std::optional<c10::OperatorHandle> find_out_variant(const c10::OperatorHandle& op) {
  const auto& plain = op.schema();
  auto& dispatcher = c10::Dispatcher::singleton();
  std::vector<c10::OperatorName> names = dispatcher.getAllOpNames();
  std::erase_if(names, [&](const c10::OperatorName& n) { return n.name != plain.name(); });
  std::ranges::sort(names, {}, [](const c10::OperatorName& n) { return n.overload_name; });
  for (const c10::OperatorName& name : names) {
    const auto candidate = dispatcher.findSchema(name);
    if (!candidate || !candidate->hasKernelForDispatchKey(c10::DispatchKey::CUDA)) continue;
    const auto& args = candidate->schema().arguments();
    const std::size_t inputs = plain.arguments().size();
    if (args.size() != inputs + plain.returns().size()) continue;
    bool same = true;
    for (std::size_t i = 0; i < inputs && same; ++i) {
      same = args[i].name() == plain.arguments()[i].name() &&
             *args[i].type() == *plain.arguments()[i].type() && !args[i].is_out();
    }
    for (std::size_t i = inputs; i < args.size() && same; ++i) same = args[i].is_out();
    if (same) return *candidate;
  }
  return std::nullopt;
}

class AtenCall final : public LibraryCall {
 public:
  AtenCall(const ir::Node& node, const StorageAddress& address, const ContextRef& context,
           std::shared_ptr<Workspaces> workspaces)
      : workspaces_(std::move(workspaces)),
        device_(static_cast<c10::DeviceIndex>(context->device())),
        node_(node.name()),
        target_(node.target()),
        op_(trace::operator_of(node)),
        pool_(at::cuda::MemPool::graph_pool_handle()) {
    const c10::InferenceMode mode;
    std::map<const ir::Node*, std::vector<at::Tensor>> made;
    const trace::Resolver resolve = [&](const ir::Node& n) -> const std::vector<at::Tensor>& {
      const auto [it, fresh] = made.try_emplace(&n);
      if (fresh) {
        for (const ir::Value& v : n.values()) it->second.push_back(tensor(v, address));
      }
      return it->second;
    };
    args_ = trace::bind_arguments(node, op_.schema(), resolve);
    if (const auto why = why_unfit(op_, args_)) {
      throw Error(Code::kRejectedUnsupportedOp, fmt::format("{} {}", target_, *why), node_);
    }
    move_devices();
    results_ = resolve(node);
    if (node.writes().empty()) use_out_variant();
  }

  ~AtenCall() override {
    // The allocator knows the pool from its first use on.
    if (captured_) c10::cuda::CUDACachingAllocator::releasePool(device_, pool_);
  }
  AtenCall(const AtenCall&) = delete;
  AtenCall& operator=(const AtenCall&) = delete;

  void enqueue(CUstream stream) override {
    const c10::cuda::CUDAStreamGuard guard(
        c10::cuda::getStreamFromExternal(reinterpret_cast<cudaStream_t>(stream), device_));
    const c10::InferenceMode mode;
    const auto fail = [&](const char* text) {
      throw Error(Code::kDeviceCaptureFailed, fmt::format("LibTorch's {} failed", target_), node_,
                  text);
    };
    try {
      if (out_ && !call_out_variant()) out_.reset();
      if (out_) return;
      torch::jit::Stack stack;
      trace::assign_for_call(stack, args_);
      op_.callBoxed(stack);
      store(stack);
    } catch (const Error&) {
      throw;
    } catch (const c10::Error& e) {
      fail(e.what_without_backtrace());
    } catch (const std::exception& e) {  // Thrust's are none of LibTorch's
      fail(e.what());
    }
  }

  void before_capture(CUstream stream) override {
    check_capturable(op_, node_);
    const auto raw = reinterpret_cast<cudaStream_t>(stream);
    workspaces_->lend(raw);
    c10::cuda::CUDACachingAllocator::beginAllocateToPool(
        device_, pool_, [raw](cudaStream_t s) { return s == raw; });
    captured_ = true;
  }
  void after_capture(CUstream stream) noexcept override {
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device_, pool_);
    workspaces_->take(reinterpret_cast<cudaStream_t>(stream));
  }

 private:
  at::Tensor tensor(const ir::Value& v, const StorageAddress& address) const {
    if (!v.type.defined()) return {};
    const auto offset = v.type.offset * ir::itemsize(v.type.dtype);
    auto* data = reinterpret_cast<void*>(address(v) + static_cast<CUdeviceptr>(offset));
    // Named, since LibTorch would ask the driver, which knows no address of nothing.
    const at::Device device(at::kCUDA, device_);
    const auto options =
        at::TensorOptions().dtype(trace::scalar_type_of(v.type.dtype)).device(device);
    return at::for_blob(data, v.type.sizes)
        .strides(v.type.strides)
        .options(options)
        .target_device(device)
        .make_tensor();
  }

  /// A program traced on the host names the host in factory calls; here its tensors are on the
  /// device.
  void move_devices() {
    for (c10::IValue& v : args_) {
      if (v.isDevice() && v.toDevice().is_cpu()) v = at::Device(at::kCUDA, device_);
    }
  }

  void use_out_variant() {
    const bool defined =
        std::ranges::all_of(results_, [](const at::Tensor& t) { return t.defined(); });
    if (defined && op_.schema().returns().size() == results_.size()) out_ = find_out_variant(op_);
  }

  /// False if the variant wants its results of another size or elsewhere, as those do that use them
  /// for what comes before a reduction (aten.binary_cross_entropy.out).
  bool call_out_variant() const {
    torch::jit::Stack stack;
    trace::assign_for_call(stack, args_);
    std::vector<at::Tensor> out;
    for (const at::Tensor& t : results_) {
      stack.emplace_back(out.emplace_back(at::as_strided(t, t.sizes(), t.strides())));
    }
    try {
      out_->callBoxed(stack);
    } catch (const c10::Error& e) {
      if (std::string_view(e.what_without_backtrace()).find("not resizable") ==
          std::string_view::npos) {
        throw;
      }
      return false;
    }
    return std::ranges::equal(out, results_, [](const at::Tensor& a, const at::Tensor& b) {
      return a.sizes() == b.sizes() && a.strides() == b.strides() && a.data_ptr() == b.data_ptr();
    });
  }

  /// Copies the results of a call that made its own to where they belong.
  void store(const torch::jit::Stack& stack) {
    std::size_t next = 0;
    const auto put = [&](const at::Tensor& from) {
      if (next >= results_.size()) return;
      at::Tensor& to = results_[next++];
      if (!to.defined() || !from.defined() || from.data_ptr() == to.data_ptr()) return;
      if (from.sizes() != to.sizes() || from.dtype() != to.dtype()) {
        throw Error(Code::kInvalidArgument,
                    fmt::format("result {} is {}, but {} was captured: its shape depends on data",
                                next - 1, trace::describe(from), trace::describe(to)),
                    node_);
      }
      to.copy_(from);
    };
    for (const c10::IValue& v : stack) {
      if (v.isTensor()) put(v.toTensor());
      if (v.isTensorList()) {
        for (const at::Tensor& t : v.toTensorVector()) put(t);
      }
    }
  }

  std::shared_ptr<Workspaces> workspaces_;
  c10::DeviceIndex device_;
  std::string node_;
  std::string target_;
  c10::OperatorHandle op_;
  at::cuda::MempoolId_t pool_;
  torch::jit::Stack args_;
  std::vector<at::Tensor> results_;
  std::optional<c10::OperatorHandle> out_;  ///< if it is called instead, with the results' memory
  bool captured_ = false;
};

/// LibTorch's allocator knows no device before somebody has used CUDA through LibTorch, which a
/// program with tensors on the host needn't have done.
void initialize_libtorch() {
  at::globalContext().lazyInitDevice(at::kCUDA);
}

class TorchProvider final : public AtenProvider {
 public:
  std::string name() const override { return "libtorch_cuda " TORCH_VERSION; }
  bool serves(const Driver& driver) const override {
    if (driver.library() != Driver::kDefaultLibrary) return false;
    if (at::detail::getCUDAHooks().hasCUDA()) return true;
    // LibTorch looks for its CUDA half once, at the first call that asks.
    base::log(base::LogLevel::kWarning,
              "LibTorch was used before its CUDA half was loaded: link libtorch_cuda, or load it "
              "before the first LibTorch call");
    return false;
  }
  std::shared_ptr<LibraryCall> bind(const ir::Node& node, const StorageAddress& address,
                                    const ContextRef& context,
                                    const std::shared_ptr<AtenShared>& shared) const override {
    initialize_libtorch();
    return std::make_shared<AtenCall>(node, address, context,
                                      std::static_pointer_cast<Workspaces>(shared));
  }
  std::shared_ptr<AtenShared> share() const override { return std::make_shared<Workspaces>(); }
  std::shared_ptr<void> allocate(const ContextRef& context, std::size_t bytes) const override {
    initialize_libtorch();
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(context->device()));
    try {
      auto block =
          std::make_shared<c10::DataPtr>(c10::cuda::CUDACachingAllocator::get()->allocate(bytes));
      return {block, block->get()};
    } catch (const c10::OutOfMemoryError& e) {
      throw Error(Code::kDeviceOutOfMemory, fmt::format("LibTorch's allocator has no {} bytes: {}",
                                                        bytes, e.what_without_backtrace()));
    }
  }
  std::optional<CUstream> current_stream(const Context& context) const override {
    return reinterpret_cast<CUstream>(
        c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(context.device())).stream());
  }
};

const AtenProviderRegistration kRegistration(std::make_unique<TorchProvider>());

}  // namespace
}  // namespace monograph::cuda
