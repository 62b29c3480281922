// What each fuzz target is: bytes in, nothing out, no crash. libFuzzer calls it, or driver.cpp.
#pragma once

#include <monograph/error.h>

#include <cstddef>
#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace monograph::fuzz {

/// Runs `read`; an Error of kind file or graph is the right answer to bad input, all else escapes.
template <class Read>
void expect_errors_only(Read&& read) {
  try {
    read();
  } catch (const Error& error) {
    if (error.code() != Code::kInvalidFile && error.code() != Code::kInvalidGraph) throw;
  }
}

}  // namespace monograph::fuzz
