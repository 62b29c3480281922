# What every room's CMakeLists.txt uses: monograph_layer, monograph_program, monograph_test.
include_guard(GLOBAL)
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
# Installed libraries find each other, and LibTorch where they were built; elsewhere the program that
# loads them brings LibTorch's folder in its own run path, as programs linked through the package do.
set(CMAKE_INSTALL_RPATH $ORIGIN)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(MONOGRAPH_CCACHE ccache)
if(MONOGRAPH_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MONOGRAPH_CCACHE})
endif()

# Flags of our own code; LibTorch's headers come in as SYSTEM and see no warnings.
add_library(monograph_flags INTERFACE)
target_compile_options(monograph_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(MONOGRAPH_WERROR)
  target_compile_options(monograph_flags INTERFACE -Werror)
endif()
if(MONOGRAPH_MARCH AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(monograph_flags INTERFACE -march=${MONOGRAPH_MARCH})
endif()
if(MONOGRAPH_SANITIZE)
  set(MONOGRAPH_SANITIZE_FLAGS
    -fsanitize=${MONOGRAPH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # sees reads of what isn't set in <regex> then
    list(APPEND MONOGRAPH_SANITIZE_FLAGS -Wno-maybe-uninitialized)
  endif()
  if(MONOGRAPH_SANITIZE_ROOMS)
    # Other rooms are compiled as without a sanitizer, so that a compiler cache serves them.
    list(TRANSFORM MONOGRAPH_SANITIZE_ROOMS PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE _rooms)
    target_compile_options(monograph_flags INTERFACE
      "$<$<IN_LIST:$<TARGET_PROPERTY:SOURCE_DIR>,${_rooms}>:${MONOGRAPH_SANITIZE_FLAGS}>")
  else()
    target_compile_options(monograph_flags INTERFACE ${MONOGRAPH_SANITIZE_FLAGS})
  endif()
  target_link_options(monograph_flags INTERFACE -fsanitize=${MONOGRAPH_SANITIZE})
endif()
if(MONOGRAPH_FUZZ)  # libFuzzer sees which branches an input takes; its main comes with tests/fuzz
  target_compile_options(monograph_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(monograph_flags INTERFACE fmt::fmt)
target_include_directories(monograph_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)

# With MONOGRAPH_TIDY, clang-tidy runs beside the compiler. LibTorch's headers make it take half a
# minute a source, so sources that see them are left out.
if(MONOGRAPH_TIDY)
  find_program(MONOGRAPH_CLANG_TIDY clang-tidy REQUIRED)
  add_custom_target(monograph_tidy)
endif()
function(monograph_tidy target)
  if(MONOGRAPH_TIDY)
    set_property(TARGET ${target} PROPERTY CXX_CLANG_TIDY ${MONOGRAPH_CLANG_TIDY} --quiet)
    add_dependencies(monograph_tidy ${target})
  endif()
endfunction()

# monograph_layer(<name> SOURCES file... [DEPS layer...] [TORCH] [TORCH_CUDA]
#                 [PRIVATE_LIBS target...])
# A room as a static library. DEPS are other layers, in any order of definition, and their headers
# come along. TORCH lets it see LibTorch, TORCH_CUDA also link LibTorch's CUDA half where there is
# one (then MONOGRAPH_HAS_TORCH_CUDA=1 is defined). A layer without TORCH can't depend on one with.
function(monograph_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH;TORCH_CUDA" "" "SOURCES;DEPS;PRIVATE_LIBS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "monograph_layer(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_PRIVATE_LIBS} PUBLIC $<BUILD_INTERFACE:monograph_flags>)
  if(arg_TORCH OR arg_TORCH_CUDA)
    target_link_libraries(${name} PUBLIC monograph::torch)
  endif()
  if(arg_TORCH_CUDA AND TARGET monograph::torch_cuda)
    target_link_libraries(${name} PUBLIC monograph::torch_cuda)
    target_compile_definitions(${name} PRIVATE MONOGRAPH_HAS_TORCH_CUDA=1)
  endif()
  set_property(TARGET ${name} PROPERTY MONOGRAPH_DEPS ${arg_DEPS})
  if(arg_TORCH OR arg_TORCH_CUDA)
    set_property(TARGET ${name} PROPERTY MONOGRAPH_SEES_TORCH TRUE)
  else()
    monograph_tidy(${name})
  endif()
  set_property(GLOBAL APPEND PROPERTY MONOGRAPH_LAYERS ${name})
endfunction()

# Self-registration in a static library survives only if the linker takes every object of it. This
# makes `target` take whole layers wherever they come from in its link line.
function(monograph_whole_layers target)
  get_property(layers GLOBAL PROPERTY MONOGRAPH_LAYERS)
  if(layers)
    list(JOIN layers "," joined)
    set_property(TARGET ${target} PROPERTY LINK_LIBRARY_OVERRIDE "WHOLE_ARCHIVE,${joined}")
  endif()
endfunction()

# Connects layers and makes the shared library `monograph` of all of them.
function(monograph_finish_layers)
  get_property(layers GLOBAL PROPERTY MONOGRAPH_LAYERS)
  foreach(layer IN LISTS layers)
    get_target_property(deps ${layer} MONOGRAPH_DEPS)
    get_target_property(sees_torch ${layer} MONOGRAPH_SEES_TORCH)
    if(NOT deps)
      continue()
    endif()
    foreach(dep IN LISTS deps)
      if(NOT dep IN_LIST layers)
        message(FATAL_ERROR "${layer} depends on ${dep}, which is no layer")
      endif()
      get_target_property(dep_sees_torch ${dep} MONOGRAPH_SEES_TORCH)
      if(dep_sees_torch AND NOT sees_torch)
        message(FATAL_ERROR "${layer} must not see torch, but depends on ${dep}, which does")
      endif()
      target_link_libraries(${layer} PUBLIC ${dep})
    endforeach()
  endforeach()

  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/monograph_version.cpp CONTENT
    "extern \"C\" __attribute__((visibility(\"default\"))) const char* monograph_version() {
  return \"@PROJECT_VERSION@\";
}
" @ONLY)
  add_library(monograph SHARED ${PROJECT_BINARY_DIR}/generated/monograph_version.cpp)
  add_library(monograph::monograph ALIAS monograph)
  set_target_properties(monograph PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  monograph_whole_layers(monograph)
  target_link_libraries(monograph PRIVATE ${layers} PUBLIC monograph::torch)
  if(NOT MONOGRAPH_SANITIZE)  # a sanitizer's runtime comes with the program
    target_link_options(monograph PRIVATE LINKER:-z,defs)
  endif()
  target_compile_features(monograph PUBLIC cxx_std_20)
  # Libraries opened at run time (LibTorch's CUDA kernels) lie beside this one.
  set_property(TARGET monograph APPEND PROPERTY BUILD_RPATH "$ORIGIN")
  # NVRTC comes with torch's wheel, which no search path of the system names.
  if(TARGET monograph::nvrtc)
    get_target_property(nvrtc monograph::nvrtc IMPORTED_LOCATION)
    get_filename_component(nvrtc_folder ${nvrtc} DIRECTORY)
    set_property(TARGET monograph APPEND PROPERTY BUILD_RPATH ${nvrtc_folder})
    set_property(TARGET monograph APPEND PROPERTY INSTALL_RPATH ${nvrtc_folder})
  endif()
  target_include_directories(monograph PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

# monograph_program(<name> SOURCES file... [LIBS target...])
# An executable with our flags, in bin/. LIBS is either `monograph` (the shared library, sees
# torch) or single layers, never both: a registry must exist once.
function(monograph_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE monograph_flags ${arg_LIBS})
  monograph_whole_layers(${name})
  if(NOT arg_LIBS MATCHES "(^|;)monograph(;|$)|torch")
    monograph_tidy(${name})
  endif()
endfunction()

# monograph_test(<name> SOURCES file... [LIBS target...] [LABELS label...] [TIMEOUT seconds])
# A GoogleTest program and one ctest of the same name. LIBS as for monograph_program.
function(monograph_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LIBS;LABELS")
  find_package(GTest REQUIRED)
  monograph_program(${name} SOURCES ${arg_SOURCES} LIBS ${arg_LIBS}
    GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()
