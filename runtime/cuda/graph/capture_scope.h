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
/// Takes the process-wide capture lock, captures in thread-local mode, ends the capture in any case
/// and hands the stream back usable. The call has been warmed up, and `stream` is idle. Throws
/// Error(kDeviceCaptureFailed) naming `node` and what was wrong: a refusal of the driver
/// (synchronisation, allocation or free inside, unjoined work on another stream), nothing captured
/// (a CPU tensor or another stream), memory nodes, host nodes; whatever `enqueue` throws passes
/// through after clean-up.
CapturedCall capture_call(LibraryCall& call, CUstream stream, const ContextRef& context,
                          const std::string& node);

/// Waits for all work of the context, and for captures to end first: a wait for the whole context
/// breaks captures of other threads.
CUresult synchronize_between_captures(const Context& context) noexcept;

}  // namespace monograph::cuda
