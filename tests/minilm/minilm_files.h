// Where the tests of the MiniLM program find the model package and their reference data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace monograph::bench {

/// The model's folder: MONOGRAPH_MINILM_DIR, else the one CMake found. A missing model is an
/// error, never a skipped test.
inline std::filesystem::path model_folder() {
  const char* set = std::getenv("MONOGRAPH_MINILM_DIR");
  std::filesystem::path folder = set != nullptr ? set : MONOGRAPH_TEST_MINILM_DIR;
  if (!std::filesystem::exists(folder / "vocab.txt")) {
    throw std::runtime_error("no MiniLM model in \"" + folder.string() +
                             "\"; set MONOGRAPH_MINILM_DIR");
  }
  return folder;
}

inline std::filesystem::path model_file(const std::string& name) {
  return model_folder() / name;
}

inline std::filesystem::path data_file(const std::string& name) {
  return std::filesystem::path(MONOGRAPH_TEST_DATA_DIR) / name;
}

}  // namespace monograph::bench
