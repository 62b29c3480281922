// Runs instances of kernels on the virtual GPU or a real one, with everything around operands
// watched.
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

/// The target of the device under test; the emulator's has few multiprocessors, so that small
/// problems fill several.
const Target& test_target();

/// What a run left behind.
struct Outcome {
  std::vector<Values> outputs;
  std::vector<std::vector<std::byte>> bytes;  ///< of each output, element by element
  std::vector<Values> states;                 ///< after writes by steps of the call, in order
  std::string fault;  ///< empty, or what is wrong: writes beside elements, state not left zero, ...
};

struct RunOptions {
  std::uint64_t seed = 0;
  const monograph::kernels::Compiler* compiler = nullptr;  ///< null: one with a disk cache
  int repeats = 1;  ///< launches on the same memory, outputs poisoned before each
};

/// Compiles and runs `instance` on `inputs` laid out as `call` says: each
/// operand starts at an address of exactly its alignment, between red zones; gaps between the
/// elements of outputs are filled with a pattern that must survive. Inputs must survive too, except
/// for state that steps of the call write. A result that is such state is left out of `outputs`.
Outcome run(const Instance& instance, const Call& call, const std::vector<Values>& inputs,
            const RunOptions& options = {});

/// The virtual GPU forgets the fault of a kernel that went wrong.
void reset_device();

}  // namespace kernels_test
