// Registers the back end "host".
#include "runtime/exec/backend.h"

#include <memory>

#include "runtime/host/runner.h"

namespace monograph::host {
namespace {

const exec::BackendRegistration kHost({
    .name = "host",
    .choose = choose,
    .concurrency = plan::Concurrency::kSequential,
    .unavailable = {},
    .build = [](const exec::Planned& planned, const Options&) -> std::unique_ptr<exec::Runner> {
      return std::make_unique<HostRunner>(planned);
    },
});

}  // namespace
}  // namespace monograph::host
