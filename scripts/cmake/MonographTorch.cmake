# Imported targets for LibTorch and the CUDA libraries that travel with its wheel.
#
#   monograph::torch       headers, libtorch_cpu, libc10: all that CPU inference needs
#   monograph::torch_cuda  the same and LibTorch's CUDA half; only if this torch has one
#
# find_package(Torch) isn't used: a CUDA build of torch makes it demand nvcc, which nothing here
# needs. The same file is installed with the package, where it serves find_package(monograph).
#
# Reads: MONOGRAPH_TORCH_DIR  the torch folder of a Python environment or an unpacked LibTorch
#        MONOGRAPH_PYTHON     a Python whose torch is used if MONOGRAPH_TORCH_DIR is empty
include_guard(GLOBAL)

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

function(monograph_find_torch)
  if(MONOGRAPH_TORCH_DIR)
    return()
  endif()
  set(pythons ${MONOGRAPH_PYTHON})
  if(NOT pythons)
    file(GLOB local ${PROJECT_SOURCE_DIR}/.venv/bin/python)
    set(pythons ${local} python3 python)
  endif()
  foreach(python IN LISTS pythons)
    monograph_torch_of_python(${python} found)
    if(found)
      set(MONOGRAPH_TORCH_DIR ${found} CACHE PATH "" FORCE)
      return()
    endif()
  endforeach()
endfunction()

monograph_find_torch()
if(NOT EXISTS "${MONOGRAPH_TORCH_DIR}/lib/libtorch_cpu.so")
  set(_message "No torch with lib/libtorch_cpu.so in MONOGRAPH_TORCH_DIR='${MONOGRAPH_TORCH_DIR}'. "
    "Set it to the torch folder of a Python environment or of an unpacked LibTorch.")
  string(CONCAT _message ${_message})
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${_message}")
    return()
  endif()
  message(FATAL_ERROR "${_message}")
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
