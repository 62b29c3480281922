// Where the stand-ins of libraries are: in this library itself.
#pragma once

#include <string>

#include "runtime/cuda/driver.h"

namespace monograph::vgpu {

std::string path_of_self();
bool is_virtual(const cuda::Driver& driver);

}  // namespace monograph::vgpu
