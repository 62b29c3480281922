// LibTorch eager and ourselves.
#include <ATen/ops/empty_strided.h>
#include <c10/core/InferenceMode.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <monograph/compiled_module.h>

#include <filesystem>
#include <limits>

#include "bench/harness/contender.h"

namespace monograph::bench {
namespace {

std::vector<at::Tensor> to_cpu(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  copies.reserve(tensors.size());
  for (const auto& tensor : tensors)
    copies.push_back(tensor.to(at::kCPU, tensor.scalar_type(), false, true));
  return copies;
}

template <class O>
void declare_state(O& options, const ModelCase& model) {
  if constexpr (requires { options.mutable_state; }) {
    options.mutable_state.assign(model.state.begin(), model.state.end());
  }
}

class NoClock final : public DeviceClock {
 public:
  void start() override {}
  std::optional<double> stop() override { return std::nullopt; }
};

class Eager final : public Contender {
 public:
  explicit Eager(const ModelCase& model)
      : model_(model), clock_(make_clock(model.inputs.front().device())) {}

  std::string name() const override { return "eager"; }
  std::optional<std::string> prepare() override {
    run(3);
    return std::nullopt;
  }
  std::vector<at::Tensor> outputs() override {
    const c10::InferenceMode inference;
    return to_cpu(model_.module.forward(model_.inputs));
  }
  Round run(int calls) override {
    const c10::InferenceMode inference;
    return time_round(*clock_, calls, [this] { model_.module.forward(model_.inputs); });
  }

 private:
  ModelCase model_;
  std::unique_ptr<DeviceClock> clock_;
};

class Ours final : public Contender {
 public:
  Ours(const ModelCase& model, std::string name, Options options, double slowdown)
      : model_(model),
        name_(std::move(name)),
        slowdown_(slowdown),
        clock_(make_clock(model.inputs.front().device())),
        options_(std::move(options)) {
    options_.name = name_;
    declare_state(options_, model);
  }

  std::string name() const override { return name_; }

  std::optional<std::string> prepare() override {
    const c10::InferenceMode inference;
    try {
      compiled_ = std::make_unique<CompiledModule>(model_.module, options_);
      Executable& made = compiled_->prepare(model_.inputs);
      note(made);
      for (const TensorSpec& spec : made.program().outputs()) {
        outputs_.push_back(at::empty_strided(
            spec.sizes, spec.strides,
            at::TensorOptions().dtype(spec.dtype).device(model_.inputs.front().device())));
      }
    } catch (const RejectedError& error) {
      return "refused: " + error.rejection().reason;
    } catch (const Error& error) {
      return error.what();
    }
    run(3);
    return std::nullopt;
  }

  std::map<std::string, double> figures() const override { return figures_; }

  std::vector<at::Tensor> outputs() override {
    const c10::InferenceMode inference;
    for (auto& output : outputs_) {
      if (output.is_floating_point()) output.fill_(std::numeric_limits<double>::quiet_NaN());
    }
    (*compiled_)(model_.inputs, outputs_);
    return to_cpu(outputs_);
  }

  Round run(int calls) override {
    const c10::InferenceMode inference;
    return time_round(*clock_, calls, [this] {
      const auto begin = std::chrono::steady_clock::now();
      (*compiled_)(model_.inputs, outputs_);
      if (slowdown_ > 0) {
        const auto until = std::chrono::steady_clock::now();
        const auto extra = (until - begin) * slowdown_;
        while (std::chrono::steady_clock::now() - until < extra) {
        }
      }
    });
  }

 private:
  void note(const Executable& made) {
    const Report& r = made.report();
    figures_ = {{"trace_ms", r.trace_ms},
                {"passes_ms", r.passes_ms},
                {"build_ms", r.build_ms},
                {"nodes_traced", static_cast<double>(r.nodes_traced)},
                {"nodes_final", static_cast<double>(r.nodes_final)},
                {"launches", static_cast<double>(r.launches)},
                {"arena_bytes", static_cast<double>(r.arena_bytes)},
                {"arena_lower_bound", static_cast<double>(r.arena_lower_bound)},
                {"weight_bytes", static_cast<double>(r.weight_bytes)}};
    if (r.backend == "cuda") {
      const std::string nodes = made.dump("graph_nodes");
      figures_["child_graphs"] = static_cast<double>(count(nodes, ": child graph\n"));
    }
  }
  static std::size_t count(const std::string& text, const std::string& what) {
    std::size_t found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  }

  ModelCase model_;
  std::string name_;
  std::map<std::string, double> figures_;
  double slowdown_;
  std::unique_ptr<DeviceClock> clock_;
  Options options_;
  std::unique_ptr<CompiledModule> compiled_;
  std::vector<at::Tensor> outputs_;
};

class Missing final : public Contender {
 public:
  Missing(std::string name, std::string why) : name_(std::move(name)), why_(std::move(why)) {}
  std::string name() const override { return name_; }
  std::optional<std::string> prepare() override { return why_; }
  std::vector<at::Tensor> outputs() override { return {}; }
  Round run(int) override { return {}; }

 private:
  std::string name_;
  std::string why_;
};

}  // namespace

const CudaHarness* cuda_harness(std::string* why) {
  Dl_info info{};
  ::dladdr(reinterpret_cast<void*>(&code_name), &info);
  const auto library =
      std::filesystem::absolute(info.dli_fname).parent_path() / "libmonograph_bench_cuda.so";
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    const char* text = ::dlerror();
    if (why != nullptr) *why = text != nullptr ? text : "unknown reason";
    return nullptr;
  }
  using Get = const CudaHarness* (*)();
  const auto get = reinterpret_cast<Get>(::dlsym(handle, "monograph_bench_cuda"));
  return get != nullptr ? get() : nullptr;
}

std::unique_ptr<DeviceClock> make_clock(at::Device device) {
  if (device.is_cuda()) {
    if (const CudaHarness* cuda = cuda_harness()) return cuda->make_clock();
  }
  return std::make_unique<NoClock>();
}

std::unique_ptr<Contender> make_eager(const ModelCase& model) {
  return std::make_unique<Eager>(model);
}

std::unique_ptr<Contender> make_graphed_eager(const ModelCase& model) {
  constexpr const char* kName = "graphed eager";
  if (!model.inputs.front().is_cuda()) return std::make_unique<Missing>(kName, "needs a GPU");
  std::string why;
  const CudaHarness* cuda = cuda_harness(&why);
  if (cuda == nullptr) return std::make_unique<Missing>(kName, why);
  return cuda->make_graphed_eager(model);
}

std::unique_ptr<Contender> make_monograph(const ModelCase& model, const std::string& name,
                                          const Options& options, double slowdown) {
  return std::make_unique<Ours>(model, name, options, slowdown);
}

}  // namespace monograph::bench
