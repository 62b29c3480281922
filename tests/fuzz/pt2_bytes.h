// The archive around the JSON that the graph target is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "tests/import/zip_writer.h"

namespace monograph::fuzz {

/// An archive whose model is the input up to the first zero byte, whose weights are described by
/// what follows, with one record of 128 bytes, "weight_0".
inline std::string archive_around(const std::uint8_t* data, std::size_t size) {
  const std::string all(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(all.find('\0'), all.size());
  monograph::testing::ZipWriter zip;
  zip.add("m/archive_format", "pt2");
  zip.add("m/archive_version", "0");
  zip.add("m/byteorder", "little");
  zip.add("m/data/weights/weight_0", std::string(128, 'w'));
  zip.add("m/data/weights/model_weights_config.json",
          zero < all.size() ? all.substr(zero + 1) : std::string("{\"config\": {}}"));
  zip.add("m/models/model.json", all.substr(0, zero));
  return zip.finish();
}

}  // namespace monograph::fuzz
