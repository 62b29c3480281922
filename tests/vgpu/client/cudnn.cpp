// A stand-in for cuDNN on the virtual GPU: the entry points that the product uses, under names with
// a prefix, computing as the library's manual says, in double precision. It fills its workspace
// with rubbish, as somebody who owns it may.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <cudnn.h>

#include <cstring>

#include "runtime/cuda/library/math_library.h"
#include "tests/vgpu/client/device_kernel.h"
#include "tests/vgpu/client/self.h"

namespace monograph::vgpu {
namespace {

constexpr std::size_t kWorkspace = 5000;  // of the second algorithm

struct Tensor {
  cudnnTensorFormat_t format = CUDNN_TENSOR_NCHW;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  std::int64_t sizes[4] = {1, 1, 1, 1};
};
struct Convolution {
  std::int64_t padding[2], stride[2], dilation[2];
  std::int64_t groups = 1;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

/// One convolution with everything by value.
struct Fused {
  Tensor x, w, y, bias;
  Convolution conv;
  cudnnActivationMode_t activation;
  float alpha, alpha_z;
  const void *px, *pw, *pz, *pb;
  void *py, *workspace;
  std::size_t workspace_bytes;
};

at::Tensor tensor(const void* data, const Tensor& t) {
  const at::IntArrayRef sizes(t.sizes, 4);
  const std::int64_t c = t.sizes[1], h = t.sizes[2], w = t.sizes[3];
  const std::int64_t rows[4] = {c * h * w, h * w, w, 1};
  const std::int64_t last[4] = {c * h * w, 1, w * c, c};
  const auto type = t.type == CUDNN_DATA_HALF       ? at::kHalf
                    : t.type == CUDNN_DATA_BFLOAT16 ? at::kBFloat16
                                                    : at::kFloat;
  return at::from_blob(const_cast<void*>(data), sizes,
                       at::IntArrayRef(t.format == CUDNN_TENSOR_NHWC ? last : rows, 4),
                       at::TensorOptions().dtype(type));
}

void compute(const Fused& f) {
  const c10::InferenceMode mode;
  if (f.workspace_bytes > 0) std::memset(f.workspace, 0x5a, f.workspace_bytes);
  at::Tensor y =
      at::conv2d(tensor(f.px, f.x).to(at::kDouble), tensor(f.pw, f.w).to(at::kDouble), std::nullopt,
                 at::IntArrayRef(f.conv.stride, 2), at::IntArrayRef(f.conv.padding, 2),
                 at::IntArrayRef(f.conv.dilation, 2), f.conv.groups);
  y.mul_(f.alpha);
  if (f.alpha_z != 0) y.add_(tensor(f.pz, f.y).to(at::kDouble), f.alpha_z);
  if (f.pb != nullptr) y.add_(tensor(f.pb, f.bias).to(at::kDouble));
  if (f.activation == CUDNN_ACTIVATION_RELU) y.relu_();
  tensor(f.py, f.y).copy_(y);
}

struct Handle {
  explicit Handle(const cuda::ContextRef& context) : kernel(context, "cudnn", &compute) {}
  DeviceKernel<Fused> kernel;
  CUstream stream = nullptr;
};

const cuda::MathLibraryRegistration kRegistration({
    .name = "cuDNN",
    .serves = is_virtual,
    .open =
        [](const cuda::ContextRef& context) {
          const Opening opening(context);
          return cuda::open_cudnn(context, path_of_self(), "vgpu_");
        },
});

template <class To, class From>
To& at_handle(From raw) {
  return *reinterpret_cast<To*>(raw);
}

/// What the library refuses, or 0.
cudnnStatus_t launch(cudnnHandle_t handle, Fused f, cudnnConvolutionFwdAlgo_t algorithm) {
  const bool wants = algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  if (wants && f.workspace_bytes < kWorkspace) return CUDNN_STATUS_BAD_PARAM;
  if (f.x.type != f.w.type || f.x.type != f.y.type || f.x.format != f.y.format ||
      f.w.format != f.x.format) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  // Tensor cores in full f32 would be TF32.
  if (f.x.type == CUDNN_DATA_FLOAT && f.conv.math != CUDNN_FMA_MATH) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  try {
    at_handle<Handle>(handle).kernel.launch(f, at_handle<Handle>(handle).stream);
  } catch (const std::exception&) {
    return CUDNN_STATUS_EXECUTION_FAILED;
  }
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace
}  // namespace monograph::vgpu

using namespace monograph::vgpu;  // NOLINT: entry points have C's names

#define VGPU_EXPORT extern "C" __attribute__((visibility("default")))

VGPU_EXPORT cudnnStatus_t vgpu_cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(new Handle(Opening::context()));
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnDestroy(cudnnHandle_t handle) {
  delete reinterpret_cast<Handle*>(handle);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT std::size_t vgpu_cudnnGetVersion() {
  return 1;
}
VGPU_EXPORT const char* vgpu_cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS";
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  at_handle<Handle>(handle).stream = reinterpret_cast<CUstream>(stream);
  return CUDNN_STATUS_SUCCESS;
}

VGPU_EXPORT cudnnStatus_t vgpu_cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* out) {
  *out = reinterpret_cast<cudnnTensorDescriptor_t>(new Tensor);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t t) {
  delete reinterpret_cast<Tensor*>(t);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t t,
                                                          cudnnTensorFormat_t format,
                                                          cudnnDataType_t type, int n, int c, int h,
                                                          int w) {
  at_handle<Tensor>(t) = {format, type, {n, c, h, w}};
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* out) {
  *out = reinterpret_cast<cudnnFilterDescriptor_t>(new Tensor);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t t) {
  delete reinterpret_cast<Tensor*>(t);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t t,
                                                          cudnnDataType_t type,
                                                          cudnnTensorFormat_t format, int k, int c,
                                                          int h, int w) {
  at_handle<Tensor>(t) = {format, type, {k, c, h, w}};
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* out) {
  *out = reinterpret_cast<cudnnConvolutionDescriptor_t>(new Convolution);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t c) {
  delete reinterpret_cast<Convolution*>(c);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t c,
                                                               int pad_h, int pad_w, int u, int v,
                                                               int dilation_h, int dilation_w,
                                                               cudnnConvolutionMode_t mode,
                                                               cudnnDataType_t compute_type) {
  if (mode != CUDNN_CROSS_CORRELATION || compute_type != CUDNN_DATA_FLOAT) {
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  at_handle<Convolution>(c) = {{pad_h, pad_w}, {u, v}, {dilation_h, dilation_w}};
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t c,
                                                             int groups) {
  at_handle<Convolution>(c).groups = groups;
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t c,
                                                           cudnnMathType_t math) {
  at_handle<Convolution>(c).math = math;
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnCreateActivationDescriptor(cudnnActivationDescriptor_t* out) {
  *out = reinterpret_cast<cudnnActivationDescriptor_t>(new cudnnActivationMode_t{});
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnDestroyActivationDescriptor(cudnnActivationDescriptor_t a) {
  delete reinterpret_cast<cudnnActivationMode_t*>(a);
  return CUDNN_STATUS_SUCCESS;
}
VGPU_EXPORT cudnnStatus_t vgpu_cudnnSetActivationDescriptor(cudnnActivationDescriptor_t a,
                                                            cudnnActivationMode_t mode,
                                                            cudnnNanPropagation_t, double) {
  at_handle<cudnnActivationMode_t>(a) = mode;
  return CUDNN_STATUS_SUCCESS;
}

VGPU_EXPORT cudnnStatus_t vgpu_cudnnGetConvolutionForwardAlgorithm_v7(
    cudnnHandle_t, cudnnTensorDescriptor_t, cudnnFilterDescriptor_t, cudnnConvolutionDescriptor_t,
    cudnnTensorDescriptor_t, int wanted, int* count, cudnnConvolutionFwdAlgoPerf_t* results) {
  *count = 0;
  for (const auto algorithm : {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                               CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM}) {
    if (*count >= wanted) break;
    cudnnConvolutionFwdAlgoPerf_t r{};
    r.algo = algorithm;
    r.determinism = CUDNN_DETERMINISTIC;
    r.memory = algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM ? kWorkspace : 0;
    results[(*count)++] = r;
  }
  return CUDNN_STATUS_SUCCESS;
}

VGPU_EXPORT cudnnStatus_t vgpu_cudnnConvolutionForward(
    cudnnHandle_t handle, const void* alpha, cudnnTensorDescriptor_t x, const void* px,
    cudnnFilterDescriptor_t w, const void* pw, cudnnConvolutionDescriptor_t conv,
    cudnnConvolutionFwdAlgo_t algorithm, void* workspace, std::size_t workspace_bytes,
    const void* beta, cudnnTensorDescriptor_t y, void* py) {
  if (*static_cast<const float*>(beta) != 0) return CUDNN_STATUS_NOT_SUPPORTED;
  return launch(handle,
                {at_handle<Tensor>(x),
                 at_handle<Tensor>(w),
                 at_handle<Tensor>(y),
                 {},
                 at_handle<Convolution>(conv),
                 CUDNN_ACTIVATION_IDENTITY,
                 *static_cast<const float*>(alpha),
                 0,
                 px,
                 pw,
                 nullptr,
                 nullptr,
                 py,
                 workspace,
                 workspace_bytes},
                algorithm);
}

VGPU_EXPORT cudnnStatus_t vgpu_cudnnConvolutionBiasActivationForward(
    cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x, const void* px,
    const cudnnFilterDescriptor_t w, const void* pw, const cudnnConvolutionDescriptor_t conv,
    cudnnConvolutionFwdAlgo_t algorithm, void* workspace, std::size_t workspace_bytes,
    const void* alpha_z, const cudnnTensorDescriptor_t, const void* pz,
    const cudnnTensorDescriptor_t bias, const void* pb,
    const cudnnActivationDescriptor_t activation, const cudnnTensorDescriptor_t y, void* py) {
  const auto mode = at_handle<cudnnActivationMode_t>(activation);
  const bool allowed = mode == CUDNN_ACTIVATION_RELU ||
                       algorithm == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  if (!allowed || pb == nullptr || pz == nullptr) return CUDNN_STATUS_NOT_SUPPORTED;
  return launch(
      handle,
      {at_handle<Tensor>(x), at_handle<Tensor>(w), at_handle<Tensor>(y), at_handle<Tensor>(bias),
       at_handle<Convolution>(conv), mode, *static_cast<const float*>(alpha),
       *static_cast<const float*>(alpha_z), px, pw, pz, pb, py, workspace, workspace_bytes},
      algorithm);
}
