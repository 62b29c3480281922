#include <cstdio>
#include <cstdlib>
#include <map>

#include "runtime/host/step.h"

namespace monograph::host {
namespace {

std::map<std::string, HostOp, std::less<>>& ops() {
  static std::map<std::string, HostOp, std::less<>> map;
  return map;
}

}  // namespace

HostOpRegistration::HostOpRegistration(HostOp op) {
  const std::string target = op.target;
  if (!ops().emplace(target, std::move(op)).second) {
    std::fprintf(stderr, "monograph: host operator '%s' is registered twice\n", target.c_str());
    std::abort();
  }
}

const HostOp* find_host_op(const ir::Node& node) {
  const auto it = ops().find(node.target());
  if (it == ops().end() || !it->second.accepts(node)) return nullptr;
  return &it->second;
}

}  // namespace monograph::host
