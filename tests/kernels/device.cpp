#include "tests/kernels/device.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "kernels/fusion/program.h"
#include "runtime/cuda/handles.h"
#include "tests/vgpu/vgpu.h"

namespace kernels_test {
namespace {

using namespace monograph::cuda;
using monograph::kernels::Compiled;
using monograph::kernels::Compiler;
using monograph::kernels::Param;

constexpr std::byte kPattern{0xa5};
constexpr std::size_t kZone = 256;  // bytes before and after an operand

/// The virtual GPU, or the driver that MONOGRAPH_TEST_DRIVER names.
const Driver& driver() {
  const char* name = std::getenv("MONOGRAPH_TEST_DRIVER");
  return Driver::open(name != nullptr && *name != '\0' ? name : VGPU_LIBRARY);
}

/// Order of blocks and threads; a real device has its own.
void seed(std::uint64_t value) {
  if (auto* set = reinterpret_cast<decltype(&vgpu_seed)>(driver().extension("vgpu_seed"))) {
    set(value);
  }
}

const ContextRef& context() {
  static const ContextRef c = Context::retain(driver());
  return c;
}

const Compiler& compiler() {
  static const Compiler c(KERNEL_CACHE, 1);
  return c;
}

/// An operand in device memory: what was put there, and where its elements are.
struct Placed {
  DeviceBuffer buffer;
  std::vector<std::byte> image;
  std::size_t start = 0;  // byte of the first element
  std::vector<std::int64_t> offsets;
  DType dtype = DType::kF32;

  CUdeviceptr address() const { return buffer.get() + start; }
};

Placed place(const TensorDesc& desc) {
  Placed p;
  p.dtype = desc.dtype;
  p.offsets = element_offsets(desc);
  const auto bytes =
      static_cast<std::size_t>(extent(desc) * monograph::kernels::itemsize(desc.dtype));
  // Aligned as promised and no better: an odd multiple of the alignment.
  const auto alignment = static_cast<std::size_t>(desc.alignment);
  p.start = kZone + (kZone % (2 * alignment) == 0 ? alignment : 0);
  p.image.assign(p.start + bytes + kZone, kPattern);
  p.buffer = DeviceBuffer::allocate(context(), p.image.size());
  return p;
}

std::byte* element(Placed& p, std::size_t i) {
  const auto size = static_cast<std::size_t>(monograph::kernels::itemsize(p.dtype));
  return p.image.data() + p.start + static_cast<std::size_t>(p.offsets[i]) * size;
}

void upload(const Placed& p, CUstream stream) {
  driver().MemcpyHtoDAsync(p.buffer.get(), p.image.data(), p.image.size(), stream);
}

std::vector<std::byte> download(const Placed& p, CUstream stream) {
  std::vector<std::byte> bytes(p.image.size());
  driver().MemcpyDtoHAsync(bytes.data(), p.buffer.get(), bytes.size(), stream);
  driver().StreamSynchronize(stream);
  return bytes;
}

/// Parameter values and pointers to them.
struct Params {
  std::vector<std::vector<std::byte>> values;
  std::vector<void*> pointers;

  void add(const void* data, std::size_t bytes) {
    const auto* b = static_cast<const std::byte*>(data);
    values.emplace_back(b, b + bytes);
  }
  void** get() {
    pointers.clear();
    for (auto& v : values) pointers.push_back(v.data());
    return pointers.data();
  }
};

class Run {
 public:
  Run(const Instance& instance, const Call& call, const std::vector<Values>& inputs)
      : instance_(instance), call_(call), current_(*context()), stream_(Stream::create(context())) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs_.push_back(place(call.inputs[i]));
      for (std::size_t e = 0; e < inputs[i].at.size(); ++e) {
        write_element(element(inputs_.back(), e), inputs[i].dtype, inputs[i].at[e]);
      }
    }
    for (const TensorDesc& d : call.outputs) outputs_.push_back(place(d));
    if (instance.workspace_bytes > 0) workspace_ = scratch(instance.workspace_bytes);
    if (instance.state_bytes > 0) state_ = scratch(instance.state_bytes);
  }

  Outcome go(const RunOptions& options) {
    seed(options.seed);
    const Compiler& chosen = options.compiler != nullptr ? *options.compiler : compiler();
    // For compute-sanitizer's racecheck, which doesn't follow every way of waiting.
    Instance watched = instance_;
    if (std::getenv("MONOGRAPH_TEST_RACECHECK") != nullptr) {
      watched.text = "#define MG_RACECHECK 1\n" + watched.text;
    }
    const Compiled compiled = chosen.compile(watched, test_target().arch);
    const Library library = Library::load(context(), compiled.image);
    Kernel kernel = library.kernel(compiled.entry);
    if (instance_.geometry.dynamic_shared_bytes > 0) {
      kernel.allow_dynamic_shared(instance_.geometry.dynamic_shared_bytes);
    }
    if (state_) {
      driver().MemsetD8Async(state_->get(), 0, state_->bytes(), stream_.get());
    }
    for (const Placed& p : inputs_) upload(p, stream_.get());
    Outcome out;
    for (int r = 0; r < options.repeats && out.fault.empty(); ++r) {
      poison(options.seed + static_cast<std::uint64_t>(r));
      launch(kernel);
      collect(out);
    }
    return out;
  }

 private:
  DeviceBuffer scratch(std::int64_t bytes) {
    return DeviceBuffer::allocate(context(), static_cast<std::size_t>(bytes));
  }

  /// Output elements get rubbish that differs from run to run, so that an element that nobody
  /// writes shows.
  void poison(std::uint64_t seed) {
    for (Placed& p : outputs_) {
      const auto size = static_cast<std::size_t>(monograph::kernels::itemsize(p.dtype));
      for (std::size_t e = 0; e < p.offsets.size(); ++e) {
        std::memset(element(p, e), seed % 2 == 0 ? 0xff : 0x77, size);
      }
      upload(p, stream_.get());
    }
  }

  void launch(const Kernel& kernel) {
    Params params;
    for (const Param& p : instance_.params) {
      if (p.kind == Param::Kind::kScalar) {
        params.add(p.bytes.data(), p.bytes.size());
        continue;
      }
      CUdeviceptr at = 0;
      const auto index = static_cast<std::size_t>(p.index);
      if (p.kind == Param::Kind::kInput) at = inputs_.at(index).address();
      if (p.kind == Param::Kind::kOutput) at = outputs_.at(index).address();
      if (p.kind == Param::Kind::kWorkspace) at = workspace_->get();
      if (p.kind == Param::Kind::kState) at = state_->get();
      at += static_cast<CUdeviceptr>(p.byte_offset);
      params.add(&at, sizeof at);
    }
    CUlaunchConfig config{};
    const auto& g = instance_.geometry;
    config.gridDimX = g.grid[0];
    config.gridDimY = g.grid[1];
    config.gridDimZ = g.grid[2];
    config.blockDimX = g.block[0];
    config.blockDimY = g.block[1];
    config.blockDimZ = g.block[2];
    config.sharedMemBytes = g.dynamic_shared_bytes;
    config.hStream = stream_.get();
    driver().LaunchKernelEx(&config, kernel.function(), params.get(), nullptr);
    driver().StreamSynchronize(stream_.get());
  }

  void collect(Outcome& out) {
    out.outputs.clear();
    out.bytes.clear();
    for (std::size_t o = 0; o < outputs_.size(); ++o) {
      Placed& p = outputs_[o];
      std::vector<std::byte> now = download(p, stream_.get());
      Values v{p.dtype, call_.outputs[o].sizes, {}};
      std::vector<std::byte> bytes;
      const auto size = static_cast<std::size_t>(monograph::kernels::itemsize(p.dtype));
      for (std::size_t e = 0; e < p.offsets.size(); ++e) {
        std::byte* at = now.data() + (element(p, e) - p.image.data());
        v.at.push_back(read_element(at, p.dtype));
        bytes.insert(bytes.end(), at, at + size);
        std::memset(at, static_cast<int>(kPattern), size);
      }
      for (std::size_t b = 0; b < now.size() && out.fault.empty(); ++b) {
        if (now[b] != kPattern) {
          out.fault =
              fmt::format("output {}: byte {} beside its elements was written", o,
                          static_cast<std::ptrdiff_t>(b) - static_cast<std::ptrdiff_t>(p.start));
        }
      }
      out.outputs.push_back(std::move(v));
      out.bytes.push_back(std::move(bytes));
    }
    collect_states(out);
    for (std::size_t i = 0; i < inputs_.size() && out.fault.empty(); ++i) {
      if (!is_state(i) && download(inputs_[i], stream_.get()) != inputs_[i].image) {
        out.fault = fmt::format("input {} was written", i);
      }
    }
    check_state(out);
  }

  bool is_state(std::size_t input) const {
    if (!call_.body) return false;
    return std::ranges::any_of(call_.body->steps, [&](const auto& s) {
      return monograph::kernels::fusion::writes_state(s) &&
             s.alias == static_cast<std::int32_t>(input);
    });
  }

  void collect_states(Outcome& out) {
    out.states.clear();
    if (!call_.body) return;
    for (const auto& s : call_.body->steps) {
      if (!monograph::kernels::fusion::writes_state(s)) continue;
      Placed& p = inputs_[static_cast<std::size_t>(s.alias)];
      const std::vector<std::byte> now = download(p, stream_.get());
      Values v{p.dtype, s.output.sizes, {}};
      for (std::size_t e = 0; e < p.offsets.size(); ++e) {
        v.at.push_back(read_element(now.data() + (element(p, e) - p.image.data()), p.dtype));
      }
      out.states.push_back(std::move(v));
    }
  }

  void check_state(Outcome& out) {
    if (!state_) return;
    std::vector<std::byte> bytes(state_->bytes());
    driver().MemcpyDtoHAsync(bytes.data(), state_->get(), bytes.size(), stream_.get());
    driver().StreamSynchronize(stream_.get());
    for (const std::byte b : bytes) {
      if (b != std::byte{0}) out.fault = "state was not left zero";
    }
  }

  const Instance& instance_;
  const Call& call_;
  CurrentContext current_;
  Stream stream_;
  std::vector<Placed> inputs_, outputs_;
  std::optional<DeviceBuffer> workspace_, state_;
};

}  // namespace

const Target& test_target() {
  static const Target target = [] {
    Target t;
    const DeviceInfo& info = context()->info();
    if (driver().extension("vgpu_seed") != nullptr) {
      t.arch = "virtual";
      t.multiprocessors = 4;
      return t;
    }
    t.arch = fmt::format("sm_{}{}", info.major, info.minor);
    t.multiprocessors = info.multiprocessors;
    t.shared_per_block = static_cast<std::int64_t>(info.shared_memory_per_block_optin);
    return t;
  }();
  return target;
}

Outcome run(const Instance& instance, const Call& call, const std::vector<Values>& inputs,
            const RunOptions& options) {
  return Run(instance, call, inputs).go(options);
}

void reset_device() {
  if (auto* reset = reinterpret_cast<decltype(&vgpu_reset)>(driver().extension("vgpu_reset"))) {
    reset();
  }
}

}  // namespace kernels_test
