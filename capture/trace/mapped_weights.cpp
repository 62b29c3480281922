#include "capture/trace/mapped_weights.h"

#include <ATen/ops/zeros.h>

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "capture/trace/dispatch_key.h"

namespace monograph::trace {
namespace {

thread_local const MappedWeights* innermost = nullptr;

/// Products with smaller weights cost less than they would be worth leaving out.
constexpr std::size_t kLargeBytes = std::size_t{256} << 10U;

std::span<const std::byte> bytes_of(const c10::StorageImpl& storage) {
  return {static_cast<const std::byte*>(storage.data()), storage.nbytes()};
}

/// A product of matrices: which arguments it multiplies and adds. Its result is row-major.
struct Product {
  std::string_view name;
  std::size_t left;
  std::size_t right;
  std::optional<std::size_t> addend;
};

constexpr auto kProducts = std::to_array<Product>({
    {"aten::linear", 0, 1, 2},
    {"aten::mm", 0, 1, std::nullopt},
    {"aten::addmm", 1, 2, 0},
    {"aten::bmm", 0, 1, std::nullopt},
    {"aten::baddbmm", 1, 2, 0},
});

const Product* product_of(const c10::FunctionSchema& schema) {
  if (!schema.overload_name().empty()) return nullptr;
  for (const Product& product : kProducts) {
    if (schema.name() == product.name) return &product;
  }
  return nullptr;
}

/// True if shapes `from` broadcasts to `to`.
bool broadcasts(at::IntArrayRef from, at::IntArrayRef to) {
  if (from.size() > to.size()) return false;
  for (std::size_t i = 1; i <= from.size(); ++i) {
    const std::int64_t size = from[from.size() - i];
    if (size != 1 && size != to[to.size() - i]) return false;
  }
  return true;
}

/// Sizes of the result, or nothing if the call is faulty or unusual.
std::optional<std::vector<std::int64_t>> result_sizes(const Product& product, const at::Tensor& a,
                                                      const at::Tensor& b) {
  const bool linear = product.name == "aten::linear";
  const bool batched = product.name == "aten::bmm" || product.name == "aten::baddbmm";
  const std::int64_t rank = batched ? 3 : 2;
  if (b.dim() != rank || (linear ? a.dim() < 1 : a.dim() != rank)) return std::nullopt;
  if (a.size(-1) != b.size(linear ? 1 : -2) || (batched && a.size(0) != b.size(0))) {
    return std::nullopt;
  }
  std::vector<std::int64_t> sizes = a.sizes().vec();
  sizes.back() = linear ? b.size(0) : b.size(-1);
  return sizes;
}

}  // namespace

MappedWeights::MappedWeights(const importer::MappedFile& file) : file_(file), outer_(innermost) {
  innermost = this;
}

MappedWeights::~MappedWeights() {
  innermost = outer_;
}

const MappedWeights* MappedWeights::current() noexcept {
  return innermost;
}

bool MappedWeights::hold(const c10::StorageImpl& storage) const {
  return storage.device().is_cpu() && storage.data() != nullptr && file_.holds(bytes_of(storage));
}

bool MappedWeights::written(const c10::StorageImpl& storage) const {
  return file_.differs(bytes_of(storage));
}

bool MappedWeights::skip(const c10::OperatorHandle& op, torch::jit::Stack* stack) const {
  const Product* product = product_of(op.schema());
  if (product == nullptr) return false;
  const std::size_t count = op.schema().arguments().size();
  const c10::IValue* arguments = stack->data() + (stack->size() - count);
  if (!arguments[product->left].isTensor() || !arguments[product->right].isTensor()) return false;
  const at::Tensor a = arguments[product->left].toTensor();
  const at::Tensor b = arguments[product->right].toTensor();
  const auto large = [this](const at::Tensor& t) {
    return t.defined() && t.has_storage() && t.nbytes() >= kLargeBytes &&
           hold(*t.storage().unsafeGetStorageImpl());
  };
  if (!large(a) && !large(b)) return false;
  const bool plain =
      a.defined() && b.defined() && a.device() == b.device() && a.scalar_type() == b.scalar_type();
  const auto sizes = plain ? result_sizes(*product, a, b) : std::nullopt;
  if (!sizes) return false;
  if (product->addend && arguments[*product->addend].isTensor()) {
    const at::Tensor c = arguments[*product->addend].toTensor();
    if (c.defined() && (c.scalar_type() != a.scalar_type() || c.device() != a.device() ||
                        !broadcasts(c.sizes(), *sizes))) {
      return false;
    }
  }
  const RecordingPause pause;
  at::Tensor result = at::zeros(*sizes, a.options());
  stack->resize(stack->size() - count);
  stack->emplace_back(std::move(result));
  return true;
}

}  // namespace monograph::trace
