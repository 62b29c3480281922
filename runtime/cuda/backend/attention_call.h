// LibTorch's attention for a fusion of it with a copy of its result in another order.
#pragma once

#include <memory>
#include <string>

#include "capture/ir/graph.h"
#include "runtime/cuda/backend/provider.h"

namespace monograph::cuda {

/// How such launches are called among implementations.
inline constexpr const char* kLibraryAttention = "flash_attention";

/// The attention inside `fusion` as a graph of its own: placeholders with the types of the fusion's
/// arguments, and one call whose result has the strides of the memory that the fusion's result lies
/// in. Null if the fusion is anything else.
std::unique_ptr<ir::Graph> attention_alone(const ir::Node& fusion);

/// That call, bound by `provider`. `address` is asked for the fusion's arguments and its result.
std::shared_ptr<LibraryCall> bind_attention(const ir::Node& fusion, const AtenProvider& provider,
                                            const StorageAddress& address,
                                            const ContextRef& context,
                                            const std::shared_ptr<AtenShared>& shared);

}  // namespace monograph::cuda
