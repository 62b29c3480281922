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

/// Writes why a shape key was rejected, with the marked graph, as rejection.txt into a folder of
/// the same kind. Never throws.
void dump(const Rejection& rejection, const Options& options, std::string_view key) noexcept;

/// Saves a package of `program` as `<MONOGRAPH_AOT>/<name>/<key>.mono` if that switch is set and
/// there is none yet. Never throws: a package that can't be written is a logged warning.
void save_package(const Program& program, const Options& options, std::string_view key) noexcept;

}  // namespace monograph::session
