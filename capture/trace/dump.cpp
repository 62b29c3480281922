#include <monograph/program.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "capture/trace/program_impl.h"
#include "capture/trace/weights_file.h"
#include "runtime/base/log.h"

namespace monograph {
namespace {

namespace fs = std::filesystem;

/// Writes `path` in one step, never over an existing file.
void write_new(const fs::path& path, const std::string& contents) {
  fs::path draft = path;
  draft += "." + std::to_string(::getpid()) + ".tmp";
  {
    std::ofstream file(draft, std::ios::binary | std::ios::trunc);
    file << contents;
    file.close();
    if (!file) throw Error(Code::kInvalidFile, "can't write '" + draft.string() + "'");
  }
  std::error_code failed;
  fs::create_hard_link(draft, path, failed);  // unlike a rename, fails if `path` exists
  std::error_code ignored;
  fs::remove(draft, ignored);
  if (failed) {
    throw Error(Code::kInvalidFile, "can't write '" + path.string() + "': " + failed.message());
  }
}

std::string two_digits(std::size_t i) {
  return (i < 10 ? "0" : "") + std::to_string(i);
}

void write_all(const Program& program, const fs::path& folder) {
  fs::create_directories(folder);
  const fs::path script = folder / "transformed_code.py";
  const fs::path weights = folder / "weights.safetensors";
  for (const fs::path& path : {script, weights}) {
    if (fs::exists(path)) {
      throw Error(Code::kInvalidFile, "'" + path.string() + "' exists; dumps never overwrite");
    }
  }
  const auto& stages = program.stages();
  for (std::size_t i = 0; i < stages.size(); ++i) {
    write_new(folder / (two_digits(i) + "_" + stages[i].first + ".txt"), stages[i].second);
  }
  trace::write_weights(weights, program.weights());
  write_new(script, program.python());
}

}  // namespace

bool Program::dump(const std::string& directory) const {
  try {
    write_all(*this, directory);
    return true;
  } catch (const std::exception& e) {
    base::log(base::LogLevel::kWarning, "no dump in '" + directory + "': " + e.what());
    return false;
  }
}

}  // namespace monograph
