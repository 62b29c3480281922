#include "bench/harness/result.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace monograph::bench {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;

json summary_json(const std::vector<double>& series) {
  if (series.empty()) return nullptr;
  const Summary s = summarise(series);
  return {{"median", s.median}, {"p10", s.p10}, {"p90", s.p90}, {"p99", s.p99}, {"rounds", series}};
}

json contender_json(const ContenderResult& c) {
  json j = json::object();
  j["name"] = c.name;
  j["status"] = c.status;
  j["reason"] = c.reason;
  j["prepare_ms"] = c.prepare_ms;
  if (c.status == "missing") return j;
  j["max_abs_diff"] = c.check.max_abs_diff;
  j["rmse"] = c.check.rmse;
  j["rmse_allowed"] = c.check.allowed;
  j["wall_us"] = summary_json(c.wall_us);
  j["device_us"] = summary_json(c.device_us);
  if (c.host_us) j["host_us"] = *c.host_us;
  if (!c.figures.empty()) j["figures"] = c.figures;
  return j;
}

std::vector<double> rounds_of(const json& j, const char* key) {
  if (!j.contains(key) || j.at(key).is_null()) return {};
  return j.at(key).at("rounds").get<std::vector<double>>();
}

ContenderResult contender_of(const json& j) {
  ContenderResult c;
  c.name = j.at("name");
  c.status = j.at("status");
  c.reason = j.at("reason");
  c.prepare_ms = j.at("prepare_ms");
  c.check.passed = c.status == "ok";
  c.check.max_abs_diff = j.value("max_abs_diff", 0.0);
  c.check.rmse = j.value("rmse", 0.0);
  c.check.allowed = j.value("rmse_allowed", 0.0);
  c.wall_us = rounds_of(j, "wall_us");
  c.device_us = rounds_of(j, "device_us");
  if (j.contains("host_us")) c.host_us = j.at("host_us").get<double>();
  c.figures = j.value("figures", std::map<std::string, double>());
  return c;
}

ModelResult model_of(const json& j) {
  ModelResult m;
  m.model = j.at("model");
  m.dtype = j.at("dtype");
  m.batch = j.at("batch");
  m.length = j.at("length");
  m.layers = j.at("layers");
  m.unit = j.at("unit");
  m.units_per_call = j.at("units_per_call");
  m.read_bytes = j.at("read_bytes");
  m.flop = j.at("flop");
  m.reference = j.at("reference");
  for (const json& c : j.at("contenders")) m.contenders.push_back(contender_of(c));
  return m;
}

}  // namespace

json to_json(const BenchResult& result) {
  json models = json::array();
  for (const ModelResult& m : result.models) {
    json contenders = json::array();
    for (const ContenderResult& c : m.contenders) contenders.push_back(contender_json(c));
    models.push_back({{"model", m.model},
                      {"dtype", m.dtype},
                      {"batch", m.batch},
                      {"length", m.length},
                      {"layers", m.layers},
                      {"unit", m.unit},
                      {"units_per_call", m.units_per_call},
                      {"read_bytes", m.read_bytes},
                      {"flop", m.flop},
                      {"reference", m.reference},
                      {"contenders", contenders}});
  }
  return {{"format", kFormat},
          {"command", result.command},
          {"date", result.date},
          {"host", result.host},
          {"threads", result.threads},
          {"device", result.device},
          {"clocks", result.clocks},
          {"monograph", result.monograph_version},
          {"torch", result.torch_version},
          {"bytes_per_us", result.bytes_per_us},
          {"models", models}};
}

BenchResult read_result(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw Error(Code::kInvalidFile, fmt::format("{} can't be read", file.string()));
  try {
    const json j = json::parse(in);
    if (j.at("format") != kFormat) {
      throw Error(Code::kInvalidFile, fmt::format("{} has format {}, this program knows {}",
                                                  file.string(), j.at("format").dump(), kFormat));
    }
    BenchResult result;
    result.command = j.at("command");
    result.date = j.at("date");
    result.host = j.at("host");
    result.threads = j.value("threads", 0);
    result.device = j.at("device");
    result.clocks = j.value("clocks", "");
    result.monograph_version = j.at("monograph");
    result.torch_version = j.at("torch");
    result.bytes_per_us = j.at("bytes_per_us");
    for (const json& m : j.at("models")) result.models.push_back(model_of(m));
    return result;
  } catch (const json::exception& error) {
    throw Error(Code::kInvalidFile,
                fmt::format("{} is no result of a benchmark: {}", file.string(), error.what()));
  }
}

void write_text(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  out.close();
  if (!out) throw Error(Code::kInvalidFile, fmt::format("{} can't be written", file.string()));
}

}  // namespace monograph::bench
