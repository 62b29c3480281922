// Runs instances of kernels on the virtual GPU, with everything around operands watched.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/compile/compiler.h"
#include "tests/kernels/tensor.h"

namespace kernels_test {

using monograph::kernels::Call;
using monograph::kernels::Instance;
using monograph::kernels::Target;

/// The emulator's target, with few multiprocessors so that small problems fill several.
Target virtual_target();

/// What a run left behind.
struct Outcome {
  std::vector<Values> outputs;
  std::vector<std::vector<std::byte>> bytes;  ///< of each output, element by element
  std::string fault;  ///< empty, or what is wrong: writes beside elements, state not left zero, ...
};

struct RunOptions {
  std::uint64_t seed = 0;
  int repeats = 1;            ///< launches on the same memory, outputs poisoned before each
  bool programmatic = false;  ///< launched behind a kernel that it may overtake
};

/// Compiles (through the disk cache) and runs `instance` on `inputs` laid out as `call` says: each
/// operand starts at an address of exactly its alignment, between red zones; gaps between the
/// elements of outputs are filled with a pattern that must survive. Inputs must survive too, except
/// those listed in `written`.
Outcome run(const Instance& instance, const Call& call, const std::vector<Values>& inputs,
            const RunOptions& options = {});

}  // namespace kernels_test
