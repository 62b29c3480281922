// Folders and files that never replace others.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace monograph::dump {

/// `name` with every character but letters, digits, '.', '-', '_' and '~' replaced by '_': usable
/// as a file name everywhere, never hidden, never empty, at most 120 bytes.
std::string file_name(std::string_view name);

/// Creates and returns `parent`/`name`, or `name-2`, ... if that exists: creating it is what claims
/// it, so that two processes never share one. Throws std::filesystem::filesystem_error.
std::filesystem::path claim_folder(const std::filesystem::path& parent, const std::string& name);

/// Writes a file that must not exist yet. Throws std::filesystem::filesystem_error.
void write_file(const std::filesystem::path& file, std::string_view contents);

}  // namespace monograph::dump
