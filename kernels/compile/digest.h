// A content digest for cache keys (not for security).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace monograph::kernels {

__extension__ using Uint128 = unsigned __int128;

/// 128-bit FNV-1a over length-prefixed fields, so that no two field lists share a byte stream.
class Digest {
 public:
  Digest& add(std::string_view field) noexcept;
  Digest& add(std::span<const std::byte> field) noexcept;
  std::string hex() const;

 private:
  void mix(const unsigned char* data, std::size_t size) noexcept;
  Uint128 state_ = (static_cast<Uint128>(0x6c62272e07bb0142ULL) << 64) | 0x62b821756295c58dULL;
};

}  // namespace monograph::kernels
