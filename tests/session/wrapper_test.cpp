// The wrapper, row by row of docs/wrapper.md. What it checks is in wrapper_checks_test.cpp.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <c10/core/AutogradState.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <monograph/compiled_module.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "capture/trace/dispatch_key.h"
#include "capture/trace/global_state.h"
#include "tests/session/support.h"

namespace monograph::test {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

/// A folder of its own that goes away.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& name)
      : path_(fs::temp_directory_path() / (name + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string contents(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// --- guards ---

class WithoutGuards : public testing::TestWithParam<Mode> {};

TEST_P(WithoutGuards, LaterCallsCheckNothingButShapesAndNeverRunForward) {
  const Layer layer;
  CompiledModule compiled(layer.module(), with_mode(GetParam()));
  const Tensor x = at::randn({3, 4});
  compiled({x});
  const int runs = *layer.runs;
  EXPECT_EQ(runs, 2) << "one trace, one forward on other data";
  {
    const c10::NoGradGuard no_grad;
    const c10::InferenceMode inference;
    compiled({x});
  }
  at::globalContext().setDeterministicAlgorithms(true, true);
  compiled({x});
  at::globalContext().setDeterministicAlgorithms(false, false);
  layer.b.add_(1);  // a new version; the replay reads the new values
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "new values");
  EXPECT_EQ(*layer.runs, runs) << "a later call ran forward";
  EXPECT_EQ(compiled.counters().traces, 1U);
  EXPECT_EQ(compiled.counters().calls, 4U);
  EXPECT_EQ(compiled.counters().replays, 4U);
}
INSTANTIATE_TEST_SUITE_P(Modes, WithoutGuards, testing::Values(Mode::kTraceOnce, Mode::kFull));

TEST(StockMode, EveryGuardRetraces) {
  Tensor w = at::randn({4, 4});
  Module module;
  module.forward = [&w](const Tensors& in) -> Tensors { return {at::matmul(in[0], w)}; };
  module.list_tensors = [&w] { return std::vector<NamedTensor>{{"w", w, false}}; };
  module.tensors = module.list_tensors();
  CompiledModule compiled(module, with_mode(Mode::kStock));
  const Tensor x = at::randn({3, 4});
  std::uint64_t traces = 0;
  const auto misses = [&](const char* guard) {
    expect_close(compiled({x})[0], at::matmul(x, w), 2e-2, guard);
    EXPECT_EQ(compiled.counters().traces, ++traces) << guard;
    compiled({x});
    EXPECT_EQ(compiled.counters().traces, traces) << guard << " holds now";
  };
  misses("the first call");
  {
    const c10::NoGradGuard guard;
    misses("grad mode");
  }
  {
    const c10::InferenceMode guard;
    misses("inference mode");
  }
  at::set_default_dtype(caffe2::TypeMeta::Make<double>());
  misses("default dtype");
  at::set_default_dtype(caffe2::TypeMeta::Make<float>());
  at::globalContext().setDeterministicAlgorithms(true, true);
  misses("deterministic algorithms");
  at::globalContext().setDeterministicAlgorithms(false, false);
  at::globalContext().setFloat32MatmulPrecision("high");
  misses("precision");
  at::globalContext().setFloat32MatmulPrecision("highest");
  compiled({x});
  EXPECT_EQ(compiled.counters().traces, traces) << "what was compiled before still stands";
  w.mul_(2);
  misses("version of a parameter");
  w = at::randn({4, 4});
  misses("identity of a parameter");
  w.set_data(at::randn({4, 4}));
  misses("memory of a parameter");
}

TEST(StockMode, AutocastIsAGuard) {
  const Layer layer;
  CompiledModule compiled(layer.module(), with_mode(Mode::kStock));
  const Tensor x = at::randn({3, 4});
  EXPECT_EQ(compiled({x})[0].scalar_type(), at::kFloat);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto dtype = compiled({x})[0].scalar_type();
  EXPECT_EQ(dtype, layer.want(x).scalar_type());
  at::autocast::set_autocast_enabled(at::kCPU, false);
  EXPECT_EQ(compiled.counters().traces, 2U);
}

TEST(StockMode, LimitsPerModuleAndInAll) {
  EXPECT_EQ(Options{}.recompile_limit, 2048);
  EXPECT_EQ(Options{}.total_recompile_limit, 8192);
  const Layer layer;
  Options options = with_mode(Mode::kStock);
  options.recompile_limit = 2;
  CompiledModule compiled(layer.module(), options);
  for (const std::int64_t rows : {1, 2, 3, 3, 4}) {
    const Tensor x = at::randn({rows, 4});
    expect_close(compiled({x})[0], layer.want(x), 1e-5, "beyond the limit, too");
  }
  EXPECT_EQ(compiled.counters().compiles, 2U);
  EXPECT_EQ(compiled.counters().eager, 3U);
  const Tensor x = at::randn({1, 4});
  compiled({x});
  EXPECT_EQ(compiled.counters().eager, 3U) << "what is compiled replays";

  options.on_limit = OnLimit::kError;
  CompiledModule strict(layer.module(), options);
  strict({at::randn({1, 4})});
  strict({at::randn({2, 4})});
  const Error error = caught([&] { strict({at::randn({3, 4})}); });
  EXPECT_EQ(error.code(), Code::kInvalidState);
  EXPECT_THAT(error.what(), HasSubstr("this module's limit of 2 compilations"));

  options.recompile_limit = 2048;
  options.total_recompile_limit = 4;  // both wrappers above hold two each
  CompiledModule third(layer.module(), options);
  EXPECT_THAT(caught([&] {
                third({at::randn({1, 4})});
              }).what(),
              HasSubstr("the limit of 4 compilations of all modules"));
}

TEST(StockMode, LimitsDontConcernOtherModes) {
  const Layer layer;
  Options options;
  options.recompile_limit = 1;
  options.on_limit = OnLimit::kError;
  CompiledModule compiled(layer.module(), options);
  for (const std::int64_t rows : {1, 2, 3}) compiled({at::randn({rows, 4})});
  EXPECT_EQ(compiled.counters().compiles, 3U);
}

// --- back ends and options ---

TEST(BackEnds, ByNameOrAsAnObject) {
  const Layer layer;
  const Tensor x = at::randn({3, 4});
  Options options;
  options.backend = "host";
  CompiledModule by_name(layer.module(), options);
  EXPECT_EQ(by_name.prepare({x}).report().backend, "host");

  options.backend = "auto";
  options.backend_object = Faulty::backend();
  CompiledModule by_object(layer.module(), options);
  EXPECT_EQ(by_object.prepare({x}).report().backend, "faulty");
  expect_close(by_object({x})[0], layer.want(x), 1e-5, "as an object");

  options.backend = "host";
  EXPECT_THAT(caught([&] { CompiledModule(layer.module(), options); }).what(),
              HasSubstr("both a back end object ('faulty') and the name 'host'"));
}

TEST(BackEnds, OptionsOfAnotherOneAreRefusedByName) {
  const Layer layer;
  Options options;
  options.backend = "host";
  options.backend_options = {{"cuda.streams", "2"}};
  const Error foreign = caught([&] { CompiledModule(layer.module(), options); });
  EXPECT_EQ(foreign.code(), Code::kInvalidOption);
  EXPECT_THAT(foreign.what(), HasSubstr("option 'cuda.streams' is for back end 'cuda'"));

  options.backend_options = {{"host.turbo", "on"}};
  EXPECT_THAT(caught([&] { CompiledModule(layer.module(), options); }).what(),
              HasSubstr("back end 'host' has no option 'turbo'"));

  options.backend_options.clear();
  options.cuda_driver = "libnone.so";
  EXPECT_THAT(caught([&] { CompiledModule(layer.module(), options); }).what(),
              HasSubstr("option 'cuda_driver' is for back end 'cuda'"));

  options = {};
  options.backend_object = Faulty::backend();
  options.backend_options = {{"faulty.level", "1"}};
  CompiledModule compiled(layer.module(), options);
  EXPECT_EQ(compiled({at::randn({3, 4})}).size(), 1U);
}

TEST(BackEnds, AnExceptionInAReplayLeavesWrapperAndModuleUsable) {
  const Layer layer;
  Options options;
  options.backend_object = Faulty::backend();
  CompiledModule compiled(layer.module(), options);
  const Tensor x = at::randn({3, 4});
  compiled({x});
  for (int i = 0; i < 2; ++i) {
    Faulty::fails = true;
    EXPECT_EQ(caught([&] { compiled({x}); }).code(), Code::kDeviceFault);
    Faulty::fails = false;
    const Tensor fresh = at::randn({3, 4});
    expect_close(compiled({fresh})[0], layer.want(fresh), 1e-5, "the wrapper afterwards");
    expect_close(layer({fresh})[0], layer.want(fresh), 1e-5, "the module afterwards");
  }
  EXPECT_EQ(compiled.counters().traces, 1U);
  EXPECT_FALSE(c10::InferenceMode::is_enabled());
}

TEST(FullGraph, NothingIsSplitOrRunEagerlyUnasked) {
  Module module;
  int runs = 0;
  module.forward = [&runs](const Tensors& in) -> Tensors {
    ++runs;
    return {in[0].index({in[0] > 0})};
  };
  CompiledModule compiled(module);
  const Tensor x = at::randn({5});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(caught([&] { compiled({x}); }).code(), Code::kRejectedDynamicShape);
  }
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(compiled.counters().eager, 0U);
  EXPECT_EQ(compiled.counters().replays, 0U);
}

// --- the compilation context ---

/// Switches everything that there is to switch, and throws if told to.
void switch_everything() {
  c10::GradMode::set_enabled(false);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  at::autocast::set_autocast_dtype(at::kCPU, at::kHalf);
  at::autocast::set_autocast_cache_enabled(false);
  at::set_default_dtype(caffe2::TypeMeta::Make<double>());
  at::globalContext().setDeterministicAlgorithms(true, true);
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setBenchmarkCuDNN(true);
  at::globalContext().setFloat32MatmulPrecision("high");
  at::globalContext().setSDPUseFlash(false);
  at::globalContext().setFlushDenormal(true);
  at::set_num_threads(3);
}

TEST(CompilationContext, EveryPieceOfStateIsPutBackAlsoAfterExceptions) {
  const auto before = trace::GlobalState::read();
  for (const bool throws : {false, true}) {
    Module module;
    module.forward = [throws](const Tensors& in) -> Tensors {
      switch_everything();
      if (throws) throw std::domain_error("not today");
      return {in[0] * 2};
    };
    CompiledModule compiled(module);
    const Tensor x = at::randn({3});
    if (throws) {
      EXPECT_THROW(compiled({x}), std::domain_error);
    } else {
      EXPECT_EQ(caught([&] { compiled({x}); }).code(), Code::kRejectedGlobalState);
    }
    EXPECT_EQ(trace::GlobalState::read().difference(before), "");
    EXPECT_TRUE(c10::GradMode::is_enabled());
    EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
    EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kBFloat16);
    EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
    EXPECT_EQ(at::get_default_dtype_as_scalartype(), at::kFloat);
    EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
    EXPECT_FALSE(at::globalContext().deterministicCuDNN());
    EXPECT_FALSE(at::globalContext().benchmarkCuDNN());
    EXPECT_EQ(at::globalContext().float32MatmulPrecision(), at::Float32MatmulPrecision::HIGHEST);
    EXPECT_TRUE(at::globalContext().userEnabledFlashSDP());
    EXPECT_FALSE(trace::is_recording());
  }
}

template <class Fn>
void switch_autograd(Fn change) {
  c10::AutogradState state = c10::AutogradState::get_tls_state();
  change(state);
  c10::AutogradState::set_tls_state(state);
}

void set_precision(at::Float32Backend library, at::Float32Op op) {
  at::globalContext().setFloat32Precision(library, op, at::Float32Precision::TF32);
}

TEST(CompilationContext, EachPieceIsNamedByItself) {
  const std::pair<const char*, void (*)()> rows[] = {
      {"grad mode", [] { c10::GradMode::set_enabled(false); }},
      {"inference mode",
       [] { switch_autograd([](c10::AutogradState& s) { s.set_inference_mode(true); }); }},
      {"forward-AD mode",
       [] { switch_autograd([](c10::AutogradState& s) { s.set_fw_grad_mode(false); }); }},
      {"dispatch keys",
       [] { c10::impl::tls_set_dispatch_key_excluded(c10::DispatchKey::Python, true); }},
      {"autocast", [] { at::autocast::set_autocast_enabled(at::kCPU, true); }},
      {"dispatch keys",
       [] { c10::impl::tls_set_dispatch_key_included(c10::DispatchKey::PythonTLSSnapshot, true); }},
      {"autocast", [] { at::autocast::set_autocast_enabled(at::kCUDA, true); }},
      {"autocast", [] { at::autocast::set_autocast_dtype(at::kCPU, at::kHalf); }},
      {"autocast", [] { at::autocast::set_autocast_dtype(at::kCUDA, at::kBFloat16); }},
      {"autocast cache", [] { at::autocast::set_autocast_cache_enabled(false); }},
      {"default dtype", [] { at::set_default_dtype(caffe2::TypeMeta::Make<double>()); }},
      {"deterministic algorithms",
       [] { at::globalContext().setDeterministicAlgorithms(true, false); }},
      {"deterministic cuDNN", [] { at::globalContext().setDeterministicCuDNN(true); }},
      {"cuDNN benchmark", [] { at::globalContext().setBenchmarkCuDNN(true); }},
      {"deterministic algorithms",
       [] { at::globalContext().setDeterministicAlgorithms(false, true); }},
      {"use of cuDNN", [] { at::globalContext().setUserEnabledCuDNN(false); }},
      {"use of oneDNN", [] { at::globalContext().setUserEnabledMkldnn(false); }},
      {"precision of f32 products", [] { at::globalContext().setFloat32MatmulPrecision("high"); }},
      {"precision of f32 products",
       [] { at::globalContext().setFloat32MatmulPrecision("medium"); }},
      {"precision of f32 products",
       [] { set_precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL); }},
      {"precision of f32 products",
       [] { set_precision(at::Float32Backend::MKLDNN, at::Float32Op::CONV); }},
      {"sums of halves in products",
       [] { at::globalContext().setAllowFP16ReductionCuBLAS(false, false); }},
      {"sums of halves in products",
       [] { at::globalContext().setAllowBF16ReductionCuBLAS(false, true); }},
      {"sums of halves in products",
       [] { at::globalContext().setAllowFP16AccumulationCuBLAS(true); }},
      {"choice of attention kernels", [] { at::globalContext().setSDPUseFlash(false); }},
      {"choice of attention kernels", [] { at::globalContext().setSDPUseMemEfficient(false); }},
      {"choice of attention kernels", [] { at::globalContext().setSDPUseMath(false); }},
      {"choice of attention kernels", [] { at::globalContext().setSDPUseCuDNN(false); }},
      {"flushing of denormals", [] { at::globalContext().setFlushDenormal(true); }},
      {"number of threads", [] { at::set_num_threads(at::get_num_threads() + 1); }},
  };
  const auto before = trace::GlobalState::read();
  for (const auto& [name, change] : rows) {
    {
      const trace::GlobalStateScope scope;
      change();
      EXPECT_EQ(trace::GlobalState::read().difference(before), name);
    }
    EXPECT_EQ(trace::GlobalState::read().difference(before), "") << name;
  }
}

/// LibTorch's setting for all libraries throws when it is asked after this.
TEST(CompilationContext, OneLibrarysOwnPrecisionIsLeftAsItIs) {
  const trace::GlobalStateScope scope;
  set_precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL);
  EXPECT_THROW((void)at::globalContext().float32MatmulPrecision(), c10::Error);
  const Layer layer;
  const Tensor x = at::randn({3, 4});
  for (const Mode mode : {Mode::kFull, Mode::kStock}) {
    CompiledModule compiled(layer.module(), with_mode(mode));
    for (int i = 0; i < 2; ++i) expect_close(compiled({x})[0], layer.want(x), 1e-5, "mixed");
    EXPECT_EQ(compiled.counters().traces, 1U);
  }
  EXPECT_EQ(at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL),
            at::Float32Precision::TF32);
}

TEST(CompilationContext, GeneratorIsLeftAlone) {
  const Layer layer;
  at::manual_seed(11);
  const Tensor want = at::randn({3});
  at::manual_seed(11);
  CompiledModule compiled(layer.module());
  compiled({at::ones({3, 4})});
  EXPECT_TRUE(at::equal(at::randn({3}), want)) << "compiling drew random numbers";
}

// --- callbacks, dumps, packages ---

TEST(Transformed, CallbacksInOrderForThisWrapperOnly) {
  const Layer layer;
  CompiledModule compiled(layer.module());
  CompiledModule another(layer.module());
  std::vector<std::string> seen;
  compiled.on_transformed([&](const Program& p) { seen.push_back("first " + p.inputs()[0].name); });
  compiled.on_transformed([&](const Program&) { throw std::runtime_error("as the test wants"); });
  compiled.on_transformed([&](const Program&) { (void)compiled({at::randn({9, 4})}); });
  compiled.on_transformed([&](const Program& p) { seen.push_back("last " + p.outputs()[0].name); });
  another({at::randn({3, 4})});
  EXPECT_TRUE(seen.empty());
  const Tensor x = at::randn({3, 4});
  expect_close(compiled({x})[0], layer.want(x), 1e-5, "with callbacks that throw");
  EXPECT_THAT(seen, testing::ElementsAre("first x", "last out_0"));
  compiled({x});
  EXPECT_EQ(seen.size(), 2U) << "once per program";
  EXPECT_EQ(caught([&] { compiled.on_transformed({}); }).code(), Code::kInvalidArgument);
}

TEST(Transformed, CodeAndRejectionsGoToTheDumpFolderOfTheEnvironment) {
  const TemporaryFolder folder("monograph_wrapper_dump");
  ::setenv("MONOGRAPH_DUMP", folder.path().c_str(), 1);
  const Layer layer;
  Options options;
  options.name = "layer";
  for (int i = 0; i < 2; ++i) {
    CompiledModule compiled(layer.module(), options);
    compiled({at::randn({3, 4})});
  }
  const Counting counting;
  options.name = "counting";
  CompiledModule rejected(counting.module(), options);
  EXPECT_THROW(rejected({at::randn({2})}), RejectedError);
  ::unsetenv("MONOGRAPH_DUMP");
  const std::string code = contents(folder.path() / "layer" / "f32_3x4" / "transformed_code.py");
  EXPECT_THAT(code, HasSubstr("def forward("));
  EXPECT_EQ(contents(folder.path() / "layer" / "f32_3x4-2" / "transformed_code.py"), code)
      << "never overwritten: the second has a folder of its own";
  const std::string reason = contents(folder.path() / "counting" / "f32_2" / "rejection.txt");
  EXPECT_THAT(reason, HasSubstr(">>> %add_"));
  EXPECT_THAT(reason, HasSubstr("buffer 'count'"));
}

TEST(Packages, AotCompileSavesAProgramThatRunsWithoutForward) {
  const TemporaryFolder folder("monograph_wrapper_aot");
  const Layer layer;
  const Tensor x = at::randn({3, 4});
  const std::string path = (folder.path() / "layer.mono").string();
  {
    CompiledModule compiled(layer.module());
    const Program program = compiled.aot_compile({x}, path);
    EXPECT_EQ(program.inputs().size(), 1U);
    EXPECT_EQ(compiled.counters().replays, 0U);
  }
  const int runs = *layer.runs;
  Executable executable = Executable::build(Program::load(path));
  for (int i = 0; i < 2; ++i) {
    const Tensor fresh = at::randn({3, 4});
    expect_close(executable.replay({fresh})[0], layer.want(fresh), 1e-5, "from the package");
  }
  EXPECT_EQ(*layer.runs, runs);
}

TEST(Packages, UnavailableInStockModeNamingVersions) {
  const Layer layer;
  CompiledModule compiled(layer.module(), with_mode(Mode::kStock));
  const Error error = caught([&] { (void)compiled.aot_compile({at::randn({3, 4})}, "/nowhere"); });
  EXPECT_EQ(error.code(), Code::kInvalidState);
  EXPECT_THAT(error.what(), HasSubstr("aot_compile isn't available"));
  EXPECT_THAT(error.what(), HasSubstr("built for LibTorch 2."));
  CompiledModule counting(Counting().module());
  EXPECT_THROW((void)counting.aot_compile({at::randn({2})}, "/nowhere"), RejectedError);
}

TEST(Packages, TheEnvironmentSavesEachFirstCompilation) {
  const TemporaryFolder folder("monograph_wrapper_env");
  ::setenv("MONOGRAPH_AOT", folder.path().c_str(), 1);
  const Layer layer;
  Options options;
  options.name = "layer";
  CompiledModule compiled(layer.module(), options);
  const Tensor x = at::randn({3, 4});
  compiled({x});
  ::setenv("MONOGRAPH_AOT", "/proc/nowhere", 1);
  const Tensor other = at::randn({2, 4});
  expect_close(compiled({other})[0], layer.want(other), 1e-5, "where no package can be written");
  ::unsetenv("MONOGRAPH_AOT");
  Executable executable =
      Executable::build(Program::load((folder.path() / "layer" / "f32_3x4.mono").string()));
  expect_close(executable.replay({x})[0], layer.want(x), 1e-5, "from the package");
}

// --- rejections ---

TEST(Rejections, StayPerShapeCanBeAskedAndRunEagerlyOnlyIfWanted) {
  const Counting counting;
  const Tensor x = at::randn({2});
  CompiledModule strict(counting.module());
  EXPECT_FALSE(strict.rejection({x}).has_value());
  EXPECT_THROW(strict({x}), RejectedError);
  EXPECT_THROW(strict({x}), RejectedError);
  EXPECT_EQ(strict.counters().traces, 1U);
  ASSERT_TRUE(strict.rejection({x}).has_value());
  EXPECT_EQ(strict.rejection({x})->subject, "count");
  EXPECT_FALSE(strict.rejection({at::randn({3})}).has_value()) << "another shape wasn't asked for";
  EXPECT_EQ(strict.counters().traces, 1U);
  EXPECT_EQ(counting.count.item<float>(), 0);

  Options options;
  options.on_reject = OnReject::kEager;
  CompiledModule lenient(counting.module(), options);
  for (int call = 1; call <= 3; ++call) {
    expect_close(lenient({x})[0], x + call, 1e-6, "eager");
    EXPECT_EQ(counting.count.item<float>(), static_cast<float>(call));
  }
  EXPECT_EQ(lenient.counters().eager, 3U);
  EXPECT_EQ(lenient.counters().traces, 1U);
  Tensors out = {at::empty({2})};
  lenient({x}, out);
  expect_close(out[0], x + 4, 1e-6, "eager into the caller's outputs");
  EXPECT_TRUE(lenient.rejection({x}).has_value());
}

TEST(Rejections, OverlappingInputsAreTheCallsDoing) {
  Module module;
  module.forward = [](const Tensors& in) -> Tensors { return {in[0] + in[1] * 2}; };
  module.input_names = {"a", "b"};
  CompiledModule compiled(module);
  const Tensor x = at::randn({4});
  const Tensor y = at::randn({4});
  try {
    compiled({x, x});
    FAIL() << "accepted";
  } catch (const RejectedError& e) {
    EXPECT_EQ(e.code(), Code::kRejectedAliasing);
    EXPECT_EQ(e.rejection().subject, "b");
  }
  expect_close(compiled({x, y})[0], x + y * 2, 1e-6, "with inputs of their own");
  expect_close(compiled({x, x})[0], x * 3, 1e-6, "once compiled, inputs are only read");
}

TEST(Rejections, InTraceOnceModeTheOneTraceDecides) {
  const Counting counting;
  CompiledModule compiled(counting.module(), with_mode(Mode::kTraceOnce));
  EXPECT_THROW(compiled({at::randn({2})}), RejectedError);
  EXPECT_THROW(compiled({at::randn({3})}), RejectedError);
  EXPECT_EQ(compiled.counters().traces, 1U);
}

}  // namespace
}  // namespace monograph::test
