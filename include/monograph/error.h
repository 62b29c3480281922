// Faults and refusals: the two ways in which Monograph says no.
//
// A *fault* is thrown as `Error`: the call can't be carried out (bad argument, unreadable file,
// device failure). A *refusal* is a value, `Rejection`: the module can't be captured without
// being wrong later. `Program::trace` returns it; `CompiledModule` throws it as `RejectedError`.
// Codes are stable across releases; docs/errors.md has a section per code.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace monograph {

/// Stable identity of a fault or refusal. Values never change meaning; new ones are appended
/// within their family. `code_name` gives the spelling used in messages and docs/errors.md.
enum class Code : std::uint16_t {
  // Rejected*: the module can't be captured safely.
  kRejectedMutation = 100,        ///< forward writes a parameter, buffer, constant or input
  kRejectedRebinding = 101,       ///< a member tensor points elsewhere after forward
  kRejectedDataDependence = 102,  ///< control flow or sizes depend on tensor values
  kRejectedDynamicShape = 103,    ///< an output size depends on tensor values
  kRejectedDivergence = 104,      ///< two forwards on like inputs gave different graphs
  kRejectedRandom = 105,          ///< forward draws random numbers
  kRejectedUnsupportedOp = 106,   ///< an operator that can't be represented or replayed
  kRejectedForeignThread = 107,   ///< forward works on another thread or stream
  kRejectedAliasing = 108,        ///< inputs, outputs or weights overlap in memory
  kRejectedTraining = 109,        ///< module in training mode with dropout or batch-norm
  kRejectedGlobalState = 110,     ///< forward leaves a global or thread setting switched

  // Invalid*: arguments, options and files.
  kInvalidArgument = 200,  ///< count, rank, dtype, sizes, strides, device or gradient of an input
  kInvalidOption = 201,    ///< unknown or contradictory option
  kInvalidFile = 202,      ///< unreadable, truncated, hostile or inconsistent file
  kInvalidGraph = 203,     ///< graph text that doesn't parse or a graph that doesn't verify
  kInvalidState = 204,     ///< a call in the wrong order (moved-from object, nested trace)
  kVerification = 205,     ///< a replay's results differ from those of forward itself

  // Device*: the accelerator and its driver.
  kDeviceUnavailable = 300,    ///< no device, no driver, or the back end isn't built in
  kDeviceOutOfMemory = 301,    ///< allocation failed; says wanted, free and total bytes
  kDeviceDriverTooOld = 302,   ///< a driver entry point or feature is missing
  kDeviceCaptureFailed = 303,  ///< a library call could not be captured
  kDevicePoisoned = 304,       ///< an earlier sticky error; the process should restart
  kDeviceFault = 305,          ///< any other driver error, with the driver's own text

  // Internal
  kInternal = 900,  ///< a defect of Monograph itself; please report
};

/// Spelling of `code` without the leading k, e.g. "RejectedMutation".
std::string_view code_name(Code code) noexcept;

/// Inverse of `code_name`; throws Error(kInvalidArgument) for an unknown name.
Code code_from_name(std::string_view name);

/// The one exception type for faults.
/// `what()` reads "<CodeName>: <message>[ (node %x)][ [driver: ...]]".
class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message, std::string node = {}, std::string driver_text = {});

  Code code() const noexcept { return code_; }
  /// Name of the graph node concerned, empty if none.
  const std::string& node() const noexcept { return node_; }
  /// The driver's or library's own words, empty if none.
  const std::string& driver_text() const noexcept { return driver_text_; }
  /// The message without code, node and driver text.
  const std::string& message() const noexcept { return message_; }

 private:
  Code code_;
  std::string message_;
  std::string node_;
  std::string driver_text_;
};

/// Why a module was refused. A plain value; every field is text for a person except `code`.
struct Rejection {
  Code code = Code::kRejectedUnsupportedOp;
  std::string op;           ///< operator, e.g. "aten.add_.Tensor"; empty if none is to blame
  std::string node;         ///< node name in the traced graph, e.g. "add__1"
  std::string module_path;  ///< region of forward, e.g. "encoder.layer.0"
  std::string subject;  ///< parameter, buffer, input or member concerned, e.g. "bn.running_mean"
  std::string reason;   ///< what would go wrong on replay
  std::string remedy;   ///< what to do about it
  std::string excerpt;  ///< the transformed graph with the offending line marked by ">>>"

  /// One readable paragraph plus the excerpt.
  std::string to_string() const;
};

/// A refusal as an exception, for callers who asked for a result and can't have it.
class RejectedError : public Error {
 public:
  explicit RejectedError(Rejection rejection);
  const Rejection& rejection() const noexcept { return rejection_; }

 private:
  Rejection rejection_;
};

}  // namespace monograph
