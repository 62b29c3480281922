#include <fmt/format.h>

#include <chrono>

#include "runtime/cuda/graph/params.h"
#include "runtime/cuda/graph/plan_graph.h"
#include "runtime/cuda/handles/stream.h"

namespace monograph::cuda {
namespace {

/// Launches in plan order on the caller's stream: what profilers see node by node, and what a graph
/// is compared with when a result differs.
class StreamRunner final : public PlanRunner {
 public:
  StreamRunner(ContextRef context, std::vector<Work> works)
      : context_(std::move(context)), works_(std::move(works)) {
    blocks_.reserve(works_.size());
    for (const Work& w : works_) {
      const auto* k = std::get_if<KernelWork>(&w.what);
      if (k != nullptr) {
        blocks_.emplace_back(*k);
        ++report_.kernel_nodes;
      }
      report_.copy_nodes += std::holds_alternative<CopyWork>(w.what) ? 1 : 0;
      report_.fill_nodes += std::holds_alternative<FillWork>(w.what) ? 1 : 0;
      report_.empty_nodes += std::holds_alternative<EmptyWork>(w.what) ? 1 : 0;
    }
  }

  void launch(const Ports& ports, CUstream stream) override {
    enqueue(ports, stream, [](std::size_t) {});
  }

  bool launch_timed(const Ports& ports, CUstream stream,
                    std::vector<double>& microseconds) override {
    while (marks_.size() <= works_.size()) {
      marks_.push_back(Event::create(context_, Event::Timing::kOn));
    }
    marks_[0].record(stream);
    enqueue(ports, stream, [&](std::size_t work) { marks_[work + 1].record(stream); });
    marks_[works_.size()].synchronize();
    constexpr double kMicrosecondsPerMillisecond = 1000;
    for (std::size_t i = 0; i < works_.size(); ++i) {
      if (works_[i].launch < 0) continue;
      microseconds[static_cast<std::size_t>(works_[i].launch)] =
          kMicrosecondsPerMillisecond * marks_[i + 1].elapsed_ms_since(marks_[i]);
    }
    return true;
  }

  const GraphReport& report() const noexcept override { return report_; }
  std::size_t patched() const noexcept override { return 0; }
  std::string text() const override { return {}; }

 private:
  /// Calls `after(index)` when a work has been enqueued.
  template <class After>
  void enqueue(const Ports& ports, CUstream stream, After after) {
    const Driver& driver = context_->driver();
    std::size_t next_block = 0;
    for (std::size_t i = 0; i < works_.size(); ++i) {
      Work& work = works_[i];
      const NodeScope scope(work.node);
      if (auto* k = std::get_if<KernelWork>(&work.what)) {
        ParamBlock& block = blocks_[next_block++];
        block.resolve(*k, ports);
        launch_kernel(*k, block, stream);
      } else if (const auto* c = std::get_if<CopyWork>(&work.what)) {
        driver.MemcpyDtoDAsync(ports.of(c->to), ports.of(c->from), c->bytes, stream);
      } else if (const auto* f = std::get_if<FillWork>(&work.what)) {
        driver.MemsetD8Async(ports.of(f->to), f->value, f->bytes, stream);
      } else if (auto* l = std::get_if<LibraryWork>(&work.what)) {
        l->call->enqueue(stream);
      }
      after(i);
    }
  }

  void launch_kernel(const KernelWork& k, ParamBlock& block, CUstream stream) {
    CUlaunchConfig config{};
    config.gridDimX = k.grid[0];
    config.gridDimY = k.grid[1];
    config.gridDimZ = k.grid[2];
    config.blockDimX = k.block[0];
    config.blockDimY = k.block[1];
    config.blockDimZ = k.block[2];
    config.sharedMemBytes = k.dynamic_shared_bytes;
    config.hStream = stream;
    context_->driver().LaunchKernelEx(&config, k.kernel.function(), block.pointers(), nullptr);
  }

  ContextRef context_;
  std::vector<Work> works_;
  std::vector<ParamBlock> blocks_;
  GraphReport report_;
  std::vector<Event> marks_;  // before the first work and after each; made when first timed
};

}  // namespace

std::unique_ptr<PlanRunner> build_plan_stream(const ContextRef& context, std::vector<Work> works) {
  return std::make_unique<StreamRunner>(context, std::move(works));
}

}  // namespace monograph::cuda
