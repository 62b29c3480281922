#include "capture/ir/literals.h"

#include <limits>
#include <optional>
#include <string>

#include "capture/ir/spelling.h"

namespace monograph::ir {
namespace {

/// The enumerator of E from 0 to `last` whose `spell` is `name`.
template <class E, class Spell>
std::optional<E> enum_from_name(std::string_view name, E last, Spell spell) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    if (spell(static_cast<E>(i)) == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

DeviceType read_device_type(Cursor& cursor) {
  const std::size_t position = cursor.position();
  const auto type = enum_from_name(cursor.word("a device"), DeviceType::kMeta, [](DeviceType t) {
    return short_device({t, -1});
  });
  if (!type) cursor.fail_at(position, "expected cpu, cuda or meta");
  return *type;
}

std::int32_t read_device_index(Cursor& cursor) {
  const std::size_t position = cursor.position();
  const std::int64_t index = cursor.natural("a device's index");
  if (index > std::numeric_limits<std::int32_t>::max()) {
    cursor.fail_at(position, "expected a device's index of at most 31 bits");
  }
  return static_cast<std::int32_t>(index);
}

/// What follows the word "device": "(type='cuda', index=0)"
Device read_device(Cursor& cursor) {
  Device device;
  cursor.expect('(');
  cursor.expect_word("type");
  cursor.expect('=');
  cursor.expect('\'');
  device.type = read_device_type(cursor);
  cursor.expect('\'');
  if (cursor.accept(',')) {
    cursor.expect_word("index");
    cursor.expect('=');
    device.index = read_device_index(cursor);
  }
  cursor.expect(')');
  return device;
}

/// What follows the word "complex": "(1.0, -0.0)"
std::complex<double> read_complex(Cursor& cursor) {
  const auto real = [&] {
    return std::visit([](auto v) { return static_cast<double>(v); }, cursor.number());
  };
  cursor.expect('(');
  const double re = real();
  cursor.expect(',');
  const double im = real();
  cursor.expect(')');
  return {re, im};
}

}  // namespace

StorageKind read_storage_kind(Cursor& cursor) {
  const std::size_t position = cursor.position();
  const auto kind = storage_kind_from_name(cursor.word("a storage kind"));
  if (!kind) {
    cursor.fail_at(position, "expected input, parameter, buffer, constant, state or intermediate");
  }
  return *kind;
}

Device read_short_device(Cursor& cursor) {
  Device device;
  device.type = read_device_type(cursor);
  if (cursor.accept(':')) device.index = read_device_index(cursor);
  return device;
}

std::vector<std::int64_t> read_naturals(Cursor& cursor, const char* what) {
  std::vector<std::int64_t> values;
  cursor.expect('[');
  if (cursor.accept(']')) return values;
  do {
    values.push_back(cursor.natural(what));
  } while (cursor.accept(','));
  cursor.expect(']');
  return values;
}

void read_trait(Cursor& cursor, Traits& traits) {
  if (cursor.accept_word("random")) {
    traits.random = true;
  } else if (cursor.accept_word("nondeterministic")) {
    traits.nondeterministic = true;
  } else {
    cursor.fail("'random' or 'nondeterministic'");
  }
}

Arg read_literal(Cursor& cursor) {
  const char c = cursor.peek();
  if (c == '"') return cursor.string("a string");
  if (c == '-' || c == 'i' || c == 'n' || (c >= '0' && c <= '9')) {  // i and n: inf and nan
    return std::visit([](auto v) { return Arg(v); }, cursor.number());
  }
  if (cursor.accept_word("None")) return {};
  if (cursor.accept_word("True")) return true;
  if (cursor.accept_word("False")) return false;
  if (cursor.accept_word("complex")) return read_complex(cursor);
  if (cursor.accept_word("device")) return read_device(cursor);
  const std::size_t position = cursor.position();
  const std::string word = cursor.word("an argument");
  if (const auto dtype = dtype_from_python_name(word)) return *dtype;
  if (word == "torch.undefined") return DType::kUndefined;
  if (const auto v = enum_from_name(word, Layout::kOther, layout_name)) return *v;
  if (const auto v = enum_from_name(word, MemoryFormat::kChannelsLast3d, memory_format_name)) {
    return *v;
  }
  cursor.fail_at(position, "expected an argument, found " + quoted(word));
}

}  // namespace monograph::ir
