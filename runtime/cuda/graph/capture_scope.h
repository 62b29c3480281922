// Capture of one library call as a child graph. The only place where a stream is ever captured.
#pragma once

#include "runtime/cuda/graph/work.h"

namespace monograph::cuda {

/// What a captured library call consists of.
struct CapturedCall {
  Graph graph;
  std::size_t kernel_nodes = 0;
  std::size_t other_nodes = 0;
};

/// Runs `call.enqueue(stream)` under capture and returns the nodes it made.
///
/// Warms up first (`warm_up_runs` on `stream`, then a stream synchronisation), takes the
/// process-wide capture lock, captures in thread-local mode, ends the capture in any case and hands
/// the stream back usable. Throws Error(kDeviceCaptureFailed) naming `node` and what was wrong: a
/// refusal of the driver (synchronisation, allocation or free inside, unjoined work on another
/// stream), nothing captured (a CPU tensor or another stream), memory nodes, host nodes; whatever
/// `enqueue` throws passes through after clean-up.
CapturedCall capture_call(LibraryCall& call, CUstream stream, const ContextRef& context,
                          const std::string& node);

}  // namespace monograph::cuda
