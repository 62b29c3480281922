// The command `monograph`: runs, inspects and verifies models.
#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/cli/request.h"

namespace {

using monograph::cli::Request;

template <class Number>
Number number(std::string_view text, const std::string& option) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw CLI::ValidationError(option, "'" + std::string(text) + "' is no whole number");
  }
  return value;
}

std::pair<std::string, std::string> split(const std::string& text, char at,
                                          const std::string& option, const char* form) {
  const std::size_t where = text.find(at);
  if (where == std::string::npos || where == 0) {
    throw CLI::ValidationError(option, "'" + text + "': expected " + form);
  }
  return {text.substr(0, where), text.substr(where + 1)};
}

void parse_range(const std::string& text, Request& request) {
  const char* form = "NAME=LOW:HIGH";
  const auto [name, range] = split(text, '=', "--int-range", form);
  const auto [low, high] = split(range, ':', "--int-range", form);
  const std::pair bounds{number<std::int64_t>(low, "--int-range"),
                         number<std::int64_t>(high, "--int-range")};
  if (bounds.first >= bounds.second) {
    throw CLI::ValidationError("--int-range", "'" + text + "': the range is empty");
  }
  request.int_ranges[name] = bounds;
}

void parse_shape(const std::string& text, Request& request) {
  const auto [name, sizes] = split(text, '=', "--shape", "NAME=SIZExSIZE...");
  std::vector<std::int64_t>& shape = request.shapes[name];
  for (std::size_t at = 0; at <= sizes.size();) {
    const std::size_t end = std::min(sizes.find('x', at), sizes.size());
    shape.push_back(number<std::int64_t>(std::string_view(sizes).substr(at, end - at), "--shape"));
    if (shape.back() < 0) throw CLI::ValidationError("--shape", "'" + text + "': negative size");
    at = end + 1;
  }
}

void add_options(CLI::App& command, Request& request, std::vector<std::string>& ranges,
                 std::vector<std::string>& shapes) {
  command
      .add_option("MODEL", request.model,
                  "a .pt2 archive, a package, a TorchScript file (with --trust-code), or the name "
                  "of a built-in model ('monograph models' lists them)")
      ->required();
  command.add_option("--device", request.device, "host, cuda, virtual or auto")
      ->check(CLI::IsMember({"host", "cuda", "virtual", "auto"}))
      ->capture_default_str();
  command.add_flag("--trust-code", request.trust,
                   "load TorchScript, which runs whatever its author wrote");
  command.add_option("--input", request.inputs,
                     "FILE.safetensors with tensors in_0, in_1, ... or named as inputs are, or "
                     "NAME=FILE.npy; what isn't given is drawn at random");
  command.add_option("--seed", request.seed, "of random inputs")->capture_default_str();
  command.add_option("--int-range", ranges,
                     "NAME=LOW:HIGH for random integers, HIGH excluded (default 0:2)");
  command.add_option("--shape", shapes, "NAME=SIZExSIZE... for random inputs of symbolic size");
  command.add_option("--batch", request.batch, "of a built-in model")->check(CLI::PositiveNumber);
  command.add_option("--length", request.length, "tokens or cache positions of a built-in model")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--layers", request.layers, "cuts a built-in model to so many layers")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--save", request.save, "write the program as a package");
  command.add_option("--json", request.json, "write the outcome as JSON");
}

void add_results(CLI::App& command, Request& request) {
  command.add_option("--output", request.output, "write results as safetensors: out_0, out_1, ...");
  command.add_option("--compare", request.compare, "FILE.safetensors with expected out_0, ...");
  command.add_option("--rtol", request.rtol, "relative tolerance")->capture_default_str();
  command.add_option("--atol", request.atol, "absolute tolerance")->capture_default_str();
  command.add_option("--repeat", request.repeat, "replays; the median time is reported")
      ->check(CLI::PositiveNumber);
}

}  // namespace

int main(int argc, char** argv) {
  using Command = Request::Command;
  Request request;
  std::vector<std::string> ranges;
  std::vector<std::string> shapes;
  CLI::App app{
      "Runs, inspects and verifies models.\n\nExit codes: 0 ok, 1 failed or different, 2 usage, "
      "3 refused, 4 unsupported."};
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "replay once and show the results");
  CLI::App* inspect = app.add_subcommand("inspect", "say what is in a model and how it would run");
  CLI::App* verify = app.add_subcommand(
      "verify", "replay on several inputs and compare with LibTorch, operator by operator");
  CLI::App* models = app.add_subcommand("models", "list the built-in models");
  for (CLI::App* command : {run, inspect, verify}) add_options(*command, request, ranges, shapes);
  for (CLI::App* command : {run, verify}) add_results(*command, request);
  try {
    app.parse(argc, argv);
    for (const std::string& range : ranges) parse_range(range, request);
    for (const std::string& shape : shapes) parse_shape(shape, request);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? monograph::cli::kOk : monograph::cli::kUsage;
  }
  if (models->parsed()) {
    monograph::cli::list_models();
    return monograph::cli::kOk;
  }
  request.command = inspect->parsed()  ? Command::kInspect
                    : verify->parsed() ? Command::kVerify
                                       : Command::kRun;
  return monograph::cli::execute(request);
}
