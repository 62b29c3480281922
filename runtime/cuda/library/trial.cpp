#include "runtime/cuda/library/trial.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <cmath>
#include <cstring>

namespace monograph::cuda {
namespace {

using kernels::DType;

DType result_type(const MatmulProblem& p) {
  return p.d.dtype;
}
DType result_type(const ConvolutionProblem& p) {
  return p.dtype;
}

template <class T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

bool is_nan(const std::byte* at, DType dtype) {
  constexpr std::uint16_t kSignless = 0x7fff;
  constexpr std::uint16_t kInfinityF16 = 0x7c00;
  constexpr std::uint16_t kInfinityBF16 = 0x7f80;
  switch (dtype) {
    case DType::kF16:
      return (read<std::uint16_t>(at) & kSignless) > kInfinityF16;
    case DType::kBF16:
      return (read<std::uint16_t>(at) & kSignless) > kInfinityBF16;
    case DType::kF64:
      return std::isnan(read<double>(at));
    default:
      return std::isnan(read<float>(at));
  }
}

/// The result's bytes, of which the caller's operands were NaN and zeros.
std::vector<std::byte> run(const ContextRef& context, const MathLibrary& library,
                           const LibraryProblem& problem, const LibraryWay& way) {
  const Driver& driver = context->driver();
  const Stream stream = Stream::create(context);
  const std::vector<std::int64_t> bytes = operand_bytes(problem);
  std::vector<DeviceBuffer> memory;
  const auto allocate = [&](std::int64_t size) {
    memory.push_back(
        DeviceBuffer::allocate(context, static_cast<std::size_t>(size), "trying a library"));
    return memory.back().get();
  };
  constexpr unsigned char kNaN = 0xff;  // in every floating-point type
  LibraryAddresses at;
  for (std::size_t i = 0; i < kOperands; ++i) {
    if (bytes[i] == 0) continue;
    at.operands[i] = allocate(bytes[i]);
    driver.MemsetD8Async(at.operands[i], i == kFirst ? kNaN : 0, static_cast<std::size_t>(bytes[i]),
                         stream.get());
  }
  if (way.workspace_bytes > 0) at.workspace = allocate(way.workspace_bytes);
  const std::shared_ptr<LibraryCall> call = library.bind(problem, way, at);
  call->enqueue(stream.get());
  std::vector<std::byte> result(static_cast<std::size_t>(bytes[kResult]));
  driver.MemcpyDtoHAsync(result.data(), at.operands[kResult], result.size(), stream.get());
  stream.synchronize();
  return result;
}

}  // namespace

std::string trial(const ContextRef& context, const MathLibrary& library,
                  const LibraryProblem& problem, const LibraryWay& way) {
  const DType dtype = std::visit([](const auto& p) { return result_type(p); }, problem);
  std::vector<std::byte> result;
  try {
    result = run(context, library, problem, way);
  } catch (const Error& e) {
    if (e.code() == Code::kDevicePoisoned) throw;
    return e.what();
  }
  const auto size = static_cast<std::size_t>(kernels::itemsize(dtype));
  std::size_t lost = 0;
  for (std::size_t i = 0; i + size <= result.size(); i += size) {
    lost += is_nan(result.data() + i, dtype) ? 0 : 1;
  }
  if (lost == 0) return {};
  return fmt::format("{} of {} results of NaN aren't NaN", lost, result.size() / size);
}

}  // namespace monograph::cuda
