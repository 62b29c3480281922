// From planned launches to device work: addresses, kernels, staging copies.
#pragma once

#include <string>
#include <vector>

#include "runtime/cuda/backend/provider.h"
#include "runtime/cuda/backend/session.h"
#include "runtime/cuda/graph/plan_graph.h"
#include "runtime/exec/backend.h"

namespace monograph::cuda {

/// Where one input or output of the caller is on the device.
struct Port {
  bool direct = false;     ///< nodes take the caller's address; else `fixed` is its memory here
  CUdeviceptr fixed = 0;   ///< first byte of the tensor's data, for ports that aren't direct
  std::int64_t bytes = 0;  ///< from the first to the last element
  std::int64_t begin = 0;  ///< byte offset of the first element in its IR storage
};

/// The storage of a weight on the device.
struct Weight {
  std::string name;          ///< get_attr target
  bool uploaded = false;     ///< the memory is ours, a copy of a host tensor
  std::int64_t shift = 0;    ///< bytes from the storage's first byte to the program's first byte
  std::string library_node;  ///< a library call that holds the address; empty: none
};

/// Memory behind a plan on the device.
struct DeviceMemory {
  CUdeviceptr arena = 0;
  std::vector<Weight> weights;                ///< sorted by name; by slot of Address::weight
  std::vector<CUdeviceptr> weight_addresses;  ///< of the program's first bytes, by the same slot
  std::vector<Port> inputs, outputs;
  std::vector<DeviceBuffer> owned;  ///< uploaded weights, staging, kernel state
};

/// Kernel figures of one launch, for reports.
struct LaunchInfo {
  std::string node;
  std::string implementation;
  std::string way;  ///< of a library and its version; else empty
  kernels::Resources resources;
  double bytes = 0;
  double predicted_us = 0;
  std::ptrdiff_t instance = -1;  ///< index into Bound::instances; -1 for no kernel of ours
};

struct Bound {
  std::vector<Work> works;         ///< staging copies first, then launches, then copies out
  std::vector<plan::Edge> edges;   ///< over works, sorted by (to, from)
  std::vector<Library> libraries;  ///< keep the kernels of `works`
  std::vector<LaunchInfo> launches;
  std::vector<kernels::Instance> instances;  ///< what was compiled
};

/// How the CUDA back end implements `node`: by a kernel of ours, a library's, or LibTorch's.
lower::Choice choose(const ir::Node& node, const DeviceSession& session);

/// Decides which ports nodes can take directly (device tensors only): those that no library call
/// touches and at most `kMaxPatchedNodes` nodes do. Allocates memory for the others.
inline constexpr std::size_t kMaxPatchedNodes = 4;
void plan_ports(const exec::Planned& planned, bool host_tensors, const DeviceSession& session,
                DeviceMemory& memory);

/// Copies the integers that the trace ran on to where the inputs are; `stream` has to be waited
/// for.
void place_examples(const exec::Planned& planned, const DeviceMemory& memory, const Ports& ports,
                    const Driver& driver, CUstream stream);

/// Compiles kernels and turns every launch into work over `memory`. Notes in it which weights
/// library calls hold. Fills are enqueued on `stream`.
Bound bind_plan(const exec::Planned& planned, const DeviceSession& session, DeviceMemory& memory,
                const AtenProvider* provider, CUstream stream);

}  // namespace monograph::cuda
