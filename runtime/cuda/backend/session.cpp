#include "runtime/cuda/backend/session.h"

#include <fmt/format.h>
#include <monograph/error.h>

#include <cstdlib>

#include "runtime/cuda/backend/provider.h"

namespace monograph::cuda {
namespace {

/// Addresses, not memory: far more than any plan needs, far less than the address space.
constexpr std::size_t kReserveFactor = 2;

kernels::Target make_target(const DeviceInfo& info) {
  kernels::Target t;
  // The virtual GPU runs kernels that the emulator's toolchain has compiled.
  const bool is_virtual = info.name.find("virtual") != std::string::npos;
  t.arch = is_virtual ? "virtual" : fmt::format("sm_{}{}", info.major, info.minor);
  t.multiprocessors = info.multiprocessors;
  t.shared_per_block = static_cast<std::int64_t>(info.shared_memory_per_block_optin);
  t.l2_bytes = static_cast<std::int64_t>(info.l2_bytes);
  t.has_programmatic_launch = info.programmatic_launch;
  return t;
}

/// What option `name` says; `otherwise` if nothing.
bool is_on(const Options& options, const char* name, bool otherwise) {
  const auto at = options.backend_options.find(std::string("cuda.") + name);
  if (at == options.backend_options.end()) return otherwise;
  if (at->second == "on" || at->second == "off") return at->second == "on";
  throw Error(Code::kInvalidOption,
              fmt::format("option '{}' is '{}', but may be: on, off", at->first, at->second));
}

/// Error(kInvalidOption), Error(kDeviceUnavailable) if LibTorch's CUDA half is wanted and not
/// there.
std::shared_ptr<Arena> make_arena(const ContextRef& context, const Options& options) {
  const auto wanted = options.backend_options.find("cuda.arena");
  if (wanted == options.backend_options.end() || wanted->second == "reserved") {
    return Arena::create(context, context->info().total_bytes / kReserveFactor);
  }
  if (wanted->second != "torch") {
    throw Error(
        Code::kInvalidOption,
        fmt::format("option 'cuda.arena' is 'reserved' or 'torch', not '{}'", wanted->second));
  }
  const AtenProvider* provider = find_aten_provider(context->driver());
  if (provider == nullptr) {
    throw Error(Code::kDeviceUnavailable,
                "option 'cuda.arena' is 'torch', but LibTorch's CUDA half is not available");
  }
  return Arena::create(context, [context, provider](std::size_t bytes) {
    return provider->allocate(context, bytes);
  });
}

}  // namespace

std::string driver_library(const Options& options) {
  if (!options.cuda_driver.empty()) return options.cuda_driver;
  if (const char* path = std::getenv("MONOGRAPH_DRIVER"); path != nullptr && *path != '\0') {
    return path;
  }
  return Driver::kDefaultLibrary;
}

std::shared_ptr<DeviceSession> DeviceSession::open(const Options& options) {
  const std::string library = driver_library(options);
  const Driver& driver = Driver::open(library);
  ContextRef context = Context::retain(driver);
  return std::shared_ptr<DeviceSession>(new DeviceSession(std::move(context), options));
}

DeviceSession::DeviceSession(ContextRef context, const Options& options)
    : context_(std::move(context)), target_(make_target(context_->info())) {
  Tuner::Settings tuning;
  // Times of the virtual GPU say nothing, so nothing is timed there unless asked for.
  tuning.on = is_on(options, kTuningOption, target_.arch != "virtual");
  const bool tries = tuning.on || target_.arch != "virtual";
  tuner_ = std::make_shared<Tuner>(context_, std::move(tuning));
  Gate::Settings gate;
  gate.on = is_on(options, kGateOption, false);
  gate_ = std::make_unique<Gate>(context_, std::move(gate));
  libraries_ = std::make_unique<LibraryPlanner>(context_, tuner_, tries);
  const CurrentContext current(*context_);
  arena_ = make_arena(context_, options);
  stream_ = Stream::create(context_);
  last_ = Event::create(context_);
}

std::shared_ptr<AtenShared> DeviceSession::aten_shared(const AtenProvider& provider) const {
  std::call_once(shared_once_, [&] { aten_shared_ = provider.share(); });
  return aten_shared_;
}

void DeviceSession::check_alive() const {
  if (!context_->driver().poisoned()) return;
  throw Error(Code::kDevicePoisoned,
              "an earlier error has destroyed this process's device context; nothing more can run "
              "on it: save what is on the host and restart the process. The first error was: " +
                  context_->driver().poison_reason());
}

void DeviceSession::drain() noexcept {
  const std::lock_guard lock(mutex_);
  if (!last_stream_) return;
  const Driver& driver = context_->driver();
  // A stream of somebody else may have gone since.
  if (*last_stream_ == stream_.get()) {
    (void)driver.StreamSynchronize.raw(stream_.get());
  } else {
    (void)driver.EventSynchronize.raw(last_.get());
  }
}

DeviceSession::Turn::Turn(DeviceSession& session, CUstream stream)
    : session_(session), lock_(session.mutex_), stream_(stream) {
  const auto& last = session_.last_stream_;
  if (!last || *last == stream_) return;
  // Our own stream is still there, so its newest work is marked only when somebody asks.
  if (*last == session_.stream_.get()) session_.last_.record(*last);
  session_.context_->driver().StreamWaitEvent(stream_, session_.last_.get(), CU_EVENT_WAIT_DEFAULT);
}

void DeviceSession::Turn::finish() {
  if (stream_ != session_.stream_.get()) session_.last_.record(stream_);
  session_.last_stream_ = stream_;
  finished_ = true;
}

DeviceSession::Turn::~Turn() {
  if (finished_) return;
  (void)session_.context_->driver().StreamSynchronize.raw(stream_);
}

}  // namespace monograph::cuda
