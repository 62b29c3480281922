#include "capture/import/pt2_archive.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <utility>

#include "capture/import/json.h"
#include "capture/import/safetensors_header.h"

namespace monograph::importer {
namespace {

constexpr std::int64_t kStridedLayout = 7;
constexpr std::size_t kMaxRank = 64;
constexpr std::string_view kConfigEnd = "_config.json";

std::string_view text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

std::string_view trimmed(std::string_view text) {
  const auto end = text.find_last_not_of(" \r\n");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
}

/// Elements from the beginning of memory up to the last that `type` reaches, or -1 if they can't be
/// counted in 63 bits.
std::int64_t reach(const ir::TensorType& type) {
  std::int64_t last = type.offset;
  for (std::size_t d = 0; d < type.sizes.size(); ++d) {
    if (type.sizes[d] == 0) return 0;
    std::int64_t step = 0;
    if (__builtin_mul_overflow(type.sizes[d] - 1, type.strides[d], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return -1;
    }
  }
  return last == std::numeric_limits<std::int64_t>::max() ? -1 : last + 1;
}

/// True if the number of elements times their size fits 63 bits.
bool countable(const ir::TensorType& type) {
  std::int64_t bytes = ir::itemsize(type.dtype);
  for (const std::int64_t size : type.sizes) {
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes)) return false;
  }
  return true;
}

class Archive {
 public:
  Archive(std::span<const std::byte> bytes, std::string path) : path_(std::move(path)) {
    entries_ = read_zip(bytes, path_);
  }

  Pt2Archive read() {
    find_root();
    check_versions();
    const std::string model = find_model();
    Pt2Archive archive;
    archive.path = path_;
    archive.model_entry = root_ + "models/" + model + ".json";
    const std::string where = path_ + ": " + archive.model_entry;
    archive.model = parse(archive.model_entry);
    check_schema(JsonValue(archive.model, where));
    read_payload("data/weights/", model + "_weights", archive.tensors);
    read_payload("data/constants/", model + "_constants", archive.tensors);
    return archive;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_file(path_, what); }

  const ZipEntry* find(const std::string& name) const {
    const auto it = std::ranges::lower_bound(entries_, name, {}, &ZipEntry::name);
    return it != entries_.end() && it->name == name ? &*it : nullptr;
  }

  /// The text of a small entry, checked against its CRC.
  std::string_view text(const std::string& name) const {
    const ZipEntry* entry = find(name);
    if (entry == nullptr) fail("entry " + in_quotes(name) + " is missing");
    if (crc32(entry->data) != entry->crc32) {
      fail("entry " + in_quotes(name) + ": its bytes don't have the CRC that the directory states");
    }
    return text_of(entry->data);
  }

  nlohmann::json parse(const std::string& name) const {
    return parse_json(text(name), path_ + ": " + name);
  }

  /// All entries lie in one folder, whatever its name.
  void find_root() {
    if (entries_.empty()) fail("holds no entries");
    for (const ZipEntry& entry : entries_) {
      if (entry.name == "serialized_exported_program.json") {
        fail(
            "was written by torch.export.save of PyTorch 2.7 or older; export it again with 2.9 "
            "or newer");
      }
    }
    const std::string& first = entries_.front().name;
    root_ = first.substr(0, first.find('/') + 1);
    for (const ZipEntry& entry : entries_) {
      if (root_.empty() || !entry.name.starts_with(root_)) {
        fail("is no .pt2 archive: entry " + in_quotes(entry.name) +
             " lies outside the one folder that such an archive has");
      }
      if (entry.name.ends_with(".so") || entry.name.find("/aotinductor/") != std::string::npos) {
        fail("entry " + in_quotes(entry.name) +
             ": compiled code; only archives of torch.export.save are read");
      }
    }
    if (find(root_ + "archive_format") == nullptr) {
      const bool script = find(root_ + "constants.pkl") != nullptr;
      fail(script ? "is a TorchScript archive, which is code: import_torchscript reads those that "
                    "you trust"
                  : "is no .pt2 archive: entry " + in_quotes(root_ + "archive_format") +
                        " is missing");
    }
  }

  void check_versions() const {
    const auto format = trimmed(text(root_ + "archive_format"));
    if (format != "pt2") fail("\"archive_format\" is " + in_quotes(format) + ", expected \"pt2\"");
    const auto version = trimmed(text(root_ + "archive_version"));
    if (version != "0") {
      fail("\"archive_version\" is " + in_quotes(version) +
           ", the newest one known is \"0\": it was written by a newer PyTorch");
    }
    const auto order = trimmed(text(root_ + "byteorder"));
    if (order != "little") fail("\"byteorder\" is " + in_quotes(order) + ", expected \"little\"");
  }

  std::string find_model() const {
    const std::string folder = root_ + "models/";
    std::vector<std::string> models;
    for (const ZipEntry& entry : entries_) {
      const std::string_view name = entry.name;
      if (!name.starts_with(folder) || !name.ends_with(".json")) continue;
      models.emplace_back(name.substr(folder.size(), name.size() - folder.size() - 5));
    }
    if (models.size() != 1) {
      fail(fmt::format("holds {} models under {}, expected one", models.size(), in_quotes(folder)));
    }
    return models.front();
  }

  static void check_schema(const JsonValue& model) {
    const JsonValue version = model.at("schema_version");
    const std::int64_t major = version.at("major").integer();
    const std::int64_t minor = version.at("minor").integer();
    const bool newer =
        major > kPt2SchemaMajor || (major == kPt2SchemaMajor && minor > kPt2SchemaMinor);
    if (newer || major < kPt2SchemaMajor || minor < 0) {
      version.fail(fmt::format("schema {}.{}, but {} one known is {}.{}", major, minor,
                               newer ? "the newest" : "the oldest", kPt2SchemaMajor,
                               newer ? kPt2SchemaMinor : 0));
    }
  }

  void read_payload(const std::string& folder, const std::string& config,
                    std::map<std::string, Pt2Tensor>& tensors) const {
    const std::string name = root_ + folder + config + std::string(kConfigEnd);
    if (find(name) == nullptr) return;  // the graph says what it misses
    const nlohmann::json document = parse(name);
    const std::string where = path_ + ": " + name;
    const JsonValue entries = JsonValue(document, where).at("config");
    for (const std::string& fqn : entries.keys()) {
      const JsonValue entry = entries.at(fqn.c_str());
      Pt2Tensor tensor = payload(entry, root_ + folder);
      if (!tensors.emplace(fqn, std::move(tensor)).second) {
        entry.fail("a tensor of that name is listed elsewhere, too");
      }
    }
  }

  Pt2Tensor payload(const JsonValue& entry, const std::string& folder) const {
    if (entry.has("use_pickle") && entry.at("use_pickle").boolean()) {
      entry.at("use_pickle").fail("pickled data is code; only raw tensors are read");
    }
    if (!entry.has("tensor_meta")) {
      entry.fail("has no \"tensor_meta\": custom objects aren't read");
    }
    Pt2Tensor tensor;
    tensor.record = folder + entry.at("path_name").string();
    tensor.is_parameter = entry.at("is_param").boolean();
    const ZipEntry* record = find(tensor.record);
    if (record == nullptr) {
      entry.at("path_name").fail("there is no entry " + in_quotes(tensor.record));
    }
    tensor.data = record->data;
    tensor.type = tensor_type(entry.at("tensor_meta"));
    const std::int64_t elements = reach(tensor.type);
    const auto fits =
        static_cast<std::int64_t>(tensor.data.size()) / ir::itemsize(tensor.type.dtype);
    if (elements < 0 || elements > fits) {
      entry.at("tensor_meta")
          .fail(fmt::format("sizes, strides and offset reach {} elements, its record holds {}",
                            elements < 0 ? "too many" : fmt::format("{}", elements), fits));
    }
    return tensor;
  }

  static ir::TensorType tensor_type(const JsonValue& meta) {
    ir::TensorType type;
    type.dtype = pt2_dtype(meta.at("dtype").integer());
    if (type.dtype == ir::DType::kUndefined) {
      meta.at("dtype").fail("an element type that isn't supported");
    }
    if (meta.at("layout").integer() != kStridedLayout) meta.at("layout").fail("expected strided");
    type.sizes = dimensions(meta.at("sizes"));
    type.strides = dimensions(meta.at("strides"));
    if (type.strides.size() != type.sizes.size()) {
      meta.at("strides").fail(
          fmt::format("{} strides for {} sizes", type.strides.size(), type.sizes.size()));
    }
    type.offset = extent(meta.at("storage_offset"));
    if (!countable(type)) meta.at("sizes").fail("more elements than can be addressed");
    return type;
  }

  static std::int64_t extent(const JsonValue& value) {
    const JsonValue number = value.at("as_int");
    const std::int64_t n = number.integer();
    if (n < 0) number.fail(fmt::format("{} is negative", n));
    return n;
  }

  static std::vector<std::int64_t> dimensions(const JsonValue& list) {
    if (list.size() > kMaxRank) list.fail(fmt::format("more than {} dimensions", kMaxRank));
    std::vector<std::int64_t> values;
    for (std::size_t i = 0; i < list.size(); ++i) values.push_back(extent(list[i]));
    return values;
  }

  std::string path_;
  std::string root_;
  std::vector<ZipEntry> entries_;
};

}  // namespace

ir::DType pt2_dtype(std::int64_t number) noexcept {
  using enum ir::DType;
  constexpr std::array<std::pair<std::int64_t, ir::DType>, 14> kNumbers{{
      {1, kU8},
      {2, kI8},
      {3, kI16},
      {4, kI32},
      {5, kI64},
      {6, kF16},
      {7, kF32},
      {8, kF64},
      {10, kC64},
      {11, kC128},
      {12, kBool},
      {13, kBF16},
      {29, kF8E4M3FN},
      {30, kF8E5M2},
  }};
  for (const auto& [known, dtype] : kNumbers) {
    if (known == number) return dtype;
  }
  return kUndefined;
}

Pt2Archive read_pt2(std::span<const std::byte> bytes, const std::string& path) {
  return Archive(bytes, path).read();
}

Pt2Archive open_pt2(const std::filesystem::path& path) {
  const auto file =
      std::make_shared<const MappedFile>(path.string(), 4, MappedFile::Access::kCopyOnWrite);
  Pt2Archive archive = read_pt2(file->bytes(), path.string());
  archive.file = file;
  return archive;
}

bool looks_like_zip(const std::filesystem::path& path) {
  std::array<char, 4> magic{};
  std::ifstream in(path, std::ios::binary);
  return in.read(magic.data(), magic.size()) &&
         std::string_view(magic.data(), magic.size()) == std::string_view("PK\x03\x04", 4);
}

}  // namespace monograph::importer
