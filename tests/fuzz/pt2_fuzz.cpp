#include "capture/import/pt2_graph.h"
#include "capture/import/pytree.h"
#include "tests/fuzz/pt2_bytes.h"
#include "tests/fuzz/target.h"

// The input is the JSON of a model and of its weights, split at the first zero byte; the archive
// around them is made here, since a fuzzer seldom gets its checksums right.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace monograph::importer;  // NOLINT(google-build-using-namespace)
  monograph::fuzz::expect_errors_only([&] {
    const std::string bytes = monograph::fuzz::archive_around(data, size);
    const Pt2Archive archive = read_pt2(std::as_bytes(std::span(bytes)), "fuzz");
    for (const auto& [name, tensor] : archive.tensors) {
      // The last byte that sizes, strides and offset reach lies in the record.
      const auto reached = static_cast<std::uint64_t>(tensor.type.storage_extent());
      if (reached > tensor.data.size()) throw std::logic_error("a tensor beyond its record");
    }
    const Pt2Model model = read_pt2_model(archive);
    if (!model.in_spec.empty()) (void)pytree_leaves(model.in_spec, "fuzz");
    if (!model.out_spec.empty()) (void)pytree_leaves(model.out_spec, "fuzz");
  });
  return 0;
}
