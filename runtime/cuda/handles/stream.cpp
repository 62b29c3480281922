#include "runtime/cuda/handles/stream.h"

#include <monograph/error.h>

namespace monograph::cuda {

Stream Stream::create(ContextRef context, int priority) {
  const CurrentContext current(*context);
  CUstream raw = nullptr;
  context->driver().StreamCreateWithPriority(&raw, CU_STREAM_NON_BLOCKING, priority);
  return Stream(std::move(context), raw);
}

void Stream::destroy(const Driver& driver, CUstream raw) noexcept {
  report_release(driver, driver.StreamDestroy.name(), driver.StreamDestroy.raw(raw));
}

void Stream::synchronize() const {
  driver().StreamSynchronize(get());
}

bool Stream::idle() const {
  const Driver& cu = driver();
  const CUresult result = cu.StreamQuery.raw(get());
  if (result == CUDA_ERROR_NOT_READY) return false;
  if (result != CUDA_SUCCESS) cu.fail(cu.StreamQuery.name(), result);
  return true;
}

void Stream::wait(const Event& event) const {
  driver().StreamWaitEvent(get(), event.get(), CU_EVENT_WAIT_DEFAULT);
}

Event Event::create(ContextRef context, Timing timing) {
  const CurrentContext current(*context);
  CUevent raw = nullptr;
  context->driver().EventCreate(&raw,
                                timing == Timing::kOn ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING);
  Event event(std::move(context), raw);
  event.timed_ = timing == Timing::kOn;
  return event;
}

void Event::destroy(const Driver& driver, CUevent raw) noexcept {
  report_release(driver, driver.EventDestroy.name(), driver.EventDestroy.raw(raw));
}

void Event::record(CUstream stream) {
  driver().EventRecord(get(), stream);
  recorded_ = true;
}

bool Event::done() const {
  const Driver& cu = driver();
  const CUresult result = cu.EventQuery.raw(get());
  if (result == CUDA_ERROR_NOT_READY) return false;
  if (result != CUDA_SUCCESS) cu.fail(cu.EventQuery.name(), result);
  return true;
}

void Event::synchronize() const {
  driver().EventSynchronize(get());
}

float Event::elapsed_ms_since(const Event& earlier) const {
  for (const Event* event : {this, &earlier}) {
    if (!event->timed_) {
      throw Error(Code::kInvalidState, "elapsed time of an event that was created without timing");
    }
    if (!event->recorded_) {
      throw Error(Code::kInvalidState, "elapsed time of an event that was never recorded");
    }
  }
  float milliseconds = 0;
  driver().EventElapsedTime(&milliseconds, earlier.get(), get());
  return milliseconds;
}

}  // namespace monograph::cuda
