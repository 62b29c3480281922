// A profiler's library for NVTX, as NVTX_INJECTION64_PATH names one: writes the ranges that are
// opened, indented by depth, into the file that RANGES_FILE names.
#include <nvtx3/nvToolsExt.h>

#include <cstdio>
#include <cstdlib>

namespace {

std::FILE* out = nullptr;
int depth = 0;

int push(const char* name) {
  std::fprintf(out, "%*s%s\n", 2 * depth, "", name);
  std::fflush(out);
  return depth++;
}

int pop() {
  return --depth;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(
    NvtxGetExportTableFunc_t get_table) {
  const char* file = std::getenv("RANGES_FILE");
  out = file != nullptr ? std::fopen(file, "w") : nullptr;
  const auto* callbacks =
      static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (out == nullptr || callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size) == 0 ||
      size <= NVTX_CBID_CORE_RangePop) {
    return 0;
  }
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
