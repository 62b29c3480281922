// What the command line of `monograph` says.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace monograph::cli {

struct Request {
  enum class Command : std::uint8_t { kRun, kInspect, kVerify };
  Command command = Command::kRun;
  std::string model;
  std::string device = "host";  ///< host, cuda, virtual or auto
  bool trust = false;           ///< TorchScript may be loaded

  std::vector<std::string> inputs;  ///< FILE.safetensors or NAME=FILE.npy
  std::uint64_t seed = 0;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> int_ranges;  ///< [low, high)
  std::map<std::string, std::vector<std::int64_t>> shapes;
  std::int64_t batch = 1;  ///< of built-in models
  std::int64_t length = 0;
  std::int64_t layers = 0;

  std::string output;
  std::string compare;
  double rtol = 1e-4;
  double atol = 1e-5;
  std::string save;  ///< package to write
  std::string json;
  int repeat = 1;
};

/// Exit codes of the command.
enum Exit : int {
  kOk = 0,           ///< done; what was compared agrees
  kFailed = 1,       ///< an error, or results that differ
  kUsage = 2,        ///< the command line can't be understood
  kRefused = 3,      ///< the model can't be captured safely
  kUnsupported = 4,  ///< an operator, device or built-in model that isn't there
};

/// Carries out a request; prints to standard output, and errors to standard error. Returns an Exit.
int execute(const Request& request);

/// Prints the built-in models, and those that are planned but not there.
void list_models();

}  // namespace monograph::cli
