// What --device means: a back end, and the libraries it is opened with.
#pragma once

#include <monograph/options.h>

#include <string>

namespace monograph::bench {

/// Where the job replays.
struct Device {
  std::string backend;  ///< "host" or "cuda"
  std::string driver;   ///< driver library for the back end; empty: its own choice
  bool emulated = false;

  /// Options of a module that runs there.
  Options options() const;
};

/// `name` is "host"; "cuda": a GPU; "virtual": the virtual GPU of the tests, whose libraries lie
/// beside libmonograph; or "auto": a GPU if one can be used, else the host. Call it before LibTorch
/// is first used: LibTorch looks for its CUDA half once. Error(kDeviceUnavailable) says what is
/// missing.
Device select_device(const std::string& name);

}  // namespace monograph::bench
