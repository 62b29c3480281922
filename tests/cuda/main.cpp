#include <gtest/gtest.h>

#include "tests/cuda/virtual_device.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  monograph::test::load_client();
  return RUN_ALL_TESTS();
}
