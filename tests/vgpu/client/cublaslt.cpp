// A stand-in for cuBLASLt on the virtual GPU: the entry points that the product uses, under names
// with a prefix, computing by columns as the library's manual says, in double precision.
//
// It is as strict as the library where the product could go wrong unseen (layouts too small,
// combinations that aren't supported), and fills its workspace with rubbish, as somebody who owns
// it may.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <cublasLt.h>

#include <cstring>

#include "runtime/cuda/library/math_library.h"
#include "tests/vgpu/client/device_kernel.h"
#include "tests/vgpu/client/self.h"

namespace monograph::vgpu {
namespace {

constexpr std::size_t kWorkspace = 3000;  // of the second algorithm

struct Layout {
  cudaDataType_t type;
  std::int64_t rows, columns, ld, stride = 0;
  std::int32_t batch = 1;
};
struct Desc {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct Preference {
  std::uint64_t workspace = 0;
};

/// One product with everything by value.
struct Product {
  Desc desc;
  Layout a, b, c, d;
  double alpha, beta;
  const void *pa, *pb, *pc;
  void *pd, *workspace;
  std::size_t workspace_bytes;
};

at::ScalarType scalar_type(cudaDataType_t type) {
  switch (type) {
    case CUDA_R_16F:
      return at::kHalf;
    case CUDA_R_16BF:
      return at::kBFloat16;
    case CUDA_R_64F:
      return at::kDouble;
    default:
      return at::kFloat;
  }
}

at::Tensor matrices(const void* data, const Layout& l) {
  return at::from_blob(const_cast<void*>(data), {l.batch, l.rows, l.columns}, {l.stride, 1, l.ld},
                       at::TensorOptions().dtype(scalar_type(l.type)));
}

at::Tensor operand(const void* data, const Layout& l, cublasOperation_t op) {
  const at::Tensor m = matrices(data, l).to(at::kDouble);
  return op == CUBLAS_OP_T ? m.transpose(1, 2) : m;
}

bool has_bias(cublasLtEpilogue_t e) {
  return (e & CUBLASLT_EPILOGUE_BIAS) != 0;
}

void compute(const Product& p) {
  const c10::InferenceMode mode;
  if (p.workspace_bytes > 0) std::memset(p.workspace, 0x5a, p.workspace_bytes);
  at::Tensor result = at::matmul(operand(p.pa, p.a, p.desc.a), operand(p.pb, p.b, p.desc.b));
  result.mul_(p.alpha);
  if (p.beta != 0) result.add_(matrices(p.pc, p.c).to(at::kDouble), p.beta);
  if (has_bias(p.desc.epilogue)) {
    const at::Tensor bias = at::from_blob(const_cast<void*>(p.desc.bias), {p.d.rows, 1},
                                          at::TensorOptions().dtype(scalar_type(p.d.type)));
    result.add_(bias.to(at::kDouble));
  }
  if ((p.desc.epilogue & CUBLASLT_EPILOGUE_RELU) != 0) result.relu_();
  if ((p.desc.epilogue & CUBLASLT_EPILOGUE_GELU) != 0) result = at::gelu(result, "tanh");
  matrices(p.pd, p.d).copy_(result);
}

/// What the library answers to combinations that it hasn't.
bool supported(const Desc& d, const Layout& a, const Layout& b, const Layout& c, const Layout& o) {
  const bool f64 = o.type == CUDA_R_64F;
  if (a.type != b.type || c.type != o.type || a.batch != o.batch || b.batch != o.batch ||
      c.batch != o.batch) {
    return false;
  }
  if (f64 != (d.compute == CUBLAS_COMPUTE_64F) ||
      (f64 && d.epilogue != CUBLASLT_EPILOGUE_DEFAULT)) {
    return false;
  }
  const bool widened = a.type != o.type;
  if (widened && (o.type != CUDA_R_32F || d.epilogue != CUBLASLT_EPILOGUE_DEFAULT)) return false;
  if (has_bias(d.epilogue) && d.bias == nullptr) return false;
  const std::int64_t m = d.a == CUBLAS_OP_T ? a.columns : a.rows;
  const std::int64_t k = d.a == CUBLAS_OP_T ? a.rows : a.columns;
  const std::int64_t kb = d.b == CUBLAS_OP_T ? b.columns : b.rows;
  const std::int64_t n = d.b == CUBLAS_OP_T ? b.rows : b.columns;
  return m == o.rows && n == o.columns && k == kb && c.rows == m && c.columns == n;
}

struct Handle {
  explicit Handle(const cuda::ContextRef& context) : kernel(context, "cublaslt", &compute) {}
  DeviceKernel<Product> kernel;
};

template <class T>
void take(T& to, const void* from, std::size_t bytes) {
  if (bytes == sizeof to) std::memcpy(&to, from, bytes);
}

std::size_t workspace_of(const cublasLtMatmulAlgo_t& algorithm) {
  return algorithm.data[0] == 2 ? kWorkspace : 0;
}

const cuda::MathLibraryRegistration kRegistration({
    .name = "cuBLASLt",
    .serves = is_virtual,
    .open =
        [](const cuda::ContextRef& context) {
          const Opening opening(context);
          return cuda::open_cublaslt(context, path_of_self(), "vgpu_");
        },
});

}  // namespace
}  // namespace monograph::vgpu

using namespace monograph::vgpu;  // NOLINT: entry points have C's names

#define VGPU_EXPORT extern "C" __attribute__((visibility("default")))

VGPU_EXPORT cublasStatus_t vgpu_cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new Handle(Opening::context()));
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<Handle*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT std::size_t vgpu_cublasLtGetVersion() {
  return 1;
}
VGPU_EXPORT const char* vgpu_cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS";
}

VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* out,
                                                         cublasComputeType_t compute_type,
                                                         cudaDataType_t scale) {
  *out = reinterpret_cast<cublasLtMatmulDesc_t>(new Desc{compute_type, scale});
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete reinterpret_cast<Desc*>(desc);
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                               cublasLtMatmulDescAttributes_t what,
                                                               const void* value,
                                                               std::size_t bytes) {
  auto* d = reinterpret_cast<Desc*>(desc);
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      take(d->a, value, bytes);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      take(d->b, value, bytes);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      take(d->epilogue, value, bytes);
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      take(d->bias, value, bytes);
      return CUBLAS_STATUS_SUCCESS;
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* out,
                                                           cudaDataType type, std::uint64_t rows,
                                                           std::uint64_t columns, std::int64_t ld) {
  if (ld < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *out = reinterpret_cast<cublasLtMatrixLayout_t>(
      new Layout{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), ld});
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete reinterpret_cast<Layout*>(layout);
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatrixLayoutSetAttribute(
    cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t what, const void* value,
    std::size_t bytes) {
  auto* l = reinterpret_cast<Layout*>(layout);
  if (what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) {
    take(l->batch, value, bytes);
  } else if (what == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET) {
    take(l->stride, value, bytes);
  } else {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* out) {
  *out = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t
vgpu_cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete reinterpret_cast<Preference*>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what,
    const void* value, std::size_t bytes) {
  auto* p = reinterpret_cast<Preference*>(preference);
  if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) take(p->workspace, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

/// Two algorithms, the first with a workspace.
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
    int wanted, cublasLtMatmulHeuristicResult_t results[], int* count) {
  const auto layout = [](cublasLtMatrixLayout_t l) { return *reinterpret_cast<Layout*>(l); };
  *count = 0;
  if (!supported(*reinterpret_cast<Desc*>(desc), layout(a), layout(b), layout(c), layout(d))) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  for (const std::uint64_t id : {2, 1}) {
    cublasLtMatmulHeuristicResult_t r{};
    r.algo.data[0] = id;
    r.workspaceSize = workspace_of(r.algo);
    r.state = CUBLAS_STATUS_SUCCESS;
    if (*count >= wanted ||
        r.workspaceSize > reinterpret_cast<Preference*>(preference)->workspace) {
      continue;
    }
    results[(*count)++] = r;
  }
  return CUBLAS_STATUS_SUCCESS;
}
VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmulAlgoConfigGetAttribute(
    const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulAlgoConfigAttributes_t what, void* value,
    std::size_t bytes, std::size_t* written) {
  if (what != CUBLASLT_ALGO_CONFIG_ID || bytes != 4) return CUBLAS_STATUS_INVALID_VALUE;
  const auto id = static_cast<std::int32_t>(algorithm->data[0]);
  std::memcpy(value, &id, sizeof id);
  *written = sizeof id;
  return CUBLAS_STATUS_SUCCESS;
}

VGPU_EXPORT cublasStatus_t vgpu_cublasLtMatmul(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha, const void* a,
    cublasLtMatrixLayout_t la, const void* b, cublasLtMatrixLayout_t lb, const void* beta,
    const void* c, cublasLtMatrixLayout_t lc, void* d, cublasLtMatrixLayout_t ld,
    const cublasLtMatmulAlgo_t* algorithm, void* workspace, std::size_t workspace_bytes,
    cudaStream_t stream) {
  const auto layout = [](cublasLtMatrixLayout_t l) { return *reinterpret_cast<Layout*>(l); };
  const auto scalar = [&](const void* p) {
    const bool f64 = reinterpret_cast<Desc*>(desc)->scale == CUDA_R_64F;
    return f64 ? *static_cast<const double*>(p) : *static_cast<const float*>(p);
  };
  Product p{*reinterpret_cast<Desc*>(desc),
            layout(la),
            layout(lb),
            layout(lc),
            layout(ld),
            scalar(alpha),
            scalar(beta),
            a,
            b,
            c,
            d,
            workspace,
            workspace_bytes};
  if (!supported(p.desc, p.a, p.b, p.c, p.d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (workspace_bytes < workspace_of(*algorithm)) return CUBLAS_STATUS_INVALID_VALUE;
  try {
    reinterpret_cast<Handle*>(handle)->kernel.launch(p, reinterpret_cast<CUstream>(stream));
  } catch (const std::exception&) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  return CUBLAS_STATUS_SUCCESS;
}
