#include "runtime/cuda/backend/graph_key.h"

#include "capture/ir/text.h"
#include "kernels/compile/digest.h"

namespace monograph::cuda {

std::string graph_key(const exec::Planned& planned, const DeviceSession& session,
                      const AtenProvider* provider, const std::vector<LaunchInfo>& launches,
                      const std::vector<kernels::Instance>& instances) {
  const std::string& arch = session.target().arch;
  const kernels::Toolchain& toolchain = kernels::find_toolchain(arch);
  kernels::Digest digest;
  digest.add(provider != nullptr ? provider->name() : "").add(ir::text(*planned.graph));
  for (const LaunchInfo& l : launches) digest.add(l.implementation).add(l.way);
  for (const kernels::Instance& i : instances) digest.add(kernels::cache_key(i, arch, toolchain));
  return digest.hex();
}

}  // namespace monograph::cuda
