// What needs LibTorch's CUDA half: events, and eager in a graph captured by hand. A library of its
// own, opened only where a GPU is used.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <fstream>
#include <regex>

#include "bench/harness/contender.h"

namespace monograph::bench {
namespace {

class EventClock final : public DeviceClock {
 public:
  void start() override {
    at::cuda::getCurrentCUDAStream().synchronize();
    begin_.record();
  }
  std::optional<double> stop() override {
    end_.record();
    end_.synchronize();
    constexpr double kMicroseconds = 1000;
    return kMicroseconds * begin_.elapsed_time(end_);
  }

 private:
  at::cuda::CUDAEvent begin_{cudaEventDefault};
  at::cuda::CUDAEvent end_{cudaEventDefault};
};

class GraphedEager final : public Contender {
 public:
  explicit GraphedEager(const ModelCase& model) : model_(model) {}
  std::string name() const override { return "graphed eager"; }

  std::optional<std::string> prepare() override {
    const c10::InferenceMode inference;
    try {
      const auto side = at::cuda::getStreamFromPool();
      const c10::cuda::CUDAStreamGuard guard(side);
      for (int i = 0; i < 3; ++i) model_.module.forward(model_.inputs);
      side.synchronize();
      graph_.capture_begin();
      outputs_ = model_.module.forward(model_.inputs);
      graph_.capture_end();
      side.synchronize();
    } catch (const std::exception& error) {
      return fmt::format("capture failed: {}", error.what());
    }
    run(3);
    return std::nullopt;
  }
  std::vector<at::Tensor> outputs() override {
    const c10::InferenceMode inference;
    for (auto& output : outputs_) output.zero_();
    graph_.replay();
    std::vector<at::Tensor> copies;
    for (const auto& output : outputs_) copies.push_back(output.cpu());
    return copies;
  }
  Round run(int calls) override {
    return time_round(clock_, calls, [this] { graph_.replay(); });
  }

 private:
  ModelCase model_;
  EventClock clock_;
  at::cuda::CUDAGraph graph_;
  std::vector<at::Tensor> outputs_;
};

/// "580.159.04", from the kernel's module; empty where it doesn't say.
std::string driver_version() {
  std::ifstream in("/proc/driver/nvidia/version");
  std::string line;
  std::getline(in, line);
  std::smatch found;
  const std::regex version("[0-9]+\\.[0-9]+(\\.[0-9]+)?");
  return std::regex_search(line, found, version) ? found.str() : "";
}

std::string describe() {
  const cudaDeviceProp* properties = at::cuda::getCurrentDeviceProperties();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  return fmt::format("{}, {} SMs, {:.0f} GiB, driver {} for CUDA {}.{}", properties->name,
                     properties->multiProcessorCount,
                     static_cast<double>(properties->totalGlobalMem) / (1 << 30), driver_version(),
                     driver / 1000, driver % 1000 / 10);
}

double bytes_in_use() {
  std::size_t free = 0;
  std::size_t total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<double>(total - free);
}

std::unique_ptr<DeviceClock> make_event_clock() {
  return std::make_unique<EventClock>();
}
std::unique_ptr<Contender> make_graphed(const ModelCase& model) {
  return std::make_unique<GraphedEager>(model);
}

}  // namespace
}  // namespace monograph::bench

extern "C" __attribute__((visibility("default"))) const monograph::bench::CudaHarness*
monograph_bench_cuda() {
  static const monograph::bench::CudaHarness harness{
      &monograph::bench::make_event_clock, &monograph::bench::make_graphed,
      &monograph::bench::describe, &monograph::bench::bytes_in_use};
  return &harness;
}
