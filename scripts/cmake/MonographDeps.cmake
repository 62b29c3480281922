# Libraries from the system that several rooms use.
include_guard(GLOBAL)

find_package(Threads REQUIRED)
find_package(Python3 REQUIRED COMPONENTS Interpreter)
find_package(nlohmann_json REQUIRED)

# fmt is used header-only, always: LibTorch's include folder brings another version of it, which
# sources that see LibTorch find first, so a compiled libfmt would fit only half of our sources.
# Versions live in namespaces of their own and don't clash.
find_path(MONOGRAPH_FMT_DIR fmt/format.h DOC "Folder that holds fmt/format.h")
add_library(fmt::fmt INTERFACE IMPORTED GLOBAL)
target_compile_definitions(fmt::fmt INTERFACE FMT_HEADER_ONLY=1)
if(MONOGRAPH_FMT_DIR)
  target_include_directories(fmt::fmt SYSTEM INTERFACE ${MONOGRAPH_FMT_DIR})
elseif(EXISTS ${MONOGRAPH_TORCH_DIR}/include/fmt)
  # A folder with nothing but fmt in it, so that layers that must not see LibTorch don't.
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/generated/fmt)
  file(CREATE_LINK ${MONOGRAPH_TORCH_DIR}/include/fmt ${PROJECT_BINARY_DIR}/generated/fmt/fmt SYMBOLIC)
  target_include_directories(fmt::fmt SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/generated/fmt)
else()
  message(FATAL_ERROR "fmt not found: install it (Debian: libfmt-dev) or set MONOGRAPH_FMT_DIR")
endif()

# OpenMP with the runtime that LibTorch itself loads: two of them in one process would each start
# threads of their own.
add_library(monograph::openmp INTERFACE IMPORTED GLOBAL)
file(GLOB _libgomp ${MONOGRAPH_TORCH_DIR}/lib/libgomp*.so*)
if(_libgomp)
  list(GET _libgomp 0 _libgomp)
  target_compile_options(monograph::openmp INTERFACE -fopenmp)
  target_link_libraries(monograph::openmp INTERFACE ${_libgomp})
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(monograph::openmp INTERFACE OpenMP::OpenMP_CXX)
endif()
