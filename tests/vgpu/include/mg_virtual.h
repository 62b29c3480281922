// The virtual GPU's half of the kernels' device header (kernels/device/mg/device.cuh): the same
// names as there, on top of the emulator.
#pragma once

#include "simt.h"

namespace mg {

struct alignas(2) f16 {
  unsigned short bits;
};
struct alignas(2) bf16 {
  unsigned short bits;
};

inline void pdl_wait() {
  simt::grid_wait();
}
inline void pdl_launch() {
  simt::grid_launch();
}

inline float to_float(float v) {
  return v;
}
inline float to_float(bf16 v) {
  return simt::bf16_to_float(v.bits);
}
inline float to_float(f16 v) {
  return simt::half_to_float(v.bits);
}
inline bf16 float_to_bf16(float v) {
  return {simt::float_to_bf16(v)};
}
inline f16 float_to_f16(float v) {
  return {simt::float_to_half(v)};
}

inline uint4 load_stream(const uint4* p) {
  return *p;
}
template <class T>
inline T load_coherent(const T* p) {
  return *p;
}

}  // namespace mg
