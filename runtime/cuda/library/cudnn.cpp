// Convolutions through cuDNN, opened at run time: conv, bias, a sum and ReLU in one launch.
#include <cudnn.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "runtime/cuda/library/math_library.h"

namespace monograph::cuda {
namespace {

using kernels::DType;

constexpr std::size_t kMostWorkspace = std::size_t{256} << 20;
/// Stands in for a bias where there is none, which the fused call can't do without.
constexpr std::size_t kZeroBytes = std::size_t{64} << 10;

/// The entry points used, typed by the header's own declarations.
struct Api {
  decltype(&cudnnCreate) create;
  decltype(&cudnnDestroy) destroy;
  decltype(&cudnnGetVersion) version;
  decltype(&cudnnGetErrorString) error_string;
  decltype(&cudnnSetStream) set_stream;
  decltype(&cudnnCreateTensorDescriptor) tensor_create;
  decltype(&cudnnDestroyTensorDescriptor) tensor_destroy;
  decltype(&cudnnSetTensor4dDescriptor) tensor_set;
  decltype(&cudnnCreateFilterDescriptor) filter_create;
  decltype(&cudnnDestroyFilterDescriptor) filter_destroy;
  decltype(&cudnnSetFilter4dDescriptor) filter_set;
  decltype(&cudnnCreateConvolutionDescriptor) conv_create;
  decltype(&cudnnDestroyConvolutionDescriptor) conv_destroy;
  decltype(&cudnnSetConvolution2dDescriptor) conv_set;
  decltype(&cudnnSetConvolutionGroupCount) conv_groups;
  decltype(&cudnnSetConvolutionMathType) conv_math;
  decltype(&cudnnCreateActivationDescriptor) activation_create;
  decltype(&cudnnDestroyActivationDescriptor) activation_destroy;
  decltype(&cudnnSetActivationDescriptor) activation_set;
  decltype(&cudnnGetConvolutionForwardAlgorithm_v7) algorithms;
  decltype(&cudnnConvolutionForward) forward;
  decltype(&cudnnConvolutionBiasActivationForward) fused;

  Api(void* library, const std::string& prefix) {
    const auto get = [&](const char* name, auto& fn) {
      detail::load(library, prefix + name, "cuDNN", fn);
    };
    get("cudnnCreate", create);
    get("cudnnDestroy", destroy);
    get("cudnnGetVersion", version);
    get("cudnnGetErrorString", error_string);
    get("cudnnSetStream", set_stream);
    get("cudnnCreateTensorDescriptor", tensor_create);
    get("cudnnDestroyTensorDescriptor", tensor_destroy);
    get("cudnnSetTensor4dDescriptor", tensor_set);
    get("cudnnCreateFilterDescriptor", filter_create);
    get("cudnnDestroyFilterDescriptor", filter_destroy);
    get("cudnnSetFilter4dDescriptor", filter_set);
    get("cudnnCreateConvolutionDescriptor", conv_create);
    get("cudnnDestroyConvolutionDescriptor", conv_destroy);
    get("cudnnSetConvolution2dDescriptor", conv_set);
    get("cudnnSetConvolutionGroupCount", conv_groups);
    get("cudnnSetConvolutionMathType", conv_math);
    get("cudnnCreateActivationDescriptor", activation_create);
    get("cudnnDestroyActivationDescriptor", activation_destroy);
    get("cudnnSetActivationDescriptor", activation_set);
    get("cudnnGetConvolutionForwardAlgorithm_v7", algorithms);
    get("cudnnConvolutionForward", forward);
    get("cudnnConvolutionBiasActivationForward", fused);
  }

  void check(cudnnStatus_t status, const char* what) const {
    if (status == CUDNN_STATUS_SUCCESS) return;
    throw Error(Code::kDeviceFault, fmt::format("cuDNN: {} failed", what), {},
                error_string(status));
  }
};

cudnnDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return CUDNN_DATA_HALF;
    case DType::kBF16:
      return CUDNN_DATA_BFLOAT16;
    default:
      return CUDNN_DATA_FLOAT;
  }
}

/// The fused call; cuDNN's plain one suffices if there is nothing to fuse.
bool is_fused(const ConvolutionProblem& p) {
  return p.has_bias || p.has_z || p.activation != Activation::kNone;
}

/// What the library is told about a problem.
class Descriptors {
 public:
  Descriptors(const Api& api, const ConvolutionProblem& p) : api_(api) {
    const cudnnDataType_t type = type_of(p.dtype);
    const cudnnTensorFormat_t format = p.channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
    const auto i = [](std::int64_t v) { return static_cast<int>(v); };
    api.check(api.tensor_create(&x), "a tensor");
    api.check(api.tensor_create(&y), "a tensor");
    api.check(api.tensor_create(&bias), "a tensor");
    api.check(api.filter_create(&w), "a filter");
    api.check(api.conv_create(&conv), "a convolution");
    api.check(api.activation_create(&activation), "an activation");
    api.check(api.tensor_set(x, format, type, i(p.n), i(p.c), i(p.h), i(p.w)), "the input");
    api.check(api.tensor_set(y, format, type, i(p.n), i(p.k), i(p.p), i(p.q)), "the result");
    api.check(api.tensor_set(bias, format, type, 1, i(p.k), 1, 1), "the bias");
    api.check(api.filter_set(w, type, format, i(p.k), i(p.c / p.groups), i(p.r), i(p.s)),
              "the filter");
    api.check(
        api.conv_set(conv, i(p.padding[0]), i(p.padding[1]), i(p.stride[0]), i(p.stride[1]),
                     i(p.dilation[0]), i(p.dilation[1]), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
        "the convolution");
    api.check(api.conv_groups(conv, i(p.groups)), "the groups");
    // Full f32 is full f32, as LibTorch's default for products is.
    api.check(api.conv_math(conv, p.dtype == DType::kF32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH),
              "the arithmetic");
    const bool relu = p.activation == Activation::kRelu;
    api.check(
        api.activation_set(activation, relu ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY,
                           CUDNN_PROPAGATE_NAN, 0),
        "the activation");
  }
  ~Descriptors() {
    for (const cudnnTensorDescriptor_t t : {x, y, bias}) {
      if (t != nullptr) api_.tensor_destroy(t);
    }
    if (w != nullptr) api_.filter_destroy(w);
    if (conv != nullptr) api_.conv_destroy(conv);
    if (activation != nullptr) api_.activation_destroy(activation);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t conv = nullptr;
  cudnnActivationDescriptor_t activation = nullptr;

 private:
  const Api& api_;
};

class Cudnn final : public MathLibrary {
 public:
  Cudnn(ContextRef context, const std::string& path, const std::string& prefix)
      : context_(std::move(context)), api_(detail::open_library(path, "cuDNN"), prefix) {
    const CurrentContext current(*context_);
    zeros_ = DeviceBuffer::allocate(context_, kZeroBytes, "absent biases");
    const Stream stream = Stream::create(context_);
    context_->driver().MemsetD8Async(zeros_.get(), 0, kZeroBytes, stream.get());
    stream.synchronize();
    // Last: no destructor runs, and so nobody gives it back, if something above throws.
    if (const cudnnStatus_t s = api_.create(&handle_); s != CUDNN_STATUS_SUCCESS) {
      throw Error(Code::kDeviceUnavailable, "cuDNN gave no handle", {}, api_.error_string(s));
    }
  }
  ~Cudnn() override {
    const CurrentContext current(*context_, CurrentContext::kNoThrow);
    api_.destroy(handle_);
  }

  std::string name() const override { return "cudnn"; }
  std::string version() const override { return fmt::to_string(api_.version()); }
  bool takes(const LibraryProblem& problem) const noexcept override {
    return std::holds_alternative<ConvolutionProblem>(problem);
  }
  std::vector<LibraryWay> ways(const LibraryProblem& problem, std::string* why) const override;
  std::shared_ptr<LibraryCall> bind(const LibraryProblem& problem, const LibraryWay& way,
                                    const LibraryAddresses& addresses) const override;

  const Api& api() const noexcept { return api_; }
  CUdeviceptr zeros() const { return zeros_.get(); }

  /// `call(handle)` with the handle on `stream`; one at a time, since a handle has one stream.
  template <class Call>
  void on_stream(CUstream stream, Call call) const {
    const std::lock_guard lock(mutex_);
    api_.check(api_.set_stream(handle_, reinterpret_cast<cudaStream_t>(stream)), "the stream");
    call(handle_);
  }

 private:
  ContextRef context_;
  Api api_;
  mutable std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;
  DeviceBuffer zeros_;
};

std::vector<LibraryWay> Cudnn::ways(const LibraryProblem& problem, std::string* why) const {
  const auto& p = std::get<ConvolutionProblem>(problem);
  std::vector<LibraryWay> found;
  if (is_fused(p) && !p.has_bias &&
      static_cast<std::size_t>(p.k * kernels::itemsize(p.dtype)) > kZeroBytes) {
    *why = "too many channels without a bias";
    return found;
  }
  const Descriptors desc(api_, p);
  std::array<cudnnConvolutionFwdAlgoPerf_t, CUDNN_CONVOLUTION_FWD_ALGO_COUNT> results{};
  int count = 0;
  const std::lock_guard lock(mutex_);
  const cudnnStatus_t status =
      api_.algorithms(handle_, desc.x, desc.w, desc.conv, desc.y, CUDNN_CONVOLUTION_FWD_ALGO_COUNT,
                      &count, results.data());
  if (status != CUDNN_STATUS_SUCCESS) {
    *why = fmt::format("cuDNN has no algorithm ({})", api_.error_string(status));
    return found;
  }
  // Without an activation, the fused call takes this algorithm alone.
  const bool one_only = is_fused(p) && p.activation == Activation::kNone;
  for (int i = 0; i < count; ++i) {
    const auto& r = results[static_cast<std::size_t>(i)];
    if (r.status != CUDNN_STATUS_SUCCESS || r.determinism != CUDNN_DETERMINISTIC ||
        r.memory > kMostWorkspace ||
        (one_only && r.algo != CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM)) {
      continue;
    }
    LibraryWay way{fmt::format("algo {}", static_cast<int>(r.algo)),
                   static_cast<std::int64_t>(r.memory), std::vector<std::byte>(sizeof r.algo)};
    std::memcpy(way.detail.data(), &r.algo, sizeof r.algo);
    const auto same = [&way](const LibraryWay& w) { return w.name == way.name; };
    if (std::ranges::none_of(found, same)) found.push_back(std::move(way));
  }
  if (found.empty()) *why = "cuDNN has no algorithm";
  return found;
}

/// One convolution at fixed addresses.
class Convolution final : public LibraryCall {
 public:
  Convolution(std::shared_ptr<const Cudnn> library, const ConvolutionProblem& p,
              const LibraryWay& way, const LibraryAddresses& at)
      : library_(std::move(library)),
        problem_(p),
        at_(at),
        workspace_bytes_(static_cast<std::size_t>(way.workspace_bytes)),
        desc_(library_->api(), p) {
    std::memcpy(&algorithm_, way.detail.data(), sizeof algorithm_);
    if (!p.has_bias) at_.operands[kBias] = library_->zeros();
    if (!p.has_z) at_.operands[kAddend] = at_.operands[kResult];  // times 0
  }

  void enqueue(CUstream stream) override {
    const Api& api = library_->api();
    const float one = 1;
    const float zero = 0;
    const float alpha_z = problem_.has_z ? static_cast<float>(problem_.alpha_z) : 0;
    library_->on_stream(stream, [&](cudnnHandle_t handle) {
      if (!is_fused(problem_)) {
        api.check(
            api.forward(handle, &one, desc_.x, at(kFirst), desc_.w, at(kSecond), desc_.conv,
                        algorithm_, workspace(), workspace_bytes_, &zero, desc_.y, at(kResult)),
            "a convolution");
        return;
      }
      api.check(api.fused(handle, &one, desc_.x, at(kFirst), desc_.w, at(kSecond), desc_.conv,
                          algorithm_, workspace(), workspace_bytes_, &alpha_z, desc_.y, at(kAddend),
                          desc_.bias, at(kBias), desc_.activation, desc_.y, at(kResult)),
                "a fused convolution");
    });
  }

 private:
  void* at(std::size_t i) const { return reinterpret_cast<void*>(at_.operands[i]); }
  void* workspace() const { return reinterpret_cast<void*>(at_.workspace); }

  std::shared_ptr<const Cudnn> library_;
  ConvolutionProblem problem_;
  LibraryAddresses at_;
  std::size_t workspace_bytes_;
  Descriptors desc_;
  cudnnConvolutionFwdAlgo_t algorithm_{};
};

std::shared_ptr<LibraryCall> Cudnn::bind(const LibraryProblem& problem, const LibraryWay& way,
                                         const LibraryAddresses& addresses) const {
  return std::make_shared<Convolution>(std::static_pointer_cast<const Cudnn>(shared_from_this()),
                                       std::get<ConvolutionProblem>(problem), way, addresses);
}

/// Where torch's wheel has it: beside the CUDA libraries that this library's run path names.
std::string library_path() {
  constexpr const char* kName = "libcudnn.so.9";
  void* const neighbour = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
  Dl_info info{};
  if (neighbour == nullptr || dladdr(dlsym(neighbour, "cublasLtCreate"), &info) == 0) return kName;
  const auto root = std::filesystem::path(info.dli_fname).parent_path() / ".." / "..";
  const auto path = root / "cudnn" / "lib" / kName;
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ? path.string() : kName;
}

const MathLibraryRegistration kRegistration({
    .name = "cuDNN",
    .serves = [](const Driver& d) { return d.library() == Driver::kDefaultLibrary; },
    .open = [](const ContextRef& c) { return open_cudnn(c, library_path()); },
});

}  // namespace

std::shared_ptr<MathLibrary> open_cudnn(const ContextRef& context, const std::string& path,
                                        const std::string& prefix) {
  return std::make_shared<Cudnn>(context, path, prefix);
}

}  // namespace monograph::cuda
