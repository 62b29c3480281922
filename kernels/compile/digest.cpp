#include "kernels/compile/digest.h"

namespace monograph::kernels {

void Digest::mix(const unsigned char* data, std::size_t size) noexcept {
  constexpr Uint128 kPrime =
      (static_cast<Uint128>(0x0000000001000000ULL) << 64) | 0x000000000000013bULL;
  for (std::size_t i = 0; i < size; ++i) {
    state_ ^= data[i];
    state_ *= kPrime;
  }
}

Digest& Digest::add(std::string_view field) noexcept {
  const std::uint64_t size = field.size();
  mix(reinterpret_cast<const unsigned char*>(&size), sizeof size);
  mix(reinterpret_cast<const unsigned char*>(field.data()), field.size());
  return *this;
}

Digest& Digest::add(std::span<const std::byte> field) noexcept {
  return add(std::string_view(reinterpret_cast<const char*>(field.data()), field.size()));
}

std::string Digest::hex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string s(32, '0');
  Uint128 v = state_;
  for (std::size_t i = 32; i-- > 0; v >>= 4) s[i] = kDigits[static_cast<unsigned>(v & 15)];
  return s;
}

}  // namespace monograph::kernels
