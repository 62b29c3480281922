// Products of matrices through cuBLASLt, opened at run time.
//
// cuBLASLt counts by columns. A row-major matrix is its transpose there, so what is computed is
// D^T = B^T A^T: its operands change places, and D's rows are our columns, which is why its bias,
// along rows, is ours along columns.
#include <cublasLt.h>
#include <fmt/format.h>
#include <monograph/error.h>

#include <cstring>
#include <map>

#include "runtime/cuda/library/math_library.h"

namespace monograph::cuda {
namespace {

using kernels::DType;

constexpr int kMostWays = 16;
constexpr std::uint64_t kMostWorkspace = std::uint64_t{32} << 20;
/// Where a descriptor wants an address and none is known yet; never read.
constexpr std::uintptr_t kSomeAddress = 256;

/// The entry points used, typed by the header's own declarations.
struct Api {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtGetStatusName) status_name;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulAlgoConfigGetAttribute) config;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;

  Api(void* library, const std::string& prefix) {
    const auto get = [&](const char* name, auto& fn) {
      detail::load(library, prefix + name, "cuBLASLt", fn);
    };
    get("cublasLtCreate", create);
    get("cublasLtDestroy", destroy);
    get("cublasLtGetVersion", version);
    get("cublasLtGetStatusName", status_name);
    get("cublasLtMatmul", matmul);
    get("cublasLtMatmulAlgoGetHeuristic", heuristic);
    get("cublasLtMatmulAlgoConfigGetAttribute", config);
    get("cublasLtMatmulDescCreate", desc_create);
    get("cublasLtMatmulDescDestroy", desc_destroy);
    get("cublasLtMatmulDescSetAttribute", desc_set);
    get("cublasLtMatrixLayoutCreate", layout_create);
    get("cublasLtMatrixLayoutDestroy", layout_destroy);
    get("cublasLtMatrixLayoutSetAttribute", layout_set);
    get("cublasLtMatmulPreferenceCreate", preference_create);
    get("cublasLtMatmulPreferenceDestroy", preference_destroy);
    get("cublasLtMatmulPreferenceSetAttribute", preference_set);
  }

  void check(cublasStatus_t status, const char* what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(Code::kDeviceFault, fmt::format("cuBLASLt: {} failed", what), {},
                status_name(status));
  }
};

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF64:
      return CUDA_R_64F;
    default:
      return CUDA_R_32F;
  }
}

cublasLtEpilogue_t epilogue_of(const MatmulProblem& p) {
  switch (p.activation) {
    case Activation::kRelu:
      return p.has_bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case Activation::kGeluTanh:
      return p.has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    case Activation::kNone:
      break;
  }
  return p.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/// What the library is told about a problem.
class Descriptors {
 public:
  Descriptors(const Api& api, const MatmulProblem& p, const void* bias) : api_(api) {
    const bool f64 = p.a.dtype == DType::kF64;
    api.check(api.desc_create(&desc, f64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                              f64 ? CUDA_R_64F : CUDA_R_32F),
              "making a description");
    // Ours by columns are its own order; ours by rows come out transposed, which is what is wanted.
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.b.by_columns ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.a.by_columns ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p));
    if (p.has_bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    a = layout(p.b, p.k, p.n, p.batch);
    b = layout(p.a, p.m, p.k, p.batch);
    d = layout(p.d, p.m, p.n, p.batch);
    c = layout(p.has_c ? p.c : p.d, p.m, p.n, p.batch);
  }
  ~Descriptors() {
    for (const cublasLtMatrixLayout_t l : {a, b, c, d}) {
      if (l != nullptr) api_.layout_destroy(l);
    }
    if (desc != nullptr) api_.desc_destroy(desc);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr, d = nullptr;

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    api_.check(api_.desc_set(desc, attribute, &value, sizeof value), "an attribute");
  }

  cublasLtMatrixLayout_t layout(const MatrixLayout& l, std::int64_t rows, std::int64_t columns,
                                std::int64_t batch) const {
    if (!l.by_columns) std::swap(rows, columns);
    cublasLtMatrixLayout_t made = nullptr;
    api_.check(api_.layout_create(&made, type_of(l.dtype), static_cast<std::uint64_t>(rows),
                                  static_cast<std::uint64_t>(columns), l.ld),
               "a layout");
    if (batch == 1) return made;
    const auto count = static_cast<std::int32_t>(batch);
    api_.check(api_.layout_set(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
               "a batch");
    api_.check(api_.layout_set(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &l.batch_stride,
                               sizeof l.batch_stride),
               "a batch");
    return made;
  }

  const Api& api_;
};

class CublasLt final : public MathLibrary {
 public:
  CublasLt(ContextRef context, const std::string& path, const std::string& prefix)
      : context_(std::move(context)), api_(detail::open_library(path, "cuBLASLt"), prefix) {
    const CurrentContext current(*context_);
    if (const cublasStatus_t s = api_.create(&handle_); s != CUBLAS_STATUS_SUCCESS) {
      throw Error(Code::kDeviceUnavailable, "cuBLASLt gave no handle", {}, api_.status_name(s));
    }
  }
  ~CublasLt() override {
    const CurrentContext current(*context_, CurrentContext::kNoThrow);
    api_.destroy(handle_);
  }

  std::string name() const override { return "cublasLt"; }
  std::string version() const override { return fmt::to_string(api_.version()); }
  bool takes(const LibraryProblem& problem) const noexcept override {
    return std::holds_alternative<MatmulProblem>(problem);
  }
  std::vector<LibraryWay> ways(const LibraryProblem& problem, std::string* why) const override;
  std::shared_ptr<LibraryCall> bind(const LibraryProblem& problem, const LibraryWay& way,
                                    const LibraryAddresses& addresses) const override;

  const Api& api() const noexcept { return api_; }
  cublasLtHandle_t handle() const noexcept { return handle_; }

 private:
  std::string describe(const cublasLtMatmulAlgo_t& algorithm) const;

  ContextRef context_;
  Api api_;
  cublasLtHandle_t handle_ = nullptr;
};

/// A preference that goes with the scope.
class Preference {
 public:
  Preference(const Api& api, const MatmulProblem& p) : api_(api) {
    api.check(api.preference_create(&raw), "a preference");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    const auto alignment = [this](cublasLtMatmulPreferenceAttributes_t a, std::int64_t bytes) {
      set(a, static_cast<std::uint32_t>(bytes));
    };
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, p.b.alignment);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, p.a.alignment);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (p.has_c ? p.c : p.d).alignment);
    alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, p.d.alignment);
  }
  ~Preference() {
    if (raw != nullptr) api_.preference_destroy(raw);
  }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  cublasLtMatmulPreference_t raw = nullptr;

 private:
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    api_.check(api_.preference_set(raw, attribute, &value, sizeof value), "a preference");
  }
  const Api& api_;
};

/// Algorithms are told apart by how they are configured.
std::string CublasLt::describe(const cublasLtMatmulAlgo_t& algorithm) const {
  struct Field {
    const char* name;
    cublasLtMatmulAlgoConfigAttributes_t attribute;
    std::size_t bytes;
  };
  constexpr Field kFields[] = {
      {"algo", CUBLASLT_ALGO_CONFIG_ID, 4},
      {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},
      {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
      {"split", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},
      {"reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
      {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
      {"custom", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
      {"inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
      {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2},
  };
  std::string s;
  for (const Field& f : kFields) {
    std::uint32_t value = 0;
    std::size_t written = 0;
    const cublasStatus_t status = api_.config(&algorithm, f.attribute, &value, f.bytes, &written);
    if (status != CUBLAS_STATUS_SUCCESS) continue;  // older libraries lack the newest
    s += fmt::format("{}{} {}", s.empty() ? "" : " ", f.name, value);
  }
  return s;
}

std::vector<LibraryWay> CublasLt::ways(const LibraryProblem& problem, std::string* why) const {
  const auto& p = std::get<MatmulProblem>(problem);
  const Descriptors desc(api_, p, reinterpret_cast<const void*>(kSomeAddress));
  const Preference preference(api_, p);
  std::array<cublasLtMatmulHeuristicResult_t, kMostWays> results{};
  int count = 0;
  const cublasStatus_t status = api_.heuristic(handle_, desc.desc, desc.a, desc.b, desc.c, desc.d,
                                               preference.raw, kMostWays, results.data(), &count);
  std::vector<LibraryWay> found;
  if (status != CUBLAS_STATUS_SUCCESS) {
    *why = fmt::format("cuBLASLt has no algorithm ({})", api_.status_name(status));
    return found;
  }
  std::map<std::string, int> names;
  for (int i = 0; i < count; ++i) {
    const auto& r = results[static_cast<std::size_t>(i)];
    if (r.state != CUBLAS_STATUS_SUCCESS || r.workspaceSize > kMostWorkspace) continue;
    LibraryWay way;
    way.name = describe(r.algo);
    if (const int seen = names[way.name]++; seen > 0) way.name += fmt::format(" #{}", seen);
    way.workspace_bytes = static_cast<std::int64_t>(r.workspaceSize);
    way.detail.resize(sizeof r.algo);
    std::memcpy(way.detail.data(), &r.algo, sizeof r.algo);
    found.push_back(std::move(way));
  }
  if (found.empty()) *why = "cuBLASLt has no algorithm";
  return found;
}

/// One product at fixed addresses.
class Matmul final : public LibraryCall {
 public:
  Matmul(std::shared_ptr<const CublasLt> library, const MatmulProblem& p, const LibraryWay& way,
         const LibraryAddresses& at)
      : library_(std::move(library)),
        problem_(p),
        at_(at),
        workspace_bytes_(static_cast<std::size_t>(way.workspace_bytes)),
        desc_(library_->api(), p, pointer(at.operands[kBias])) {
    std::memcpy(&algorithm_, way.detail.data(), sizeof algorithm_);
  }

  void enqueue(CUstream stream) override {
    const auto run = [&](const auto& alpha, const auto& beta) {
      const CUdeviceptr d = at_.operands[kResult];
      const CUdeviceptr c = problem_.has_c ? at_.operands[kAddend] : d;
      library_->api().check(
          library_->api().matmul(library_->handle(), desc_.desc, &alpha,
                                 pointer(at_.operands[kSecond]), desc_.a,
                                 pointer(at_.operands[kFirst]), desc_.b, &beta, pointer(c), desc_.c,
                                 pointer(d), desc_.d, &algorithm_, pointer(at_.workspace),
                                 workspace_bytes_, reinterpret_cast<cudaStream_t>(stream)),
          "a product");
    };
    const double beta = problem_.has_c ? problem_.beta : 0;
    if (problem_.a.dtype == DType::kF64) {
      run(problem_.alpha, beta);
    } else {
      run(static_cast<float>(problem_.alpha), static_cast<float>(beta));
    }
  }
  int warm_up_runs() const override { return 1; }

 private:
  static void* pointer(CUdeviceptr p) { return reinterpret_cast<void*>(p); }

  std::shared_ptr<const CublasLt> library_;
  MatmulProblem problem_;
  LibraryAddresses at_;
  std::size_t workspace_bytes_;
  Descriptors desc_;
  cublasLtMatmulAlgo_t algorithm_{};
};

std::shared_ptr<LibraryCall> CublasLt::bind(const LibraryProblem& problem, const LibraryWay& way,
                                            const LibraryAddresses& addresses) const {
  return std::make_shared<Matmul>(std::static_pointer_cast<const CublasLt>(shared_from_this()),
                                  std::get<MatmulProblem>(problem), way, addresses);
}

const MathLibraryRegistration kRegistration({
    .name = "cuBLASLt",
    .serves = [](const Driver& d) { return d.library() == Driver::kDefaultLibrary; },
    // Found by this library's run path, which names torch's CUDA folder.
    .open = [](const ContextRef& c) { return open_cublaslt(c, "libcublasLt.so.13"); },
});

}  // namespace

std::shared_ptr<MathLibrary> open_cublaslt(const ContextRef& context, const std::string& path,
                                           const std::string& prefix) {
  return std::make_shared<CublasLt>(context, path, prefix);
}

}  // namespace monograph::cuda
