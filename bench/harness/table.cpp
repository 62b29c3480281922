// Results for people: Markdown and CSV.
#include <fmt/format.h>

#include "bench/harness/result.h"

namespace monograph::bench {
namespace {

std::string time_text(const std::vector<double>& series) {
  const Summary s = summarise(series);
  return fmt::format("{:.1f} [{:.1f}, {:.1f}]", s.median, s.p10, s.p90);
}

// Ours against `other`, by device time where both have it.
Ratio against(const ContenderResult& ours, const ContenderResult& other) {
  return compare_rounds(ours.wall_us, other.wall_us);
}

std::string row(const BenchResult& result, const ModelResult& m, const ContenderResult& c) {
  if (c.status != "ok") return fmt::format("| {} | {}: {} | | | | |\n", c.name, c.status, c.reason);
  const auto& best = c.device_us.empty() ? c.wall_us : c.device_us;
  const double median = summarise(best).median;
  const double wall = summarise(c.wall_us).median;
  const ContenderResult& ours = m.contenders.front();
  std::string ratio = "–";
  if (&c != &ours && ours.status == "ok") {
    const Ratio r = against(ours, c);
    ratio = fmt::format("{:.2f} × [{:.2f}, {:.2f}] {}", r.median, r.low, r.high,
                        verdict_name(r.verdict));
  }
  std::string floor = "–";
  if (result.bytes_per_us > 0 && m.read_bytes > 0) {
    floor = fmt::format("{:.0f} %", 100 * m.read_bytes / result.bytes_per_us / median);
  }
  return fmt::format("| {} | {} | {} | {} | {:.4g} {}/s, {:.4g} GB/s | {} |\n", c.name,
                     time_text(c.wall_us), c.device_us.empty() ? "–" : time_text(c.device_us),
                     ratio, 1e6 * m.units_per_call / wall, m.unit, m.read_bytes / median / 1e3,
                     floor);
}

std::string escape_csv(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string heading(const ModelResult& m) {
  std::string text = fmt::format("{}, {}, batch {}", m.model, m.dtype, m.batch);
  if (m.length > 0) text += fmt::format(", length {}", m.length);
  if (m.layers > 0) text += fmt::format(", cut to {} layers", m.layers);
  return text;
}

std::string to_markdown(const BenchResult& result) {
  std::string text = fmt::format(
      "Device: {}. Host: {}; {}; threads: {}. Monograph {}, torch {}. {}.\nCommand: `{}`\n",
      result.device, result.host, result.clocks,
      result.threads > 0 ? std::to_string(result.threads) : "unknown", result.monograph_version,
      result.torch_version, result.date, result.command);
  for (const ModelResult& m : result.models) {
    text += fmt::format(
        "\n### {}\n\n{}\n\n"
        "| contender | wall us, median [p10, p90] | device us | Monograph takes, 99.5 % interval "
        "| rate, reads | of the floor |\n|---|---|---|---|---|---|\n",
        heading(m),
        m.reference.empty() ? "Not run." : fmt::format("Answers checked against {}.", m.reference));
    for (const ContenderResult& c : m.contenders) text += row(result, m, c);
  }
  return text;
}

std::string to_csv(const BenchResult& result) {
  std::string text =
      "model,dtype,batch,length,contender,status,reason,wall_us,wall_p10,wall_p90,wall_p99,"
      "device_us,prepare_ms,rmse,max_abs_diff\n";
  for (const ModelResult& m : result.models) {
    for (const ContenderResult& c : m.contenders) {
      text += fmt::format("{},{},{},{},{},{},{}", m.model, m.dtype, m.batch, m.length,
                          escape_csv(c.name), c.status, escape_csv(c.reason));
      if (c.wall_us.empty()) {
        text += ",,,,,,,,\n";
        continue;
      }
      const Summary s = summarise(c.wall_us);
      text +=
          fmt::format(",{},{},{},{},{},{},{},{}\n", s.median, s.p10, s.p90, s.p99,
                      c.device_us.empty() ? "" : fmt::format("{}", summarise(c.device_us).median),
                      c.prepare_ms, c.check.rmse, c.check.max_abs_diff);
    }
  }
  return text;
}

}  // namespace monograph::bench
