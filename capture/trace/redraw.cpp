#include "capture/trace/redraw.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/view_as_real.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "capture/trace/inputs.h"

namespace monograph::trace {
namespace {

/// Values that count as few, as in a mask.
constexpr std::size_t kFewValues = 4;
/// Tensors up to this many elements are turned over by rank.
constexpr std::int64_t kRanked = std::int64_t{1} << 16;
/// Share of the standard deviation by which a redrawn value moves at most.
constexpr double kMove = 0.25;

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough to shuffle.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }
  /// In [-1, 1).
  double sign_unit() { return static_cast<double>(next() >> 11) * 0x1p-52 - 1.0; }

 private:
  std::uint64_t state_;
};

struct Statistics {
  float low = std::numeric_limits<float>::infinity();
  float high = -std::numeric_limits<float>::infinity();
  double deviation = 0;
  bool few = true;
};

Statistics statistics_of(const float* values, std::int64_t n) {
  Statistics s;
  double sum = 0;
  double squares = 0;
  std::int64_t finite = 0;
  std::set<float> distinct;
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = values[i];
    if (!std::isfinite(v)) continue;
    s.low = std::min(s.low, v);
    s.high = std::max(s.high, v);
    sum += v;
    squares += static_cast<double>(v) * v;
    ++finite;
    if (distinct.size() <= kFewValues) distinct.insert(v);
  }
  if (finite > 0) {
    const double mean = sum / static_cast<double>(finite);
    s.deviation = std::sqrt(std::max(0.0, squares / static_cast<double>(finite) - mean * mean));
  }
  s.few = distinct.size() <= kFewValues && n > static_cast<std::int64_t>(kFewValues);
  return s;
}

/// Gives each place the value of the opposite rank: large becomes small, and what was compared with
/// the middle comes out the other way. The values stay the same ones.
template <class T>
std::vector<T> turned_over(const T* values, std::int64_t n) {
  const auto count = static_cast<std::size_t>(n);
  std::vector<std::size_t> by_rank(count);
  std::iota(by_rank.begin(), by_rank.end(), std::size_t{0});
  // NaN sorts last; equal values keep their order.
  std::stable_sort(by_rank.begin(), by_rank.end(), [values](std::size_t a, std::size_t b) {
    return values[a] < values[b] || (values[a] == values[a] && values[b] != values[b]);
  });
  std::vector<T> out(count);
  for (std::size_t r = 0; r < count; ++r) out[by_rank[r]] = values[by_rank[count - 1 - r]];
  // The one in the middle would keep its value.
  if (count % 2 == 1 && count > 1) std::swap(out[by_rank[count / 2]], out[by_rank[0]]);
  return out;
}

/// The same values at other places, where there are only few different ones, as in a mask: each
/// place in turn gets the value that isn't its own and of which most are left. What keeps its
/// value, because there is no other one left, lies at the end, where host code looks last.
template <class T>
std::vector<T> exchanged(const T* values, std::int64_t n) {
  std::map<T, std::int64_t> left;
  for (std::int64_t i = 0; i < n; ++i) ++left[values[i]];
  std::vector<T> out;
  for (std::int64_t i = 0; i < n; ++i) {
    auto best = left.find(values[i]);
    for (auto it = left.begin(); it != left.end(); ++it) {
      const bool other = it->first != values[i] && it->second > 0;
      if (other && (best->first == values[i] || it->second > best->second)) best = it;
    }
    out.push_back(best->first);
    --best->second;
  }
  return out;
}

template <class T>
bool few_values(const T* values, std::int64_t n) {
  std::set<T> distinct;
  for (std::int64_t i = 0; i < n && distinct.size() <= kFewValues; ++i) {
    if (values[i] != values[i]) return false;  // NaN has no place in an order
    distinct.insert(values[i]);
  }
  return distinct.size() <= kFewValues;
}

template <class T>
std::vector<T> other_order(const T* values, std::int64_t n) {
  const bool few = n > static_cast<std::int64_t>(kFewValues) && few_values(values, n);
  return few ? exchanged(values, n) : turned_over(values, n);
}

/// `flat` is one dimension of f32 on the host.
void redraw_floats(const at::Tensor& flat, Draw& draw) {
  const std::int64_t n = flat.numel();
  auto* values = flat.mutable_data_ptr<float>();
  const bool ranked = n <= kRanked;
  const std::vector<float> from =
      ranked ? other_order(values, n) : std::vector<float>(values, values + n);
  const Statistics s = statistics_of(values, n);
  for (std::int64_t i = 0; i < n; ++i) {
    float v = from[static_cast<std::size_t>(ranked ? i : draw.below(n))];
    if (!s.few && std::isfinite(v)) {
      // One value alone has no deviation to move by.
      const double step = s.deviation > 0 ? s.deviation : std::abs(v) + 1.0;
      v = static_cast<float>(v + kMove * step * draw.sign_unit());
      if (s.low < s.high) v = std::clamp(v, s.low, s.high);
    }
    values[i] = v;
  }
}

/// Every value moves to another place.
void permute_bytes(const at::Tensor& flat, Draw& draw) {
  const std::int64_t n = flat.numel();
  const auto size = static_cast<std::int64_t>(flat.itemsize());
  auto* bytes = static_cast<std::byte*>(flat.mutable_data_ptr());
  for (std::int64_t i = n - 1; i > 0; --i) {
    const std::int64_t j = draw.below(i);  // Sattolo's: no element stays where it is
    std::swap_ranges(bytes + i * size, bytes + (i + 1) * size, bytes + j * size);
  }
}

void redraw_one(const at::Tensor& tensor, Redraw what, Draw& draw) {
  const bool floats = tensor.is_floating_point() || tensor.is_complex();
  if (tensor.numel() == 0 || what == Redraw::kNone || (!floats && what == Redraw::kFloats)) return;
  const at::Tensor memory = flat_memory(tensor);
  if (!floats) {
    const bool ranked = memory.numel() <= kRanked;
    at::Tensor host = ranked ? memory.cpu().to(at::kLong, false, /*copy=*/true) : memory.cpu();
    if (ranked) {
      const auto turned = other_order(host.const_data_ptr<std::int64_t>(), host.numel());
      std::copy(turned.begin(), turned.end(), host.mutable_data_ptr<std::int64_t>());
      memory.copy_(host);
      return;
    }
    permute_bytes(host, draw);
    if (!memory.device().is_cpu()) memory.copy_(host);
    return;
  }
  const at::Tensor real = tensor.is_complex() ? at::view_as_real(memory).reshape({-1}) : memory;
  const at::Tensor host = real.cpu().to(at::kFloat).contiguous().clone();
  redraw_floats(host, draw);
  if (tensor.is_complex()) {
    at::view_as_real(memory).copy_(host.view({-1, 2}));
  } else {
    memory.copy_(host);
  }
}

}  // namespace

std::vector<at::Tensor> redraw(const std::vector<at::Tensor>& tensors, Redraw what) {
  std::vector<at::Tensor> copies = private_copies(tensors);
  Draw draw(0x6d6f6e6f67726170);
  for (const at::Tensor& copy : copies) redraw_one(copy, what, draw);
  return copies;
}

}  // namespace monograph::trace
