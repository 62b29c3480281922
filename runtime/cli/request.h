// What a command line of `monograph` says about a model.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace monograph::cli {

using IntRange = std::pair<std::int64_t, std::int64_t>;  ///< [low, high)

struct Request {
  std::string model;
  std::string device = "auto";  ///< host, cuda, virtual or auto
  bool trust = false;           ///< TorchScript may be loaded
  /// Weights of a built-in model stay unwritten memory, and constants aren't computed: enough to
  /// say what a program looks like, not to run it.
  bool structure_only = false;

  std::vector<std::string> inputs;  ///< FILE.safetensors or NAME=FILE.npy
  std::uint64_t seed = 0;
  std::map<std::string, IntRange> int_ranges;
  std::map<std::string, std::vector<std::int64_t>> shapes;
  std::vector<std::string> state;          ///< names or globs of tensors that forward may write
  std::string passes;                      ///< "", "default", "fused", "none" or names with commas
  std::string graph_mode = "full";         ///< "full", or "stream": launch by launch
  std::string dump;                        ///< folder for dumps
  std::vector<std::string> plugins;        ///< shared libraries to load first
  std::vector<std::string> op_namespaces;  ///< that an archive may call, beside aten

  std::string dtype = "f32";  ///< of built-in models: f32, f16 or bf16
  std::int64_t batch = 1;
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
  kOk = 0,       ///< done; what was compared agrees
  kFailed = 1,   ///< an error, or results that differ
  kUsage = 2,    ///< the command line can't be understood, or names an option that isn't there
  kRefused = 3,  ///< the model can't be captured safely
  kUnsupported =
      4,  ///< an operator, device or built-in model that isn't there, or no memory for it
};

}  // namespace monograph::cli
