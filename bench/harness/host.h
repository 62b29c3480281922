// The machine that a result was made on.
#pragma once

#include <string>

#include "bench/harness/result.h"

namespace monograph::bench {

/// Versions, host, date and clocks, and nothing else.
BenchResult blank_result();

/// Clocks of the processor's cores and the load: "2 cores at 2900 to 2900 MHz, load 1.52".
std::string clocks_text();

/// Bytes that this machine can still give away; 0 if it doesn't say.
double available_memory();

/// bench/peers/peer.py as seen from here or from the source tree that this was built from.
std::string find_peer_script();

}  // namespace monograph::bench
