// From launches to a plan: order, edges, arena offsets, I/O slots. No torch, no CUDA, no IR.
//
// A plan is pure arithmetic over buffers (blocks of memory) and launches (things that run and read
// or write whole buffers). Views have been resolved by lowering: they cost nothing here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace monograph::plan {

using BufferId = std::int32_t;
using LaunchId = std::int32_t;

/// Every arena offset and size is a multiple of this many bytes.
inline constexpr std::int64_t kAlignment = 256;

enum class BufferKind : std::uint8_t {
  kInput,         ///< memory of the caller's i-th input; `slot` = i
  kOutput,        ///< memory of the caller's i-th output; `slot` = i; written by some launch
  kWeight,        ///< parameter, buffer or constant held by the program; `name` set
  kState,         ///< declared mutable state; `name` set; may be written
  kIntermediate,  ///< placed in the arena
};
std::string_view buffer_kind_name(BufferKind kind) noexcept;

struct Buffer {
  BufferId id = -1;
  BufferKind kind = BufferKind::kIntermediate;
  std::int64_t bytes = 0;
  std::int32_t slot = -1;  ///< index among inputs or outputs
  std::string name;        ///< for messages and text
  bool operator==(const Buffer&) const = default;
};

struct Launch {
  LaunchId id = -1;
  std::string name;                  ///< node name, for messages and text
  std::vector<BufferId> reads;       ///< distinct, ascending
  std::vector<BufferId> writes;      ///< distinct, ascending; may overlap `reads` (in-place)
  std::int64_t workspace_bytes = 0;  ///< scratch in the arena, alive during this launch only
  bool operator==(const Launch&) const = default;
};

/// What is to be planned. Launches are in a valid execution order; ids equal positions.
struct Problem {
  std::vector<Buffer> buffers;
  std::vector<Launch> launches;
  bool operator==(const Problem&) const = default;
};

/// How launches may overlap in time; decides which buffers may share bytes.
enum class Concurrency : std::uint8_t {
  kSequential,  ///< one after the other in order: a buffer dies with its last use in order
  kGraph,       ///< whatever the edges allow: bytes are shared only along paths of edges
};

/// `to` must not start before `from` has finished. `from` < `to`.
struct Edge {
  LaunchId from = -1;
  LaunchId to = -1;
  bool operator==(const Edge&) const = default;
  auto operator<=>(const Edge&) const = default;  // NOLINT(modernize-use-nullptr): misfires
};

/// Arena bytes [offset, offset + bytes) of an intermediate, or of a launch's workspace.
struct Placement {
  BufferId buffer = -1;  ///< -1 for a workspace
  LaunchId launch = -1;  ///< set for a workspace
  std::int64_t offset = 0;
  std::int64_t bytes = 0;  ///< rounded up to kAlignment
  LaunchId first = -1;     ///< first launch that touches it
  LaunchId last = -1;      ///< last launch that touches it
  bool operator==(const Placement&) const = default;
};

struct Plan {
  Problem problem;
  Concurrency concurrency = Concurrency::kSequential;
  std::vector<Edge> edges;            ///< transitively reduced, sorted by (to, from)
  std::vector<Placement> placements;  ///< sorted by (buffer, launch)
  std::int64_t arena_bytes = 0;
  /// Largest sum of unrounded live bytes over all moments of the sequential order; no packing of
  /// a sequential plan can be smaller. For kGraph: the same figure, reported for comparison.
  std::int64_t lower_bound_bytes = 0;
  std::int32_t input_count = 0;
  std::int32_t output_count = 0;

  /// Arena offset of an intermediate; Error(kInternal) if the buffer isn't in the arena.
  std::int64_t offset_of(BufferId buffer) const;
  std::int64_t workspace_offset_of(LaunchId launch) const;  ///< likewise
  bool operator==(const Plan&) const = default;
};

/// Plans `problem`. Edges come from reads and writes per buffer: read-after-write,
/// write-after-read, write-after-write. Packing: best-fit by decreasing size over intervals
/// (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", greedy by
/// size), then by breadth and by four other orders, then, for up to 2048 items, a bounded local
/// search; the smallest arena wins, ties to the first, and reaching the lower bound ends it.
/// Cost O(n log n) for practical graphs; deterministic. Empty buffers are placed at offset 0 and
/// intermediates that nothing touches nowhere. Throws Error(kInvalidGraph) for ids out of range,
/// input or output slots that aren't 0, 1, 2, ..., negative or overflowing sizes, reads of an
/// intermediate or output that nothing wrote before, outputs that nothing writes, or writes to
/// inputs or weights.
Plan make_plan(Problem problem, Concurrency concurrency = Concurrency::kSequential);

/// Independent check of a plan by brute force, for tests and debug builds: throws
/// Error(kInternal) naming two live buffers that overlap, a missing edge, or a wrong slot.
void check_plan(const Plan& plan);

/// Text form; `parse_problem(text(p)) == p`.
std::string text(const Problem& problem);
Problem parse_problem(std::string_view text);  ///< Error(kInvalidGraph) with line and column
std::string text(const Plan& plan);            ///< problem, edges, placements, sizes

}  // namespace monograph::plan
