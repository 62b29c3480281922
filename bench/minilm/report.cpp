#include "bench/minilm/report.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/version.h>
#include <torch/version.h>

#include <nlohmann/json.hpp>
#include <string_view>

namespace monograph::bench {
namespace {

constexpr std::size_t kColumns = 78;
constexpr const char* kModelName = "all-MiniLM-L6-v2";

bool starts_code_point(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

// `text` cut to `columns` characters, with "..." where something is missing.
std::string cut(std::string_view text, std::size_t columns) {
  std::size_t count = 0;
  std::size_t keep = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!starts_code_point(text[i])) continue;
    if (count == columns - 3) keep = i;
    if (++count > columns) return std::string(text.substr(0, keep)) + "...";
  }
  return std::string(text);
}

std::string mebibytes(std::int64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20));
}

double ratio(std::int64_t a, std::int64_t b) {
  return b == 0 ? 1.0 : static_cast<double>(a) / static_cast<double>(b);
}

double capture_ms(const Report& report) {
  return report.trace_ms + report.passes_ms + report.build_ms;
}

std::string milliseconds(const Timing& timing) {
  return fmt::format("{:8.3f} ms   [{:.3f}, {:.3f}]", timing.median / 1e3, timing.low / 1e3,
                     timing.high / 1e3);
}

// "1x8", "1x32", ...: batch and tokens.
std::vector<std::string> shapes_of(const Results& results) {
  std::vector<std::string> shapes;
  for (const auto& [rows, tokens] : results.compared_shapes) {
    shapes.push_back(fmt::format("{}x{}", rows, tokens));
  }
  return shapes;
}

nlohmann::ordered_json json_of(const Timing& timing) {
  return {{"p10", timing.low}, {"median", timing.median}, {"p90", timing.high}};
}

}  // namespace

std::string pairs_text(const Results& results, const std::vector<std::string>& sentences) {
  std::string s = fmt::format("Most similar of {} sentences\n", results.sentences);
  for (const SimilarPair& pair : results.pairs) {
    s += fmt::format("  {:.3f}  {}\n         {}\n", pair.cosine,
                     cut(sentences[pair.first], kColumns - 9),
                     cut(sentences[pair.second], kColumns - 9));
  }
  if (results.shortened > 0) {
    s += fmt::format("  {} cut at the model's longest input\n",
                     results.shortened == 1 ? "1 sentence was"
                                            : fmt::format("{} sentences were", results.shortened));
  }
  return s;
}

std::string capture_text(const Report& report) {
  std::string s = fmt::format("{:<26}{:>10}{:>13}{:>10}\n",
                              fmt::format("Capture for 1x{} tokens", kReferenceLength), "nodes",
                              "changes", "ms");
  const auto row = [&](std::string_view name, const std::string& nodes, const std::string& changes,
                       double ms) {
    s += fmt::format("  {:<24}{:>10}{:>13}{:>10.2f}\n", name, nodes, changes, ms);
  };
  row("trace", fmt::to_string(report.nodes_traced), "", report.trace_ms);
  for (const PassSummary& pass : report.passes) {
    row(pass.name, fmt::format("{} -> {}", pass.nodes_before, pass.nodes_after),
        fmt::to_string(pass.changes), pass.milliseconds);
  }
  row("lower, plan, build", fmt::format("{} launches", report.launches), "", report.build_ms);
  row("total", "", "", capture_ms(report));
  s += fmt::format("  arena {} ({:.3f} x the lower bound of {}), weights {}\n",
                   mebibytes(report.arena_bytes),
                   ratio(report.arena_bytes, report.arena_lower_bound),
                   mebibytes(report.arena_lower_bound), mebibytes(report.weight_bytes));
  s += fmt::format("  {} of the launches allocate inside LibTorch's kernel\n",
                   report.allocating_launches.size());
  return s;
}

std::string comparison_text(const Results& results) {
  const auto verdict = [](double difference) {
    return difference <= kTolerance ? "same" : "DIFFERENT";
  };
  return fmt::format(
      "Answers                              largest difference\n"
      "  replay, LibTorch eager              {:10.1e}  {}  ({})\n"
      "  replay, transformed_code.py         {:10.1e}  {}\n",
      results.max_abs_diff, verdict(results.max_abs_diff), fmt::join(shapes_of(results), " "),
      results.python_dump_max_abs_diff, verdict(results.python_dump_max_abs_diff));
}

std::string speed_text(const Results& results) {
  const Comparison& speed = results.speed;
  return fmt::format(
      "Time for 1x{} tokens        median      [p10, p90] of {} rounds x {} calls\n"
      "  LibTorch eager      {}\n"
      "  replay on {:<9} {}   {:.2f} x eager\n",
      kReferenceLength, speed.rounds, speed.calls, milliseconds(speed.a), results.report.backend,
      milliseconds(speed.b), speed.b.median / speed.a.median);
}

std::string json_text(const Results& results, const std::vector<std::string>& sentences) {
  const Report& report = results.report;
  nlohmann::ordered_json json{{"model", kModelName},
                              {"backend", report.backend},
                              {"device", results.device},
                              {"nodes_traced", report.nodes_traced},
                              {"nodes_final", report.nodes_final},
                              {"launches", report.launches},
                              {"arena_bytes", report.arena_bytes},
                              {"arena_lower_bound", report.arena_lower_bound},
                              {"weight_bytes", report.weight_bytes},
                              {"capture_ms", capture_ms(report)},
                              {"trace_ms", report.trace_ms},
                              {"passes_ms", report.passes_ms},
                              {"build_ms", report.build_ms},
                              {"max_abs_diff", results.max_abs_diff},
                              {"python_dump_max_abs_diff", results.python_dump_max_abs_diff},
                              {"eager_us", results.speed.a.median},
                              {"replay_us", results.speed.b.median},
                              {"eager_spread_us", json_of(results.speed.a)},
                              {"replay_spread_us", json_of(results.speed.b)},
                              {"rounds", results.speed.rounds},
                              {"calls_per_round", results.speed.calls},
                              {"shapes", shapes_of(results)},
                              {"sentences", results.sentences},
                              {"traces", results.counters.traces},
                              {"replays", results.counters.replays},
                              {"dump", results.dump.string()}};
  auto passes = nlohmann::ordered_json::array();
  for (const PassSummary& pass : report.passes) {
    passes.push_back({{"name", pass.name},
                      {"changes", pass.changes},
                      {"nodes_before", pass.nodes_before},
                      {"nodes_after", pass.nodes_after},
                      {"ms", pass.milliseconds}});
  }
  json["passes"] = passes;
  json["allocating_launches"] = report.allocating_launches;
  auto pairs = nlohmann::ordered_json::array();
  for (const SimilarPair& pair : results.pairs) {
    pairs.push_back({{"cosine", pair.cosine},
                     {"first", sentences[pair.first]},
                     {"second", sentences[pair.second]}});
  }
  json["pairs"] = pairs;
  json["versions"] = {{"monograph", MONOGRAPH_VERSION_STRING}, {"torch", TORCH_VERSION}};
  json["threads"] = at::get_num_threads();
  return json.dump(2) + "\n";
}

}  // namespace monograph::bench
