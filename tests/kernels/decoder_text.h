// Graph text of one decoding step of a decoder of any size, as capture records it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kernels_test {

struct Decoder {
  std::string name;
  int layers = 1;
  std::int64_t hidden = 0, heads = 0, kv_heads = 0, head_size = 0, ffn = 0, vocabulary = 0;
  std::int64_t keys = 2048;  // of the caches
  std::int64_t batch = 1;
  bool head_norms = false;                // Qwen3: RMS norm of every head's query and key
  bool tied = true;                       // the embedding is the last projection's weight
  std::vector<std::string> without = {};  // passes that aren't run

  /// Bytes that a step reads at least when `valid` keys are in the caches.
  double bytes(std::int64_t valid) const;
};

Decoder llama_1b(std::int64_t batch = 1);
Decoder llama_8b(std::int64_t batch = 1);
Decoder qwen3_0_6b(std::int64_t batch = 1);

std::string decoder_text(const Decoder& d);

}  // namespace kernels_test
