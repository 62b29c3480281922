#include "runtime/cuda/tune/timing.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <random>

namespace monograph::cuda {
namespace {

constexpr double kMicrosecondsPerMillisecond = 1000;
constexpr std::size_t kAlignment = 256;

/// Copies that make what lies between two uses of one of them more than L2 holds. A copy that
/// doesn't fit by itself has evicted its beginning when it ends.
std::size_t copies_of(std::size_t cold_bytes, std::size_t l2_bytes, const TimingLimits& limits) {
  if (cold_bytes == 0 || cold_bytes >= 2 * l2_bytes) return 1;
  const std::size_t wanted = (5 * l2_bytes / 2 + cold_bytes - 1) / cold_bytes;
  const std::size_t room = std::max<std::size_t>(1, limits.most_bytes / cold_bytes);
  return std::clamp<std::size_t>(wanted, 1, std::min(room, limits.most_nodes));
}

std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Sixteen-bit words that are positive or negative numbers of ordinary size as f16, and, two by
/// two, as f32; as bf16 they are small but normal.
std::vector<std::uint16_t> pattern(std::size_t words) {
  constexpr std::uint16_t kOneHalf = 0x3800;
  constexpr std::uint16_t kMantissa = 0x03ff;
  constexpr std::uint16_t kSign = 0x8000;
  std::vector<std::uint16_t> out(words);
  std::mt19937 random(20260101);  // NOLINT: the same numbers in every run
  for (std::uint16_t& w : out) {
    const auto bits = static_cast<std::uint32_t>(random());
    w = static_cast<std::uint16_t>(kOneHalf | (bits & kMantissa) | ((bits >> 16) & kSign));
  }
  return out;
}

/// The operands of each launch in turn.
class Memory {
 public:
  Memory(const ContextRef& context, const std::vector<Operand>& operands, CUstream stream,
         const TimingLimits& limits) {
    std::size_t cold = 0;
    std::size_t fixed = 0;
    for (const Operand& o : operands) {
      (o.role == Operand::Role::kCold ? cold : fixed) += rounded(o.bytes);
    }
    copies_ = copies_of(cold, context->info().l2_bytes, limits);
    const std::size_t total = std::max<std::size_t>(fixed + copies_ * cold, kAlignment);
    buffer_ = DeviceBuffer::allocate(context, total, "memory for timing kernels");
    fill(context->driver(), total, stream);
    CUdeviceptr next = buffer_.get();
    sets_.resize(copies_, std::vector<CUdeviceptr>(operands.size()));
    for (std::size_t i = 0; i < operands.size(); ++i) {
      for (std::size_t c = 0; c < copies_; ++c) {
        const bool fresh = c == 0 || operands[i].role == Operand::Role::kCold;
        sets_[c][i] = fresh ? next : sets_[0][i];
        if (fresh) next += rounded(operands[i].bytes);
      }
      if (operands[i].role == Operand::Role::kState && operands[i].bytes > 0) {
        context->driver().MemsetD8Async(sets_[0][i], 0, operands[i].bytes, stream);
      }
    }
    context->driver().StreamSynchronize(stream);
  }

  std::size_t copies() const noexcept { return copies_; }
  std::span<const CUdeviceptr> set(std::size_t launch) const { return sets_[launch % copies_]; }

 private:
  /// Numbers, doubled until all is full.
  void fill(const Driver& driver, std::size_t bytes, CUstream stream) const {
    const std::size_t first = std::min<std::size_t>(bytes, std::size_t{1} << 20);
    const std::vector<std::uint16_t> numbers = pattern(first / sizeof(std::uint16_t));
    driver.MemcpyHtoDAsync(buffer_.get(), numbers.data(), first, stream);
    driver.StreamSynchronize(stream);  // `numbers` goes
    for (std::size_t done = first; done < bytes;) {
      const std::size_t step = std::min(done, bytes - done);
      driver.MemcpyDtoDAsync(buffer_.get() + done, buffer_.get(), step, stream);
      done += step;
    }
  }

  std::size_t copies_ = 1;
  DeviceBuffer buffer_;
  std::vector<std::vector<CUdeviceptr>> sets_;  // by copy
};

std::size_t nodes_for(std::size_t copies, const TimingLimits& limits) {
  // One copy that is larger than L2 runs for tens of microseconds; a few of them are enough.
  constexpr std::size_t kFew = 6;
  if (copies == 1) return std::min(kFew, limits.least_nodes);
  return std::max(copies, (limits.least_nodes + copies - 1) / copies * copies);
}

/// An alternative as a chain of nodes.
struct Chain {
  std::unique_ptr<PlanRunner> graph;
  std::vector<double> times;
};

std::unique_ptr<PlanRunner> build_chain(const ContextRef& context, const Alternative& alternative,
                                        const Memory& memory, std::size_t nodes, CUstream stream) {
  std::vector<Work> works;
  std::vector<plan::Edge> edges;
  for (std::size_t i = 0; i < nodes; ++i) {
    Work work = alternative.work(memory.set(i));
    work.launch = static_cast<plan::LaunchId>(i);
    work.node = alternative.name;
    works.push_back(std::move(work));
    if (i > 0)
      edges.push_back({static_cast<plan::LaunchId>(i) - 1, static_cast<plan::LaunchId>(i)});
  }
  return build_plan_graph(context, std::move(works), edges, Ports{}, stream);
}

}  // namespace

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

bool is_final(const Error& e) {
  return e.code() == Code::kDevicePoisoned || e.code() == Code::kDeviceUnavailable;
}

Stopwatch event_stopwatch(const ContextRef& context) {
  const auto before = std::make_shared<Event>(Event::create(context, Event::Timing::kOn));
  const auto after = std::make_shared<Event>(Event::create(context, Event::Timing::kOn));
  return
      [before, after](const std::string&, PlanRunner& graph, const Ports& ports, CUstream stream) {
        before->record(stream);
        graph.launch(ports, stream);
        after->record(stream);
        after->synchronize();
        return kMicrosecondsPerMillisecond * static_cast<double>(after->elapsed_ms_since(*before));
      };
}

std::vector<Timing> time_alternatives(const ContextRef& context,
                                      const std::vector<Operand>& operands,
                                      const std::vector<Alternative>& alternatives,
                                      const Stopwatch& stopwatch, const TimingLimits& limits) {
  const CurrentContext current(*context);
  const Stream own = Stream::create(context);
  const CUstream stream = own.get();
  const Memory memory(context, operands, stream, limits);
  const std::size_t nodes = nodes_for(memory.copies(), limits);
  std::vector<Timing> timings(alternatives.size());
  std::vector<Chain> chains(alternatives.size());

  // What fails once is out; what it left behind on the stream must not be the next one's.
  const auto attempt = [&](std::size_t i, auto&& action) {
    try {
      action(chains[i]);
      own.synchronize();
    } catch (const Error& e) {
      if (is_final(e)) throw;
      timings[i].error = e.what();
      chains[i].graph.reset();
    }
  };
  for (std::size_t i = 0; i < alternatives.size(); ++i) {
    timings[i].name = alternatives[i].name;
    attempt(i, [&](Chain& c) {
      c.graph = build_chain(context, alternatives[i], memory, nodes, stream);
      c.graph->launch(Ports{}, stream);
    });
  }
  double fastest = std::numeric_limits<double>::infinity();
  for (int round = 0; round < limits.rounds; ++round) {
    for (std::size_t i = 0; i < chains.size(); ++i) {
      const bool slow = round > 0 && !chains[i].times.empty() &&
                        chains[i].times.front() > limits.dropped_above * fastest;
      if (!chains[i].graph || slow) continue;
      attempt(i, [&](Chain& c) {
        const double us = stopwatch(alternatives[i].name, *c.graph, Ports{}, stream);
        c.times.push_back(us / static_cast<double>(nodes));
        if (round == 0) fastest = std::min(fastest, c.times.back());
      });
    }
  }
  for (std::size_t i = 0; i < chains.size(); ++i) {
    const std::vector<double>& times = chains[i].times;
    if (!timings[i].error.empty()) continue;
    if (times.empty()) {
      timings[i].error = "never timed";
      continue;
    }
    timings[i].microseconds = median(times);
    timings[i].least = *std::ranges::min_element(times);
    timings[i].most = *std::ranges::max_element(times);
  }
  return timings;
}

}  // namespace monograph::cuda
