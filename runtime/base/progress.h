// Tells a waiting person what goes on, once it has gone on for a while.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace monograph::base {

/// Reports the steps of one piece of work, from the first that ends more than a second after the
/// beginning: quick work says nothing. Not thread-safe.
class Progress {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  using Sink = std::function<void(std::string_view)>;

  /// By default lines go to the log at level info, or, where that isn't printed, to stderr if it is
  /// a terminal and the level isn't off.
  explicit Progress(std::string what, Sink sink = default_sink(),
                    Clock clock = std::chrono::steady_clock::now);

  /// `done` has ended: "traced 402 nodes, 86.7 MiB of weights".
  void step(std::string_view done);

  static Sink default_sink();

 private:
  std::string what_;
  Sink sink_;
  Clock clock_;
  std::chrono::steady_clock::time_point start_;
};

/// "86.7 MiB"
std::string spell_bytes(double bytes);

}  // namespace monograph::base
