// Archives of tests/import/data and what the tests compare.
#pragma once

#include <ATen/core/TensorBody.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/program.h>

#include <filesystem>
#include <string>
#include <vector>

#include "capture/import/safetensors.h"
#include "capture/import/safetensors_torch.h"

namespace monograph::testing {

inline std::filesystem::path data_file(const std::string& name) {
  return std::filesystem::path(MONOGRAPH_IMPORT_DATA) / name;
}

/// "in_0", "in_1", ... of a file, as long as there are any.
inline std::vector<at::Tensor> tensors_of(const importer::SafetensorsFile& file,
                                          const std::string& prefix) {
  std::vector<at::Tensor> tensors;
  while (const auto* entry = file.find(prefix + std::to_string(tensors.size()))) {
    tensors.push_back(importer::read_tensor(*entry));
  }
  return tensors;
}

/// The Error that `call` throws; a failure and an Internal if it throws none.
template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "expected an Error";
  return {Code::kInternal, "no error"};
}

}  // namespace monograph::testing
