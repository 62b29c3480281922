// What is known about operators beyond their schemas and tags: one row per fact, in order of name.
// Names are "aten::linear" for every overload or "aten::lstm.input" for one.
#pragma once

#include <array>
#include <string_view>

namespace monograph::trace {

/// Composite operators that are recorded whole. Everything else that has a
/// CompositeImplicitAutograd kernel is recorded as the operators that kernel calls, so the graph is
/// the same on every device. An operator belongs here if back ends have better kernels for the
/// whole (attention, norms), if its own kernel chooses by device what it calls (rnn, batch_norm),
/// or if it computes in a way the recorder can't see (max_pool1d and one_hot read memory on the
/// host, fft_hfft and its kin conjugate lazily). Each runs when called whole.
inline constexpr std::array kKeptComposites = std::to_array<std::string_view>({
    "aten::batch_norm",
    "aten::conv1d",
    "aten::conv2d",
    "aten::conv3d",
    "aten::conv_transpose1d",
    "aten::conv_transpose2d",
    "aten::conv_transpose3d",
    "aten::dropout",
    "aten::fft_hfft",
    "aten::fft_hfft2",
    "aten::fft_hfftn",
    "aten::group_norm",
    "aten::gru.input",
    "aten::instance_norm",
    "aten::layer_norm",
    "aten::linear",
    "aten::lstm.input",
    "aten::max_pool1d",
    "aten::one_hot",
    "aten::rms_norm",
    "aten::rnn_relu.input",
    "aten::rnn_tanh.input",
    "aten::scaled_dot_product_attention",
});

/// Operators on a number whose own kernel does nothing but wrap it and call the form that takes a
/// tensor. They are recorded as that form with the number as argument, as graphs from other sources
/// have it, and because only that form writes into given memory without a temporary.
struct NumberForm {
  std::string_view name;
  std::string_view tensor_overload;
};
inline constexpr std::array kNumberForms = std::to_array<NumberForm>({
    {"aten::add.Scalar", "Tensor"},
    {"aten::add_.Scalar", "Tensor"},
    {"aten::div.Scalar", "Tensor"},
    {"aten::div.Scalar_mode", "Tensor_mode"},
    {"aten::div_.Scalar", "Tensor"},
    {"aten::div_.Scalar_mode", "Tensor_mode"},
    {"aten::mul.Scalar", "Tensor"},
    {"aten::mul_.Scalar", "Tensor"},
    {"aten::sub.Scalar", "Tensor"},
    {"aten::sub_.Scalar", "Tensor"},
});

/// Operators that give the host something other than tensors, from metadata alone; they run and
/// leave no node. Any other such operator reads values and is refused.
inline constexpr std::array kMetadataOps = std::to_array<std::string_view>({
    "aten::_assert_tensor_metadata",
    "aten::_debug_has_internal_overlap",
    "aten::_fused_sdp_choice",
    "aten::_has_compatible_shallow_copy_type",
    "aten::_has_same_storage_numel",
    "aten::_is_zerotensor",
    "aten::_use_cudnn_ctc_loss",
    "aten::is_pinned",
    "aten::is_same_size",
    "aten::is_set_to",
    "aten::record_stream",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
});

/// Operators that read tensor values on the host although no tag says so.
inline constexpr std::array kUntaggedDataDependent = std::to_array<std::string_view>({
    "aten::_choose_qparams_per_tensor",
    "aten::_linalg_check_errors",
    "aten::_pack_padded_sequence",
    "aten::_unique",
    "aten::is_nonzero",
    "aten::tensor_split.tensor_indices_or_sections",
});

/// Results whose contents are undefined until written.
inline constexpr std::array kUndefinedContents = std::to_array<std::string_view>({
    "aten::empty",
    "aten::empty_like",
    "aten::empty_permuted",
    "aten::empty_strided",
    "aten::new_empty",
    "aten::new_empty_strided",
});

/// Results that take shape and type, but no values, from tensor arguments.
inline constexpr std::array kValueFreeFactories = std::to_array<std::string_view>({
    "aten::empty_like",
    "aten::full_like",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::new_full",
    "aten::new_ones",
    "aten::new_zeros",
    "aten::ones_like",
    "aten::zeros_like",
});

/// Operators whose result can't be described by memory and a type.
struct Unrepresentable {
  std::string_view name;
  std::string_view reason;
};
inline constexpr std::array kUnrepresentable = std::to_array<Unrepresentable>({
    {"aten::_conj", "its result is conjugated lazily: the memory doesn't hold the values"},
    {"aten::_efficientzerotensor", "its result has no memory"},
    {"aten::_neg_view", "its result is negated lazily: the memory doesn't hold the values"},
});

/// Writes that a schema hides: `argument` is written if the flag `when` is true.
struct HiddenWrite {
  std::string_view name;
  std::string_view argument;
  std::string_view when;
};
inline constexpr std::array kHiddenWrites = std::to_array<HiddenWrite>({
    {"aten::_batch_norm_impl_index", "running_mean", "training"},
    {"aten::_batch_norm_impl_index", "running_var", "training"},
    {"aten::batch_norm", "running_mean", "training"},
    {"aten::batch_norm", "running_var", "training"},
    {"aten::cudnn_batch_norm", "running_mean", "training"},
    {"aten::cudnn_batch_norm", "running_var", "training"},
    {"aten::instance_norm", "running_mean", "use_input_stats"},
    {"aten::instance_norm", "running_var", "use_input_stats"},
    {"aten::native_batch_norm", "running_mean", "training"},
    {"aten::native_batch_norm", "running_var", "training"},
});

}  // namespace monograph::trace
