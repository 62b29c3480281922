#include <monograph/error.h>

#include <array>
#include <utility>

namespace monograph {
namespace {

constexpr std::array<std::pair<Code, std::string_view>, 24> kNames{{
    {Code::kRejectedMutation, "RejectedMutation"},
    {Code::kRejectedRebinding, "RejectedRebinding"},
    {Code::kRejectedDataDependence, "RejectedDataDependence"},
    {Code::kRejectedDynamicShape, "RejectedDynamicShape"},
    {Code::kRejectedDivergence, "RejectedDivergence"},
    {Code::kRejectedRandom, "RejectedRandom"},
    {Code::kRejectedUnsupportedOp, "RejectedUnsupportedOp"},
    {Code::kRejectedForeignThread, "RejectedForeignThread"},
    {Code::kRejectedAliasing, "RejectedAliasing"},
    {Code::kRejectedTraining, "RejectedTraining"},
    {Code::kRejectedGlobalState, "RejectedGlobalState"},
    {Code::kInvalidArgument, "InvalidArgument"},
    {Code::kInvalidOption, "InvalidOption"},
    {Code::kInvalidFile, "InvalidFile"},
    {Code::kInvalidGraph, "InvalidGraph"},
    {Code::kInvalidState, "InvalidState"},
    {Code::kVerification, "Verification"},
    {Code::kDeviceUnavailable, "DeviceUnavailable"},
    {Code::kDeviceOutOfMemory, "DeviceOutOfMemory"},
    {Code::kDeviceDriverTooOld, "DeviceDriverTooOld"},
    {Code::kDeviceCaptureFailed, "DeviceCaptureFailed"},
    {Code::kDevicePoisoned, "DevicePoisoned"},
    {Code::kDeviceFault, "DeviceFault"},
    {Code::kInternal, "Internal"},
}};

std::string compose(Code code, const std::string& message, const std::string& node,
                    const std::string& driver_text) {
  std::string what(code_name(code));
  what += ": " + message;
  if (!node.empty()) what += " (node %" + node + ")";
  if (!driver_text.empty()) what += " [driver: " + driver_text + "]";
  return what;
}

}  // namespace

std::string_view code_name(Code code) noexcept {
  for (const auto& [c, name] : kNames) {
    if (c == code) return name;
  }
  return "Unknown";
}

Code code_from_name(std::string_view name) {
  for (const auto& [c, n] : kNames) {
    if (n == name) return c;
  }
  throw Error(Code::kInvalidArgument, "unknown error code '" + std::string(name) + "'");
}

Error::Error(Code code, const std::string& message, std::string node, std::string driver_text)
    : std::runtime_error(compose(code, message, node, driver_text)),
      code_(code),
      message_(message),
      node_(std::move(node)),
      driver_text_(std::move(driver_text)) {}

std::string Rejection::to_string() const {
  std::string s;
  auto field = [&s](std::string_view label, const std::string& value) {
    if (value.empty()) return;
    s += "\n  ";
    s += label;
    s += value;
  };
  s += reason;
  field("operator: ", op);
  field("node:     ", node.empty() ? node : "%" + node);
  field("where:    ", module_path);
  field("what:     ", subject);
  field("remedy:   ", remedy);
  if (!excerpt.empty()) s += "\n" + excerpt;
  return s;
}

RejectedError::RejectedError(Rejection rejection)
    : Error(rejection.code, rejection.to_string()), rejection_(std::move(rejection)) {}

}  // namespace monograph
