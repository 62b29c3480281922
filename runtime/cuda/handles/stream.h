// Streams and events.
#pragma once

#include "runtime/cuda/handles/handle.h"

namespace monograph::cuda {

class Event;

/// A stream of our own. Streams of LibTorch stay CUstream values and are never owned here.
///
/// States: open; destroying an open stream lets its queued work finish. Capture is a state of the
/// driver's stream, begun and ended through Graph, which ends it in any case.
class Stream : public Handle<Stream, CUstream> {
 public:
  static constexpr const char* kName = "stream";
  Stream() = default;
  /// A stream without implicit order against the legacy default stream. Lower `priority` values run
  /// first; the driver clamps them to its range.
  static Stream create(ContextRef context, int priority = 0);

  /// Blocks until the queued work is done; throws what it left behind. Illegal during capture.
  void synchronize() const;
  /// Whether all queued work is done. Illegal during capture.
  bool idle() const;
  /// Work queued from now on waits for what `event` recorded last. Legal across contexts' streams
  /// and, from a capturing stream, a fork or join of the capture.
  void wait(const Event& event) const;

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUstream raw) noexcept;
};

/// An event.
///
/// States: fresh -> recorded (record) -> recorded again. `elapsed_ms_since` needs both events
/// recorded and timed; waiting for or querying a fresh event is complete at once, as the driver
/// defines. An event recorded in a capture may only be waited for by streams of that capture.
class Event : public Handle<Event, CUevent> {
 public:
  static constexpr const char* kName = "event";
  enum class Timing : bool { kOff, kOn };
  Event() = default;
  static Event create(ContextRef context, Timing timing = Timing::kOff);

  void record(CUstream stream);
  bool done() const;
  void synchronize() const;
  /// Milliseconds of device time between two recorded, timed, finished events.
  /// Error(kInvalidState) if either was not recorded or not timed.
  float elapsed_ms_since(const Event& earlier) const;
  bool recorded() const noexcept { return recorded_; }

 private:
  friend class Handle;
  using Handle::Handle;
  static void destroy(const Driver& driver, CUevent raw) noexcept;
  bool timed_ = false;
  bool recorded_ = false;
};

}  // namespace monograph::cuda
