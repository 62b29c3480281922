// Arithmetic on sizes: the Python operators that exported graphs apply to symbolic numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace monograph::importer {

using Number = std::variant<bool, std::int64_t, double>;

/// The value of Python's operator or function `target` ("_operator.floordiv", "torch.sym_max") on
/// `args`, with Python's rules (floor division and modulo round down). Nothing if the target is
/// unknown, the number of arguments is wrong, or the result doesn't exist (division by zero,
/// overflow of 64 bits).
std::optional<Number> evaluate_number(std::string_view target, const std::vector<Number>& args);

/// True if `evaluate_number` knows `target`.
bool is_number_op(std::string_view target) noexcept;

double as_double(const Number& number) noexcept;

}  // namespace monograph::importer
