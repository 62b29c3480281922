// The driver under test, for tests that call it themselves.
#pragma once

#include "runtime/cuda/driver.h"
#include "tests/cuda/virtual_device.h"

namespace monograph::test {

inline const cuda::Driver& open_driver_under_test() {
  const std::string path = driver_under_test();
  return path.empty() ? cuda::Driver::open() : cuda::Driver::open(path);
}

}  // namespace monograph::test
