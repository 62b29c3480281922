// What the commands on one model have in common: opening it, and saying what it is.
#pragma once

#include <monograph/executable.h>

#include <optional>

#include "runtime/cli/figures.h"
#include "runtime/cli/model.h"
#include "runtime/cli/outcome.h"

namespace monograph::cli {

/// A model that was loaded and not refused.
struct Opened {
  bench::Device device;
  Loaded loaded;
  const Program& program() const { return loaded.program(); }
};

/// Chooses the device, loads the model, and notes kind, signature and times in the outcome; saves a
/// package if asked to. nullopt if the model was refused, which the outcome then says.
std::optional<Opened> open_model(const Request& request, Outcome& outcome);

/// Lowers and plans, and notes the figures.
Figures report_figures(const Opened& opened, Outcome& outcome);

/// Builds the executable, and writes a dump of it if the request wants one.
Executable build(const Opened& opened);

using Times = std::map<std::string, double>;  ///< microseconds by node

/// A dump into a new folder below `parent`, with measured times and what the device could do at
/// best if there are any. One that can't be written is one line on standard error.
void write_dump(const Executable& executable, const std::string& parent, const std::string& name,
                const Times& measured_us = {}, Times predicted_us = {});

/// The median of `repeat` replays in milliseconds, and the results of the last.
double median_ms(Executable& executable, const Tensors& inputs, int repeat, Tensors& outputs);

/// Tensors "out_0", "out_1", ... of a safetensors file.
Tensors read_outputs(const std::string& path);
void write_outputs(const std::string& path, const Tensors& outputs);

/// Notes how far apart results are; the outcome fails if that is too far.
void note_difference(const Tensors& got, const Tensors& wanted, const Request& request,
                     const std::string& what, Outcome& outcome);

/// Input and output lines of a signature.
std::string signature_text(const std::vector<TensorSpec>& specs, const char* prefix);

}  // namespace monograph::cli
