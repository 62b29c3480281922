// Kernel definitions: what each matches, how it is specialised, launched and costed.
//
// A definition is one file under kernels/ops (with its source beside it) that registers itself at
// static initialisation. Matching turns a call on given shapes into an Instance: source, constants,
// geometry, parameters, scratch and roofline. Nothing here touches a device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/types.h"

namespace monograph::kernels {

namespace fusion {
class Builder;
}

struct Geometry {
  std::array<std::uint32_t, 3> grid{1, 1, 1};
  std::array<std::uint32_t, 3> block{1, 1, 1};
  std::uint32_t dynamic_shared_bytes = 0;
  /// The kernel calls pdl_wait() before it touches anything an earlier launch writes, and
  /// pdl_launch() as soon as dependents may start: programmatic edges into it are legal.
  bool programmatic = false;
};

/// One kernel parameter, in order.
struct Param {
  enum class Kind : std::uint8_t {
    kInput,      ///< address of Call::inputs[index]
    kOutput,     ///< address of Call::outputs[index]
    kWorkspace,  ///< scratch in the arena, contents undefined at start
    kState,      ///< scratch of this executable alone: zero before the first run; every run must
                 ///< leave it zero
    kScalar,     ///< `bytes` by value
  };
  Kind kind = Kind::kScalar;
  std::int32_t index = 0;
  std::int64_t byte_offset = 0;  ///< added to the address
  std::vector<std::byte> bytes;

  static Param input(std::int32_t index) { return {Kind::kInput, index, 0, {}}; }
  static Param output(std::int32_t index) { return {Kind::kOutput, index, 0, {}}; }
  static Param workspace(std::int64_t offset = 0) { return {Kind::kWorkspace, 0, offset, {}}; }
  static Param state(std::int64_t offset = 0) { return {Kind::kState, 0, offset, {}}; }
  template <class T>
  static Param scalar(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    Param p;
    p.bytes.resize(sizeof value);
    std::memcpy(p.bytes.data(), &value, sizeof value);
    return p;
  }
};

/// The least an instance must move and compute; predicted time follows from the target.
struct Roofline {
  double bytes = 0;
  double flops = 0;
  /// bytes / read rate or flops / rate, whichever is larger, plus nothing: boundaries are the
  /// plan's.
  double predicted_us(const Target& target) const noexcept;
};

/// A kernel specialised for one call: everything a back end needs to compile and launch it.
struct Instance {
  std::string kernel;  ///< name of the definition
  std::string source;  ///< name of an embedded source, or
  std::string text;    ///< generated source text (then `source` names it for messages)
  std::string entry;   ///< extern "C" function
  /// Macro definitions, in order; part of the cache key.
  std::vector<std::pair<std::string, std::string>> constants;
  Geometry geometry;
  std::vector<Param> params;
  std::int64_t workspace_bytes = 0;
  std::int64_t state_bytes = 0;
  Roofline roofline;
  /// Most registers a thread may use; the compile check fails above it. 0: no limit.
  int register_budget = 0;
};

/// Outcome of matching: an instance, or why this definition doesn't apply.
struct Match {
  std::optional<Instance> instance;
  std::string reason;
  static Match no(std::string why) { return {std::nullopt, std::move(why)}; }
};

struct Definition {
  std::string name;              ///< unique, e.g. "gemv"
  std::string summary;           ///< one sentence: what it computes
  std::string algorithm;         ///< where the method comes from
  std::vector<std::string> ops;  ///< operators it may implement
  int priority = 0;              ///< higher is asked first
  std::function<Match(const Call&, const Target&)> match;
  /// Empty if the operator can't be part of a generated fusion. Otherwise adds what `step` computes
  /// to a program (kernels/fusion/program.h) and returns the node of its result, whose dimensions
  /// follow the axes in `mapping`; -1 with the builder's reason set if it can't.
  std::function<int(fusion::Builder&, const Step& step,
                    const std::vector<std::vector<int>>& mapping)>
      expand = nullptr;
  /// Calls that exercise every specialisation the definition can produce, for compile checks and
  /// emulator tests.
  std::function<std::vector<Call>()> samples = nullptr;
};

/// Registers at static initialisation; a duplicate name terminates the process with a message.
struct Registration {
  explicit Registration(Definition definition);
};

/// All definitions, sorted by name.
const std::vector<Definition>& definitions();
const Definition* find_definition(std::string_view name) noexcept;

/// The definition of highest priority that matches, or every reason why none does
/// ("gemv: dtype f64; ...").
Match select(const Call& call, const Target& target);

/// Source text embedded in the library by file name ("gemv.cu", "mg/vector.cuh"), or null.
const std::string* embedded_source(std::string_view name) noexcept;
std::vector<std::string> embedded_names();  ///< sorted

}  // namespace monograph::kernels
