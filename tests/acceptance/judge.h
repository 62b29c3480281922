// One case of the acceptance run.
#pragma once

#include <c10/core/Device.h>
#include <monograph/options.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace monograph::acceptance {

struct Verdict {
  std::string status;  ///< "pass", "refused" or "fail"
  std::string code;    ///< of a refusal or error
  std::string reason;
  double worst = 0;  ///< largest ratio of our root mean square error to what is allowed
  std::size_t launches = 0;
};

/// Imports, builds and replays the case `entry` of the manifest in `folder` on `device`. Results
/// must be those of eager PyTorch on the host, bit for bit or within rounding (1e-6 relative to the
/// largest element, 1e-3 for halves, times the case's "units"), or no further from the float64
/// results than 2 times eager's own root mean square error (3 times for halves). NaN and infinities
/// must stand where eager has them. The first inputs, replayed again after others, must give the
/// same bits as before. Never throws.
Verdict judge(const std::string& folder, const nlohmann::json& entry, const at::Device& device,
              const Options& options = {});

}  // namespace monograph::acceptance
