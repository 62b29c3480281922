// What changed between two result files.
#include <fmt/format.h>

#include "bench/harness/result.h"

namespace monograph::bench {
namespace {

constexpr double kLeast = 0.02;

const ContenderResult* find(const ModelResult& model, const std::string& name) {
  for (const ContenderResult& c : model.contenders) {
    if (c.name == name) return &c;
  }
  return nullptr;
}

const ModelResult* find(const BenchResult& result, const ModelResult& like) {
  for (const ModelResult& m : result.models) {
    if (heading(m) == heading(like)) return &m;
  }
  return nullptr;
}

const std::vector<double>& series_of(const ContenderResult& c, bool device) {
  return device ? c.device_us : c.wall_us;
}

/// Times, or times in units of the machine's own contender where that ran in the same rounds.
std::vector<double> relative(const ContenderResult& c, const ContenderResult* machine,
                             bool device) {
  std::vector<double> values = series_of(c, device);
  if (machine == nullptr || machine == &c) return values;
  const std::vector<double>& unit = series_of(*machine, device);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] /= unit[i];
  return values;
}

/// Eager, if both results timed it alike.
const ContenderResult* machine_of(const ModelResult& m, const ContenderResult& c, bool device) {
  const ContenderResult* eager = find(m, "eager");
  if (eager == nullptr || eager->status != "ok") return nullptr;
  return series_of(*eager, device).size() == series_of(c, device).size() ? eager : nullptr;
}

struct Change {
  std::string text;
  bool worse = false;
};

Change compare_times(const ModelResult& before, const ContenderResult& a, const ModelResult& after,
                     const ContenderResult& b) {
  const bool device = !a.device_us.empty() && !b.device_us.empty();
  const ContenderResult* machine_a = machine_of(before, a, device);
  const ContenderResult* machine_b = machine_of(after, b, device);
  const bool both = machine_a != nullptr && machine_b != nullptr && machine_a != &a;
  const Interval x = median_interval(relative(a, both ? machine_a : nullptr, device));
  const Interval y = median_interval(relative(b, both ? machine_b : nullptr, device));
  const bool slower = y.low > x.high * (1 + kLeast);
  const bool faster = y.high * (1 + kLeast) < x.low;
  const double was = summarise(series_of(a, device)).median;
  const double is = summarise(series_of(b, device)).median;
  return {fmt::format("{:.1f} -> {:.1f} us, {:.2f} x{}: {}", was, is, y.median / x.median,
                      both ? " beside eager" : "",
                      slower   ? "slower"
                      : faster ? "faster"
                               : "no difference beyond noise"),
          slower};
}

Change compare_contender(const ModelResult& before, const ContenderResult& a,
                         const ModelResult& after, const ContenderResult* b) {
  if (b == nullptr) return {"only in the first", true};
  if (a.status != b->status) {
    return {fmt::format("{} -> {} {}", a.status, b->status, b->reason), b->status != "ok"};
  }
  if (a.status != "ok") return {"not measured", false};
  return compare_times(before, a, after, *b);
}

}  // namespace

Comparison compare_results(const BenchResult& before, const BenchResult& after) {
  Comparison all;
  if (before.device != after.device || before.host != after.host) {
    all.text += fmt::format("Different machines: {} | {}; {} | {}\n", before.device, after.device,
                            before.host, after.host);
  }
  for (const ModelResult& m : before.models) {
    const ModelResult* now = find(after, m);
    all.text += heading(m) + (now == nullptr ? ": only in the first\n" : "\n");
    if (now == nullptr) continue;
    for (const ContenderResult& c : m.contenders) {
      const Change change = compare_contender(m, c, *now, find(*now, c.name));
      all.text += fmt::format("  {:16} {}\n", c.name, change.text);
      all.worse = all.worse || (c.name == "monograph" && change.worse);
    }
    for (const ContenderResult& c : now->contenders) {
      if (find(m, c.name) == nullptr) {
        all.text += fmt::format("  {:16} only in the second\n", c.name);
      }
    }
  }
  for (const ModelResult& m : after.models) {
    if (find(before, m) == nullptr) all.text += heading(m) + ": only in the second\n";
  }
  return all;
}

}  // namespace monograph::bench
