#include <stdexcept>
#include <string_view>

#include "capture/ir/text.h"
#include "capture/ir/verify.h"
#include "tests/fuzz/target.h"

// What parses prints, and the print parses to the same print.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  monograph::fuzz::expect_errors_only([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto graph = monograph::ir::parse(text);
    const std::string printed = monograph::ir::text(graph);
    if (monograph::ir::text(monograph::ir::parse(printed)) != printed) {
      throw std::logic_error("the print of a graph doesn't come back");
    }
    monograph::ir::verify(graph);
  });
  return 0;
}
