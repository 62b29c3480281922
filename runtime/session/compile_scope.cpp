#include "runtime/session/compile_scope.h"

#include <monograph/error.h>

#include "capture/trace/dispatch_key.h"

namespace monograph::session {
namespace {

std::mutex& turn() {
  static std::mutex mutex;
  return mutex;
}

thread_local bool active = false;

}  // namespace

CompileScope::CompileScope(Wait wait) : lock_(turn(), std::defer_lock) {
  if (wait == Wait::kWait) {
    lock_.lock();
  } else {
    (void)lock_.try_lock();
  }
  active = owns();
}

CompileScope::~CompileScope() {
  if (owns()) active = false;
}

void CompileScope::refuse_nested() {
  if (active || trace::is_recording()) {
    throw Error(Code::kInvalidState,
                "a CompiledModule was called by a forward that is being traced; call the plain "
                "module there, its operators become part of the outer graph");
  }
}

}  // namespace monograph::session
