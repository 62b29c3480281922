// The container of a `.pt2` file: which entries it has, what its tensors look like. No torch.
//
// The format: what torch.export.save of PyTorch 2.9 to 2.15 writes (schema 8.x), documented by
// torch/export/pt2_archive and torch/_export/serde/schema.py of PyTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "capture/import/mapped_file.h"
#include "capture/import/zip.h"
#include "capture/ir/types.h"

namespace monograph::importer {

inline constexpr std::int64_t kPt2SchemaMajor = 8;
inline constexpr std::int64_t kPt2SchemaMinor = 20;  ///< newest one known, PyTorch 2.15's

/// A tensor of the archive. `data` is the whole record it lies in, which several may share; every
/// element that sizes, strides and offset reach was checked to lie in it.
struct Pt2Tensor {
  std::string record;  ///< name of the record
  ir::TensorType type;
  bool is_parameter = false;
  std::span<const std::byte> data;
};

/// An opened archive. Keeps the file mapped as long as one copy lives; spans stay valid as long.
/// Immutable, safe from many threads.
struct Pt2Archive {
  std::string path;
  std::shared_ptr<const MappedFile> file;
  std::string model_entry;  ///< name of the entry that `model` was read from
  nlohmann::json model;     ///< an ExportedProgram, form unchecked but for its version
  std::map<std::string, Pt2Tensor> tensors;  ///< weights and constants by fully qualified name
};

/// Opens and checks the container: data only. Error(kInvalidFile) naming entry and field for
/// anything else: pickled weights, custom objects, compiled libraries, versions newer than known
/// (naming both), tensors that reach beyond their record. Pickled sample inputs are ignored, never
/// read. Weights aren't touched.
Pt2Archive open_pt2(const std::filesystem::path& path);

/// The same for an archive in memory, for tests and fuzzing; the bytes must outlive the result.
Pt2Archive read_pt2(std::span<const std::byte> bytes, const std::string& path);

/// True if the file begins as a ZIP archive does. False if it can't be read.
bool looks_like_zip(const std::filesystem::path& path);

/// Element type by number in the archive's own enumeration; kUndefined if unknown.
ir::DType pt2_dtype(std::int64_t number) noexcept;

}  // namespace monograph::importer
