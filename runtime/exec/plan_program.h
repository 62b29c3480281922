// A program as a back end would run it, without building anything.
#pragma once

#include <monograph/options.h>
#include <monograph/program.h>

#include "runtime/exec/backend.h"

namespace monograph::exec {

/// Lowers and plans `program` for the back end that `options` choose, as Executable::build does
/// before it builds. Borrows from `program`, which must outlive the result. Throws as it does.
Planned plan_only(const Program& program, const Options& options);

}  // namespace monograph::exec
