#include "capture/import/scalar_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace monograph::importer {
namespace {

using Result = std::optional<Number>;
using Args = std::vector<Number>;

bool is_real(const Number& n) noexcept {
  return std::holds_alternative<double>(n);
}

std::int64_t as_int(const Number& n) noexcept {
  if (const auto* b = std::get_if<bool>(&n)) return *b ? 1 : 0;
  if (const auto* i = std::get_if<std::int64_t>(&n)) return *i;
  return 0;
}

Result whole(double value) {
  // The bounds are exact as doubles; NaN fails both comparisons.
  if (!(value >= -0x1p63 && value < 0x1p63)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

/// Applies one of two functions: on integers, with overflow reported, or on reals.
template <class Int, class Real>
Result arithmetic(const Args& a, Int&& on_ints, Real&& on_reals) {
  if (is_real(a[0]) || is_real(a[1])) return Number(on_reals(as_double(a[0]), as_double(a[1])));
  std::int64_t out = 0;
  if (on_ints(as_int(a[0]), as_int(a[1]), &out)) return std::nullopt;
  return out;
}

template <class Compare>
Result compare(const Args& a, Compare&& holds) {
  if (is_real(a[0]) || is_real(a[1])) return Number(holds(as_double(a[0]), as_double(a[1])));
  return Number(holds(as_int(a[0]), as_int(a[1])));
}

Result add(const Args& a) {
  return arithmetic(
      a, [](auto x, auto y, auto* r) { return __builtin_add_overflow(x, y, r); },
      [](double x, double y) { return x + y; });
}
Result sub(const Args& a) {
  return arithmetic(
      a, [](auto x, auto y, auto* r) { return __builtin_sub_overflow(x, y, r); },
      [](double x, double y) { return x - y; });
}
Result mul(const Args& a) {
  return arithmetic(
      a, [](auto x, auto y, auto* r) { return __builtin_mul_overflow(x, y, r); },
      [](double x, double y) { return x * y; });
}
bool undefined_quotient(std::int64_t x, std::int64_t y) {
  return y == 0 || (x == std::numeric_limits<std::int64_t>::min() && y == -1);
}
Result floordiv(const Args& a) {
  if ((is_real(a[0]) || is_real(a[1])) && as_double(a[1]) == 0) return std::nullopt;
  return arithmetic(
      a,
      [](std::int64_t x, std::int64_t y, std::int64_t* r) {
        if (undefined_quotient(x, y)) return true;
        *r = x / y - ((x % y != 0 && (x < 0) != (y < 0)) ? 1 : 0);
        return false;
      },
      [](double x, double y) { return std::floor(x / y); });
}
Result mod(const Args& a) {
  if ((is_real(a[0]) || is_real(a[1])) && as_double(a[1]) == 0) return std::nullopt;
  return arithmetic(
      a,
      [](std::int64_t x, std::int64_t y, std::int64_t* r) {
        if (undefined_quotient(x, y)) return true;
        *r = x % y + ((x % y != 0 && (x < 0) != (y < 0)) ? y : 0);
        return false;
      },
      [](double x, double y) { return x - y * std::floor(x / y); });
}
Result truediv(const Args& a) {
  if (as_double(a[1]) == 0) return std::nullopt;
  return Number(as_double(a[0]) / as_double(a[1]));
}
Result power(const Args& a) {
  if (is_real(a[0]) || is_real(a[1]) || as_int(a[1]) < 0) {
    return Number(std::pow(as_double(a[0]), as_double(a[1])));
  }
  std::int64_t out = 1;
  const std::int64_t base = as_int(a[0]);
  const std::int64_t exponent = as_int(a[1]);
  if (base == 0 || base == 1) return Number(exponent == 0 ? std::int64_t{1} : base);
  if (base == -1) return Number(std::int64_t{exponent % 2 == 0 ? 1 : -1});
  for (std::int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(out, base, &out)) return std::nullopt;
  }
  return out;
}
Result neg(const Args& a) {
  if (is_real(a[0])) return Number(-as_double(a[0]));
  return sub({std::int64_t{0}, a[0]});
}
Result shift(const Args& a, bool left) {
  const std::int64_t by = as_int(a[1]);
  if (is_real(a[0]) || is_real(a[1]) || by < 0 || by > 62) return std::nullopt;
  if (!left) return Number(as_int(a[0]) >> by);
  return mul({as_int(a[0]), std::int64_t{1} << by});
}
bool truth(const Number& n) {
  return is_real(n) ? as_double(n) != 0 : as_int(n) != 0;
}
Result logic(const Args& a, bool both) {
  if (is_real(a[0]) || is_real(a[1])) return std::nullopt;
  const bool bools = std::holds_alternative<bool>(a[0]) && std::holds_alternative<bool>(a[1]);
  const std::int64_t value = both ? as_int(a[0]) & as_int(a[1]) : as_int(a[0]) | as_int(a[1]);
  return bools ? Number(value != 0) : Number(value);
}
Result greatest(const Args& a, bool most) {
  const bool second = most ? as_double(a[1]) > as_double(a[0]) : as_double(a[1]) < as_double(a[0]);
  return a[second ? 1 : 0];
}

struct Row {
  std::string_view target;
  std::size_t arguments;
  Result (*value)(const Args&);
};

constexpr auto kRows = std::to_array<Row>({
    {"_operator.add", 2, add},
    {"_operator.and_", 2, [](const Args& a) { return logic(a, true); }},
    {"_operator.eq", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x == y; }); }},
    {"_operator.floordiv", 2, floordiv},
    {"_operator.ge", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x >= y; }); }},
    {"_operator.gt", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x > y; }); }},
    {"_operator.le", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x <= y; }); }},
    {"_operator.lshift", 2, [](const Args& a) { return shift(a, true); }},
    {"_operator.lt", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x < y; }); }},
    {"_operator.mod", 2, mod},
    {"_operator.mul", 2, mul},
    {"_operator.ne", 2,
     [](const Args& a) { return compare(a, [](auto x, auto y) { return x != y; }); }},
    {"_operator.neg", 1, neg},
    {"_operator.or_", 2, [](const Args& a) { return logic(a, false); }},
    {"_operator.pos", 1, [](const Args& a) { return Result(a[0]); }},
    {"_operator.pow", 2, power},
    {"_operator.rshift", 2, [](const Args& a) { return shift(a, false); }},
    {"_operator.sub", 2, sub},
    {"_operator.truediv", 2, truediv},
    {"math.ceil", 1,
     [](const Args& a) {
       return is_real(a[0]) ? whole(std::ceil(as_double(a[0]))) : Result(as_int(a[0]));
     }},
    {"math.floor", 1,
     [](const Args& a) {
       return is_real(a[0]) ? whole(std::floor(as_double(a[0]))) : Result(as_int(a[0]));
     }},
    {"math.sqrt", 1, [](const Args& a) { return Result(std::sqrt(as_double(a[0]))); }},
    {"math.trunc", 1,
     [](const Args& a) { return is_real(a[0]) ? whole(as_double(a[0])) : Result(as_int(a[0])); }},
    {"torch._sym_sqrt", 1, [](const Args& a) { return Result(std::sqrt(as_double(a[0]))); }},
    {"torch.sym_float", 1, [](const Args& a) { return Result(as_double(a[0])); }},
    {"torch.sym_int", 1,
     [](const Args& a) { return is_real(a[0]) ? whole(as_double(a[0])) : Result(as_int(a[0])); }},
    {"torch.sym_ite", 3, [](const Args& a) { return Result(truth(a[0]) ? a[1] : a[2]); }},
    {"torch.sym_max", 2, [](const Args& a) { return greatest(a, true); }},
    {"torch.sym_min", 2, [](const Args& a) { return greatest(a, false); }},
    {"torch.sym_not", 1, [](const Args& a) { return Result(!truth(a[0])); }},
    {"torch.sym_sqrt", 1, [](const Args& a) { return Result(std::sqrt(as_double(a[0]))); }},
});

const Row* find(std::string_view target) noexcept {
  const auto* const at =
      std::ranges::find_if(kRows, [target](const Row& row) { return row.target == target; });
  return at == kRows.end() ? nullptr : at;
}

}  // namespace

double as_double(const Number& number) noexcept {
  return is_real(number) ? std::get<double>(number) : static_cast<double>(as_int(number));
}

bool is_number_op(std::string_view target) noexcept {
  return find(target) != nullptr;
}

std::optional<Number> evaluate_number(std::string_view target, const std::vector<Number>& args) {
  const Row* row = find(target);
  if (row == nullptr || args.size() != row->arguments) return std::nullopt;
  return row->value(args);
}

}  // namespace monograph::importer
