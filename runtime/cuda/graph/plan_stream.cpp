#include "runtime/cuda/graph/params.h"
#include "runtime/cuda/graph/plan_graph.h"
#include "runtime/cuda/handles/stream.h"

namespace monograph::cuda {
namespace {

/// Launches in plan order on the caller's stream: what profilers see node by node, and what a graph
/// is compared with when a result differs.
class StreamRunner final : public PlanRunner {
 public:
  StreamRunner(ContextRef context, std::vector<Work> works, const Ports& ports)
      : context_(std::move(context)), works_(std::move(works)), ports_(ports) {
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
    run(ports, stream, [](std::size_t) {});
  }

  bool launch_timed(const Ports& ports, CUstream stream,
                    std::vector<double>& microseconds) override {
    while (marks_.size() <= works_.size()) {
      marks_.push_back(Event::create(context_, Event::Timing::kOn));
    }
    marks_[0].record(stream);
    run(ports, stream, [&](std::size_t work) { marks_[work + 1].record(stream); });
    marks_[works_.size()].synchronize();
    constexpr double kMicrosecondsPerMillisecond = 1000;
    for (std::size_t i = 0; i < works_.size(); ++i) {
      if (works_[i].launch < 0) continue;
      microseconds[static_cast<std::size_t>(works_[i].launch)] =
          kMicrosecondsPerMillisecond * marks_[i + 1].elapsed_ms_since(marks_[i]);
    }
    return true;
  }

  void rebind(const std::vector<CUdeviceptr>& weights) override { ports_.weights = weights; }
  const GraphReport& report() const noexcept override { return report_; }
  std::size_t patched() const noexcept override { return 0; }
  std::string text() const override { return {}; }

 private:
  /// Calls `after(index)` when a work has been enqueued.
  template <class After>
  void run(const Ports& ports, CUstream stream, After after) {
    ports_.inputs = ports.inputs;
    ports_.outputs = ports.outputs;
    std::size_t next_block = 0;
    for (std::size_t i = 0; i < works_.size(); ++i) {
      ParamBlock* block = nullptr;
      if (std::holds_alternative<KernelWork>(works_[i].what)) block = &blocks_[next_block++];
      enqueue(context_->driver(), works_[i], block, ports_, stream);
      after(i);
    }
  }

  ContextRef context_;
  std::vector<Work> works_;
  Ports ports_;
  std::vector<ParamBlock> blocks_;
  GraphReport report_;
  std::vector<Event> marks_;  // before the first work and after each; made when first timed
};

}  // namespace

std::unique_ptr<PlanRunner> build_plan_stream(const ContextRef& context, std::vector<Work> works,
                                              const Ports& ports) {
  return std::make_unique<StreamRunner>(context, std::move(works), ports);
}

}  // namespace monograph::cuda
