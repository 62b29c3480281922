#include "capture/import/json.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  monograph::fuzz::expect_errors_only([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto document = monograph::importer::parse_json(text, "fuzz");
    // What was read can be written and read again.
    const auto written = document.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    (void)monograph::importer::parse_json(written, "again");
  });
  return 0;
}
