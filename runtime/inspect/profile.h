// Where the time of a replay goes, launch by launch.
#pragma once

#include <monograph/executable.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace monograph::inspect {

/// What this machine's processor can do at best, measured: bytes read and floating-point operations
/// of an f32 matrix product, per microsecond. 0 where it wasn't measured.
struct Ceilings {
  double bytes_per_us = 0;
  double flops_per_us = 0;
};

/// Measures for about a tenth of a second, with LibTorch's kernels and threads.
Ceilings measure_ceilings();

struct ProfileSettings {
  int warm_up = 3;                  ///< replays before the first that counts
  int runs = 30;                    ///< replays that count
  bool ceilings = true;             ///< measure them (host back end only)
  std::optional<Ceilings> known{};  ///< take these instead
};

/// One launch over all runs. Times in microseconds.
struct NodeProfile {
  std::string node;
  std::string target;
  std::string implementation;  ///< "aten" for LibTorch's own kernel
  std::string module_path;
  std::string type;  ///< of the result, "f32[1,32,384]"
  double median_us = 0;
  double p10_us = 0;
  double p90_us = 0;
  double bytes = 0;     ///< moved at least, see ir::cost_of
  double flops = 0;     ///< of matrix products
  double floor_us = 0;  ///< what the ceilings allow at best; 0 if unknown
};

struct Profile {
  std::string backend;
  int runs = 0;
  double replay_us = 0;    ///< median of whole replays, without timers between launches
  double launches_us = 0;  ///< sum of the launches' medians
  Ceilings ceilings;
  std::vector<NodeProfile> nodes;  ///< by launch id
  std::vector<double> last_us;     ///< the launches of the last run
};

/// Replays `executable` on `inputs` and times each launch. Outputs are thrown away; declared state
/// moves on as with any replay. Nobody else may use the executable meanwhile.
/// Throws Error(kInvalidArgument) for inputs that don't match and Error(kInvalidOption) for a back
/// end that can't tell launches apart (cuda: use GraphMode::kNone).
Profile profile(Executable& executable, const std::vector<at::Tensor>& inputs,
                const ProfileSettings& settings = {});

/// A table for a terminal: the `rows` slowest launches with their share of the time, how far they
/// are from the ceilings, and sums by operator.
std::string profile_table(const Profile& profile, std::size_t rows = 20);

/// Timeline of the last run in Chrome's trace event format: launches in modules.
std::string profile_trace(const Profile& profile, const std::string& name);

/// Everything in the profile, as JSON.
std::string profile_json(const Profile& profile, const std::string& name);

}  // namespace monograph::inspect
