// The virtual GPU for tests that run whole programs: which driver, its controls, comparisons.
#pragma once

#include <ATen/core/TensorBody.h>
#include <gtest/gtest.h>
#include <monograph/executable.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/vgpu/vgpu.h"

namespace monograph::test {

/// Driver library under test (MONOGRAPH_TEST_DRIVER); empty: a real one.
std::string driver_under_test();

/// A control of the virtual GPU, or null on a real one.
void* find_control(const char* name);
template <class Fn>
Fn control(const char* name) {
  return reinterpret_cast<Fn>(find_control(name));
}

/// Order of ready work, blocks and threads; nothing on a real device.
void seed(std::uint64_t value);
/// What is alive on the virtual GPU.
std::string leaks();
/// The next `nth` call of `entry` (empty: of any) fails with `code`.
void fail(const std::string& entry, std::uint64_t nth, CUresult code);
std::uint64_t calls(const std::string& entry);

/// Whether to run what takes minutes (MONOGRAPH_TEST_EXHAUSTIVE); else a sample, which
/// MONOGRAPH_TEST_SEED draws.
bool exhaustive();
std::uint32_t test_seed();

Options cuda_options(GraphMode mode = GraphMode::kFull);

/// Gives this process a cache of its own, with the kernels of the one in use and without times, at
/// the first call; forgets times at every later one. Its folder.
const std::string& forget_times();

/// What a test of the CUDA back end is run with.
struct Setting {
  GraphMode mode;
  bool gate = false;
};
Options cuda_options(const Setting& setting);
std::string name_of(const Setting& setting);

/// Loads what the device needs beside its driver (MONOGRAPH_TEST_CLIENT): LibTorch's operators and
/// the emulator's toolchain, or LibTorch's CUDA half. Once, before LibTorch is first used.
void load_client();

/// Sizes, types and values within what the type allows; NaN never passes.
void expect_close_on_device(const at::Tensor& got, const at::Tensor& want, const std::string& what);
bool same_bits(const at::Tensor& a, const at::Tensor& b);
/// Other values of the same kinds.
std::vector<at::Tensor> fresh_like(const std::vector<at::Tensor>& inputs);

/// `program` as a graph and on a stream, each under 20 orders of nodes, blocks and threads (4 in a
/// sample), on each of `inputs`: like the host back end, and bit by bit the same in every order and
/// mode.
void expect_same_in_all_orders(const Program& program,
                               const std::vector<std::vector<at::Tensor>>& inputs);

}  // namespace monograph::test
