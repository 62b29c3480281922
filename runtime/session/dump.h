// Dump folders of a wrapper.
#pragma once

#include <monograph/executable.h>
#include <monograph/options.h>

#include <string>
#include <string_view>

namespace monograph::session {

/// Writes program and plan of one shape key into a new folder `<dump path>/<name>/<key>`; never
/// into one that exists (then `<key>-2`, ...). Does nothing if neither Options::dump_path nor
/// MONOGRAPH_DUMP is set. Never throws: a dump that fails is a logged warning.
void dump(const Executable& executable, const Options& options, std::string_view key) noexcept;

}  // namespace monograph::session
