// Ranges for profilers from outside, such as Nsight Systems, in the NVTX interface.
#pragma once

#include <string_view>

namespace monograph::cuda {

/// True if a profiler has asked for ranges: it names its library in NVTX_INJECTION64_PATH.
bool ranges_wanted() noexcept;

/// Opens a range on this thread; nodes that are added to a graph meanwhile carry its name in the
/// profiler. Does nothing in a build without NVTX's headers.
void open_range(std::string_view name) noexcept;
void close_range() noexcept;

}  // namespace monograph::cuda
