// What the time of a whole graph depends on beside its nodes and edges and the device.
#pragma once

#include <string>
#include <vector>

#include "runtime/cuda/backend/binder.h"

namespace monograph::cuda {

/// Digest of the program, of each kernel's source and compiler, and of libraries' versions and
/// ways.
std::string graph_key(const exec::Planned& planned, const DeviceSession& session,
                      const AtenProvider* provider, const std::vector<LaunchInfo>& launches,
                      const std::vector<kernels::Instance>& instances);

}  // namespace monograph::cuda
