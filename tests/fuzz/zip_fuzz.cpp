#include "capture/import/zip.h"
#include "tests/fuzz/target.h"

// Every byte that an entry points to must be readable.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  monograph::fuzz::expect_errors_only([&] {
    const auto bytes = std::as_bytes(std::span(data, size));
    for (const auto& entry : monograph::importer::read_zip(bytes, "fuzz")) {
      (void)monograph::importer::crc32(entry.data);
    }
  });
  return 0;
}
