// Something that runs a model and can be timed: ours, or one of its peers.
#pragma once

#include <ATen/core/TensorBody.h>
#include <monograph/options.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/models/zoo/zoo.h"

namespace monograph::bench {

/// What a round of calls took, in microseconds per call.
struct Round {
  double wall = 0;               ///< until the device has finished
  std::optional<double> device;  ///< between events on the stream, where there is one
  double host = 0;               ///< until the last call returned, whatever the device does
};

/// Not thread-safe. Made ready by `prepare`, which says why if it can't be: a peer that isn't
/// installed is reported, never left out.
class Contender {
 public:
  virtual ~Contender() = default;
  virtual std::string name() const = 0;
  /// Begins what can be prepared beside other contenders, in a process of its own.
  virtual void start() {}
  /// Whether it runs in a process of its own, so that what it takes can't be told from outside.
  virtual bool is_process() const { return false; }
  /// Compiles and warms up. Returns why this contender can't take part, or nothing.
  virtual std::optional<std::string> prepare() = 0;
  /// What one call gives, on the CPU, for the check before any timing.
  virtual std::vector<at::Tensor> outputs() = 0;
  virtual Round run(int calls) = 0;
  /// What a contender knows of itself once it is prepared: bytes, counts, milliseconds by name.
  virtual std::map<std::string, double> figures() const { return {}; }
  double prepare_ms = 0;  ///< what `prepare` took
};

/// Times what happens on a device between two points of its stream.
class DeviceClock {
 public:
  virtual ~DeviceClock() = default;
  virtual void start() = 0;
  /// Waits for the device; microseconds since `start`, nothing without a device.
  virtual std::optional<double> stop() = 0;
};
/// For tensors of `device`: CUDA events, or a clock that does nothing.
std::unique_ptr<DeviceClock> make_clock(at::Device device);

/// The model under LibTorch's InferenceMode.
std::unique_ptr<Contender> make_eager(const ModelCase& model);
/// The model under InferenceMode, captured by hand into a CUDA graph by LibTorch's own class;
/// reported as missing without a GPU.
std::unique_ptr<Contender> make_graphed_eager(const ModelCase& model);
/// The model through CompiledModule, outputs into the same tensors on every call.
/// `slowdown` adds that share of each call's time as idle work, to test the harness itself.
std::unique_ptr<Contender> make_monograph(const ModelCase& model, const std::string& name,
                                          const Options& options, double slowdown = 0);

/// A peer in a Python process of its own: "compile", "reduce-overhead", "max-autotune", "aoti",
/// "onnxruntime".
struct PythonPeer {
  std::string mode;
  std::string model;
  std::string python;  ///< interpreter
  std::string script;  ///< bench/peers/peer.py
  std::string folder;  ///< weights.safetensors and inputs.safetensors, written by `write_case`
  ModelOptions options;
};
std::unique_ptr<Contender> make_python_peer(const PythonPeer& peer);
/// Writes weights and inputs of `model` where peers read them. Error(kInvalidFile) if it can't.
void write_case(const ModelCase& model, const std::string& folder);

/// Times `calls` of `call` with both clocks; the device is idle before and after.
template <class Call>
Round time_round(DeviceClock& clock, int calls, const Call& call) {
  clock.start();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) call();
  const std::chrono::duration<double, std::micro> host = std::chrono::steady_clock::now() - begin;
  const std::optional<double> device = clock.stop();
  const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - begin;
  Round round{wall.count() / calls, std::nullopt, host.count() / calls};
  if (device) round.device = *device / calls;
  return round;
}

/// What the library for CUDA devices (monograph_bench_cuda, opened at run time) provides.
struct CudaHarness {
  std::unique_ptr<DeviceClock> (*make_clock)();
  std::unique_ptr<Contender> (*make_graphed_eager)(const ModelCase& model);
  /// Name, memory and driver of the current device, as one line.
  std::string (*describe)();
  /// Of the current device's memory, by all processes.
  double (*bytes_in_use)();
};
/// Null, with the reason in `why`, where it can't be opened.
const CudaHarness* cuda_harness(std::string* why = nullptr);

}  // namespace monograph::bench
