# Imported targets for LibTorch.
#
#   monograph::torch       headers, libtorch_cpu, libc10: all that CPU inference needs
#   monograph::torch_cuda  the same and LibTorch's CUDA half; only if this torch has one
#
# find_package(Torch) isn't used: a CUDA build of torch makes it demand nvcc, which nothing here
# needs. The same file is installed with the package, where it serves find_package(monograph).
#
# Reads: MONOGRAPH_TORCH_DIR     the torch folder of a Python environment or an unpacked LibTorch
#        MONOGRAPH_PYTHON        a Python whose torch is used if MONOGRAPH_TORCH_DIR is empty
#        MONOGRAPH_TORCH_HINT    a torch folder to try before searching further
#        MONOGRAPH_TORCH_WANTED  version it must have, e.g. 2.11.0; empty: any
# Sets:  MONOGRAPH_TORCH_DIR, MONOGRAPH_TORCH_VERSION
if(TARGET monograph::torch)
  return()
endif()

set(MONOGRAPH_TORCH_DIR "" CACHE PATH "Folder of torch: holds include/ and lib/libtorch_cpu.so")
set(MONOGRAPH_PYTHON "" CACHE FILEPATH "Python whose torch is used if MONOGRAPH_TORCH_DIR is empty")

# The torch folder of the Python `python`, or nothing. Torch isn't imported: that takes seconds.
function(monograph_torch_of_python python out)
  set(${out} "" PARENT_SCOPE)
  execute_process(
    COMMAND ${python} -c
      "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(${out} "${found}" PARENT_SCOPE)
  endif()
endfunction()

# First of the places listed in the head of this file that has a torch.
function(monograph_find_torch out)
  set(${out} "${MONOGRAPH_TORCH_DIR}" PARENT_SCOPE)
  if(MONOGRAPH_TORCH_DIR)
    return()
  endif()
  set(pythons ${MONOGRAPH_PYTHON})
  if(NOT pythons)
    if(MONOGRAPH_TORCH_HINT AND EXISTS "${MONOGRAPH_TORCH_HINT}/lib/libtorch_cpu.so")
      set(${out} "${MONOGRAPH_TORCH_HINT}" PARENT_SCOPE)
      return()
    endif()
    file(GLOB pythons ${PROJECT_SOURCE_DIR}/.venv/bin/python)
    list(APPEND pythons python3 python)
  endif()
  foreach(python IN LISTS pythons)
    monograph_torch_of_python(${python} found)
    if(found)
      set(${out} "${found}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# Says why there is no LibTorch: as find_package wants to hear it, or by stopping.
macro(monograph_no_torch)
  string(CONCAT _message ${ARGN})
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${_message}")
    return()
  else()
    message(FATAL_ERROR "${_message}")
  endif()
endmacro()

monograph_find_torch(_found)
if(NOT EXISTS "${_found}/lib/libtorch_cpu.so")
  monograph_no_torch("No torch with lib/libtorch_cpu.so in '${_found}'. Set MONOGRAPH_TORCH_DIR to "
    "the torch folder of a Python environment or of an unpacked LibTorch.")
endif()
set(MONOGRAPH_TORCH_DIR "${_found}" CACHE PATH "" FORCE)

file(GLOB_RECURSE _version_headers ${MONOGRAPH_TORCH_DIR}/include/torch/headeronly/version.h
  ${MONOGRAPH_TORCH_DIR}/include/torch/csrc/api/include/torch/version.h)
set(MONOGRAPH_TORCH_VERSION "")
foreach(_header IN LISTS _version_headers)
  file(STRINGS ${_header} _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  if(_lines)
    string(REGEX REPLACE "[^0-9]+([0-9]+)" "\\1." _digits "${_lines}")
    string(REGEX REPLACE "^([0-9]+\\.[0-9]+\\.[0-9]+).*" "\\1" MONOGRAPH_TORCH_VERSION "${_digits}")
  endif()
endforeach()
# LibTorch keeps no C++ ABI across versions.
if(MONOGRAPH_TORCH_WANTED AND NOT MONOGRAPH_TORCH_VERSION STREQUAL MONOGRAPH_TORCH_WANTED)
  monograph_no_torch("Built with torch ${MONOGRAPH_TORCH_WANTED}, but ${MONOGRAPH_TORCH_DIR} is "
    "torch ${MONOGRAPH_TORCH_VERSION}. Set MONOGRAPH_TORCH_DIR to a ${MONOGRAPH_TORCH_WANTED}.")
endif()

add_library(monograph::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(monograph::torch SYSTEM INTERFACE
  ${MONOGRAPH_TORCH_DIR}/include ${MONOGRAPH_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(monograph::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_compile_features(monograph::torch INTERFACE cxx_std_20)
foreach(_name IN ITEMS torch_cpu c10)
  add_library(monograph::lib${_name} SHARED IMPORTED GLOBAL)
  set_target_properties(monograph::lib${_name} PROPERTIES
    IMPORTED_LOCATION ${MONOGRAPH_TORCH_DIR}/lib/lib${_name}.so)
endforeach()
# Operators register themselves when the library loads, so it must load even if no symbol of it
# is named by the program.
target_link_options(monograph::torch INTERFACE LINKER:--no-as-needed)
target_link_libraries(monograph::torch INTERFACE monograph::libtorch_cpu monograph::libc10)

if(EXISTS ${MONOGRAPH_TORCH_DIR}/lib/libtorch_cuda.so)
  add_library(monograph::torch_cuda INTERFACE IMPORTED GLOBAL)
  target_link_libraries(monograph::torch_cuda INTERFACE monograph::torch)
  foreach(_name IN ITEMS torch_cuda c10_cuda)
    add_library(monograph::lib${_name} SHARED IMPORTED GLOBAL)
    set_target_properties(monograph::lib${_name} PROPERTIES
      IMPORTED_LOCATION ${MONOGRAPH_TORCH_DIR}/lib/lib${_name}.so)
    target_link_libraries(monograph::torch_cuda INTERFACE monograph::lib${_name})
  endforeach()
endif()
