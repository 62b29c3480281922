#include "runtime/cli/outcome.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <fstream>
#include <iostream>

#include "runtime/cli/model.h"

namespace monograph::cli {
namespace {

using nlohmann::json;

/// What went wrong, as a status.
void note_exception(Outcome& outcome) {
  try {
    throw;
  } catch (const UnknownModel& error) {
    outcome.end(kUnsupported, "unsupported", error.what());
  } catch (const RejectedError& error) {
    outcome.refuse(error.rejection());
  } catch (const Error& error) {
    outcome.end(kFailed, "failed", error.what());
    if (error.code() == Code::kDeviceUnavailable) {
      outcome.end(kUnsupported, "unsupported", error.what());
    }
    if (error.code() == Code::kInvalidOption) outcome.end(kUsage, "failed", error.what());
    outcome.report["code"] = code_name(error.code());
  } catch (const c10::Error& error) {
    outcome.end(kFailed, "failed", error.what_without_backtrace());
  } catch (const std::exception& error) {
    outcome.end(kFailed, "failed", error.what());
  }
}

bool write_report(const std::string& path, const json& report) {
  if (path.empty()) return true;
  const std::string text = report.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  if (path == "-") {
    fmt::print("{}", text);
    return true;
  }
  std::ofstream out(path);
  out << text;
  out.flush();
  if (out) return true;
  std::cerr << "error: " << path << ": can't be written\n";
  return false;
}

}  // namespace

void Outcome::end(int code, const std::string& status, const std::string& reason) {
  exit = code;
  report["status"] = status;
  report["reason"] = reason;
}

void Outcome::refuse(const Rejection& rejection) {
  const bool unsupported = rejection.code == Code::kRejectedUnsupportedOp;
  end(unsupported ? kUnsupported : kRefused, unsupported ? "unsupported" : "refused",
      rejection.reason);
  report["code"] = code_name(rejection.code);
  report["op"] = rejection.op;
  report["node"] = rejection.node;
  report["module"] = rejection.module_path;
  report["remedy"] = rejection.remedy;
  report["refusals"] = json::array({{{"code", code_name(rejection.code)},
                                     {"op", rejection.op},
                                     {"node", rejection.node},
                                     {"module", rejection.module_path},
                                     {"reason", rejection.reason},
                                     {"remedy", rejection.remedy}}});
  say(*this, rejection.to_string() + "\n");
}

void say(const Outcome& outcome, const std::string& text) {
  if (!outcome.quiet) fmt::print("{}", text);
}

int guarded(const std::function<int()>& work) {
  Outcome outcome;
  try {
    return work();
  } catch (...) {
    note_exception(outcome);
  }
  std::cerr << "error: " << outcome.report["reason"].get<std::string>() << '\n';
  return outcome.exit;
}

int conclude(const Request& request, const std::function<void(Outcome&)>& work) {
  Outcome outcome;
  outcome.quiet = request.json == "-";
  outcome.report = {{"model", request.model}, {"device", request.device}, {"status", "ok"},
                    {"reason", ""},           {"max_abs_diff", nullptr},  {"nodes", nullptr},
                    {"launches", nullptr}};
  try {
    work(outcome);
  } catch (...) {
    note_exception(outcome);
  }
  if (outcome.exit != kOk && outcome.exit != kRefused) {
    std::cerr << "error: " << outcome.report["reason"].get<std::string>() << '\n';
  }
  say(outcome, outcome.report["status"].get<std::string>() + "\n");
  if (!write_report(request.json, outcome.report)) return kFailed;
  return outcome.exit;
}

}  // namespace monograph::cli
