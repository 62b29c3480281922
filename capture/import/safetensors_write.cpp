#include <fmt/format.h>
#include <fmt/ranges.h>
#include <monograph/error.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

constexpr std::size_t kAlignment = 64;

void check(const std::vector<SafetensorsEntry>& entries) {
  for (const SafetensorsEntry& entry : entries) {
    const auto type = ir::TensorType::contiguous(entry.dtype, entry.shape);
    if (safetensors_dtype_name(entry.dtype).empty()) {
      throw Error(Code::kInvalidArgument,
                  fmt::format("tensor {}: safetensors has no element type for {}",
                              in_quotes(entry.name), ir::dtype_name(entry.dtype)));
    }
    if (static_cast<std::uint64_t>(type.nbytes()) != entry.data.size()) {
      throw Error(Code::kInvalidArgument,
                  fmt::format("tensor {}: shape [{}] of {} takes {} bytes, got {}",
                              in_quotes(entry.name), fmt::join(entry.shape, ", "),
                              ir::dtype_name(entry.dtype), type.nbytes(), entry.data.size()));
    }
  }
}

std::string header_of(const std::vector<SafetensorsEntry>& entries,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (header.contains(entry.name)) {
      throw Error(Code::kInvalidArgument, "two tensors are called " + in_quotes(entry.name));
    }
    header[entry.name] = {{"dtype", safetensors_dtype_name(entry.dtype)},
                          {"shape", entry.shape},
                          {"data_offsets", {offset, offset + entry.data.size()}}};
    offset += entry.data.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(Code::kInvalidArgument, "a tensor name or metadata string is not valid UTF-8");
  }
  const std::size_t used = (8 + text.size()) % kAlignment;
  if (used != 0) text.append(kAlignment - used, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  check(entries);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const auto size_a = ir::itemsize(a.dtype);
    const auto size_b = ir::itemsize(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  const std::string header = header_of(entries, metadata);
  const std::uint64_t length = header.size();
  // Beside the target, so that the rename stays within one file system; named by the process, so
  // that two writers don't share it.
  const std::filesystem::path temporary = path.string() + fmt::format(".{}.tmp", ::getpid());
  errno = 0;
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&length), sizeof length);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  for (const SafetensorsEntry& entry : entries) {
    out.write(reinterpret_cast<const char*>(entry.data.data()),
              static_cast<std::streamsize>(entry.data.size()));
  }
  out.close();
  std::error_code error;
  if (out) {
    std::filesystem::rename(temporary, path, error);
    if (!error) return;
  } else {
    error = std::error_code(errno != 0 ? errno : EIO, std::system_category());
  }
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
  throw Error(Code::kInvalidFile, path.string() + ": can't be written: " + error.message());
}

}  // namespace monograph::importer
