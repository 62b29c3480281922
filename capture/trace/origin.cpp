#include "capture/trace/origin.h"

#include <utility>

namespace monograph::trace {
namespace {

thread_local const Origin* innermost = nullptr;

}  // namespace

Origin::Origin(std::string name, std::string source)
    : name_(std::move(name)), source_(std::move(source)), outer_(innermost) {
  innermost = this;
}

Origin::~Origin() {
  innermost = outer_;
}

const Origin* Origin::current() noexcept {
  return innermost;
}

}  // namespace monograph::trace
