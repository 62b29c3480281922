// LibTorch's operators on the virtual GPU: the host back end's own step, run as a host kernel over
// device memory.
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <atomic>
#include <optional>

#include "capture/trace/arguments.h"
#include "runtime/cuda/aten/unfit.h"
#include "runtime/cuda/backend/provider.h"
#include "runtime/host/bind.h"
#include "runtime/host/memory.h"
#include "tests/vgpu/client/host_kernel.h"

namespace monograph::vgpu {
namespace {

std::string fresh_name(const ir::Node& node) {
  static std::atomic<std::uint64_t> next{0};
  return fmt::format("aten_{}_{}", next++, node.name());
}

class HostCall final : public cuda::LibraryCall {
 public:
  HostCall(const ir::Node& node, const cuda::StorageAddress& address, cuda::ContextRef context)
      : node_(node),
        context_(std::move(context)),
        name_(fresh_name(node)),
        scope_([this, address](const ir::Value& v) { return tensor(v, address); }) {
    // Every tensor the step will need is made now: `address` may not outlive binding.
    const auto touch = [this](const ir::Node* n) { (void)scope_.of(*n); };
    for (const ir::Arg& a : node.args()) ir::for_each_node(a, touch);
    for (const auto& [key, a] : node.kwargs()) ir::for_each_node(a, touch);
    (void)scope_.of(node);
    check_fit();
    workspace_.resize(static_cast<std::size_t>(host::choose(node).workspace_bytes));
    registration_ = HostKernel(context_->driver(), name_, &HostCall::run, this, nullptr, 0);
    library_ = registration_.load(context_);
    kernel_ = library_.kernel(name_);
  }
  HostCall(const HostCall&) = delete;
  HostCall& operator=(const HostCall&) = delete;

  void enqueue(CUstream stream) override {
    CUlaunchConfig config{};
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = config.blockDimY = config.blockDimZ = 1;
    config.hStream = stream;
    context_->driver().LaunchKernelEx(&config, kernel_.function(), nullptr, nullptr);
  }
  int warm_up_runs() const override { return 0; }
  void before_capture(CUstream) override {
    if (node_.target().starts_with("aten.")) {
      cuda::check_capturable(trace::operator_of(node_), node_.name());
    }
  }

 private:
  /// As for LibTorch's kernels on a real device.
  void check_fit() {
    if (!node_.target().starts_with("aten.")) return;  // a fusion is made of calls that fit
    const c10::OperatorHandle op = trace::operator_of(node_);
    const auto arguments = trace::bind_arguments(
        node_, op.schema(),
        [this](const ir::Node& n) -> const std::vector<at::Tensor>& { return scope_.of(n); });
    if (const auto why = cuda::why_unfit(op, arguments)) {
      throw Error(Code::kRejectedUnsupportedOp, fmt::format("{} {}", node_.target(), *why),
                  node_.name());
    }
  }
  static at::Tensor tensor(const ir::Value& v, const cuda::StorageAddress& address) {
    if (!v.type.defined()) return {};
    auto* data = reinterpret_cast<void*>(address(v));
    const c10::Storage storage(c10::Storage::use_byte_size_t(),
                               static_cast<std::size_t>(v.type.storage_extent()),
                               c10::DataPtr(data, at::kCPU), nullptr, /*resizable=*/false);
    return host::tensor_over(storage, v.type, 0);
  }

  static int run(void**, void* user) {
    auto* self = static_cast<HostCall*>(user);
    const c10::InferenceMode mode;
    try {
      // Binding may look at weights, which only a running kernel may.
      if (!self->bound_) {
        self->bound_ = host::bind_call(self->node_, self->scope_, self->workspace_.data());
      }
      self->bound_->step->run();
      return 0;
    } catch (const std::exception& e) {
      fmt::print(stderr, "virtual GPU: %{} ({}): {}\n", self->node_.name(), self->node_.target(),
                 e.what());
      return 1;
    }
  }

  const ir::Node& node_;
  cuda::ContextRef context_;
  std::string name_;
  host::Scope scope_;
  std::vector<std::byte> workspace_;
  std::optional<host::BoundLaunch> bound_;
  HostKernel registration_;  // outlives the library
  cuda::Library library_;
  cuda::Kernel kernel_;
};

class HostProvider final : public cuda::AtenProvider {
 public:
  std::string name() const override { return "virtual"; }
  bool serves(const cuda::Driver& driver) const override {
    return driver.extension("vgpu_register_host_kernel") != nullptr;
  }
  std::shared_ptr<cuda::LibraryCall> bind(const ir::Node& node, const cuda::StorageAddress& address,
                                          const cuda::ContextRef& context,
                                          const std::shared_ptr<cuda::AtenShared>&) const override {
    return std::make_shared<HostCall>(node, address, context);
  }
  /// In place of LibTorch's caching allocator, which needs its CUDA half.
  std::shared_ptr<void> allocate(const cuda::ContextRef& context,
                                 std::size_t bytes) const override {
    auto block = std::make_shared<cuda::DeviceBuffer>(
        cuda::DeviceBuffer::allocate(context, bytes, "a block of LibTorch's allocator"));
    return {block, reinterpret_cast<void*>(block->get())};
  }
};

const cuda::AtenProviderRegistration kRegistration(std::make_unique<HostProvider>());

}  // namespace
}  // namespace monograph::vgpu
