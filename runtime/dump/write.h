// Writes a snapshot into a folder.
#pragma once

#include <filesystem>

#include "runtime/dump/snapshot.h"

namespace monograph::dump {

struct WriteOptions {
  /// Off where somebody else (Program::dump) writes the graphs' texts under the same names.
  bool stage_texts = true;
};

/// Writes into `folder`, which exists, whatever the snapshot has:
///   NN_<stage>.txt, NN_<stage>.diff   graph after each stage that changed it, and what changed
///   launches.txt, plan.txt, plan.dot  lowering decisions with reasons; order, edges and offsets
///   <stage>.txt, device_graph.dot     the back end's own stages, its graph for Graphviz
///   kernels/<file>                    kernel sources
///   dump.json, index.html             everything in one file each
///   model_explorer.json               for Model Explorer
///   rejection.txt                     why the module was refused
/// Files that exist stay and are an error. Throws std::filesystem::filesystem_error and Error.
void write(const Snapshot& snapshot, const std::filesystem::path& folder,
           const WriteOptions& options = {});

}  // namespace monograph::dump
