#include "runtime/cli/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <string_view>
#include <vector>

namespace monograph::cli {
namespace {

std::int64_t number(std::string_view text, const std::string& option) {
  std::int64_t value{};
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
  const std::pair bounds{number(low, "--int-range"), number(high, "--int-range")};
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
    shape.push_back(number(std::string_view(sizes).substr(at, end - at), "--shape"));
    if (shape.back() < 0) throw CLI::ValidationError("--shape", "'" + text + "': negative size");
    at = end + 1;
  }
}

using Parse = void (*)(const std::string&, Request&);

void add_each(CLI::App& app, Request& request, const char* option, Parse parse,
              const char* description) {
  app.add_option_function<std::vector<std::string>>(
         option,
         [&request, parse](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) parse(text, request);
         },
         description)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void add_input_options(CLI::App& app, Request& request) {
  app.add_option("--input", request.inputs,
                 "FILE.safetensors with tensors in_0, in_1, ... or named as inputs are, or "
                 "NAME=FILE.npy; what isn't given is drawn at random")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--seed", request.seed, "of random inputs and weights")->capture_default_str();
  add_each(app, request, "--int-range", parse_range,
           "NAME=LOW:HIGH for random integers, HIGH excluded (default 0:2, or the model's own)");
  add_each(app, request, "--shape", parse_shape, "NAME=SIZExSIZE... of an input of symbolic size");
  app.add_option(
         "--state", request.state,
         "name or glob of tensors that forward may write (built-in models say so themselves)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void add_built_in_options(CLI::App& app, Request& request) {
  const char* group = "Built-in models";
  app.add_option("--dtype", request.dtype, "f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--batch", request.batch, "rows, sequences or pictures of a call")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(group);
  app.add_option("--length", request.length, "tokens, or positions of the cache")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--layers", request.layers, "cuts the model to so many layers")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
}

}  // namespace

void add_model_options(CLI::App& app, Request& request) {
  app.add_option(
         "MODEL", request.model,
         "a .pt2 archive, a package, a TorchScript file (with --trust-code), a graph's text "
         "or the folder of a reproducer, or a built-in model ('monograph models')")
      ->required();
  app.add_option("--device", request.device, "host, cuda, virtual or auto")
      ->check(CLI::IsMember({"host", "cuda", "virtual", "auto"}))
      ->capture_default_str();
  app.add_option("--passes", request.passes,
                 "default, fused, none, or names with commas (default: what the device wants)");
  app.add_option("--graph", request.graph_mode, "full: one CUDA graph; stream: launch by launch")
      ->check(CLI::IsMember({"full", "stream"}))
      ->capture_default_str();
  app.add_flag("--trust-code", request.trust,
               "load TorchScript, which runs whatever its author wrote");
  app.add_option("--plugin", request.plugins,
                 "shared library to load first: it may register operators, passes and back ends")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--op-namespace", request.op_namespaces,
                 "namespace beside aten whose operators an archive may call")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_input_options(app, request);
  add_built_in_options(app, request);
  app.add_option("--save", request.save, "write the program as a package");
  app.add_option("--dump", request.dump, "folder for a dump with its page")
      ->envname("MONOGRAPH_DUMP");
  app.add_option("--json", request.json, "write the outcome as JSON; '-' for standard output");
}

void add_result_options(CLI::App& app, Request& request) {
  app.add_option("--output", request.output, "write results as safetensors: out_0, out_1, ...");
  app.add_option("--compare", request.compare, "FILE.safetensors with expected out_0, ...");
  app.add_option("--rtol", request.rtol,
                 "relative tolerance; 20 times that for f16, 160 times for bf16")
      ->capture_default_str();
  app.add_option("--atol", request.atol, "absolute tolerance, likewise")->capture_default_str();
  app.add_option("--repeat", request.repeat, "replays; the median time is reported")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

}  // namespace monograph::cli
