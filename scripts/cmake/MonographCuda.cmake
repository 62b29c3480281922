# CUDA headers, NVRTC and cuBLASLt for the rooms that use them. They come with torch's wheel
# (site-packages/nvidia/cu13); an installed toolkit serves as well.
#
#   monograph::cuda_headers  headers only: cuda.h, nvrtc.h, cublasLt.h
#   monograph::nvrtc         the run-time compiler
#   monograph::cublaslt      cuBLASLt
#   monograph::cuda_runtime_headers  what LibTorch's CUDA headers include: also crt/ and nv/
#   monograph::cublaslt_headers, monograph::cudnn_headers  cublasLt.h, cudnn.h and what they include
# Each exists only where it was found; MONOGRAPH_CUDA_INCLUDE_DIR is false if the headers weren't.
# The driver library is no target: it is opened at run time and never linked.
include_guard(GLOBAL)

get_filename_component(_site ${MONOGRAPH_TORCH_DIR} DIRECTORY)
file(GLOB _toolkits ${_site}/nvidia/cu*)
list(SORT _toolkits ORDER DESCENDING)
list(APPEND _toolkits /usr/local/cuda)

find_path(MONOGRAPH_CUDA_INCLUDE_DIR cuda.h PATHS ${_toolkits} PATH_SUFFIXES include
  NO_DEFAULT_PATH DOC "Folder of cuda.h, nvrtc.h and cublasLt.h")
if(NOT MONOGRAPH_CUDA_INCLUDE_DIR)
  return()
endif()
get_filename_component(_toolkit ${MONOGRAPH_CUDA_INCLUDE_DIR} DIRECTORY)

add_library(monograph::cuda_headers INTERFACE IMPORTED GLOBAL)
target_include_directories(monograph::cuda_headers SYSTEM INTERFACE ${MONOGRAPH_CUDA_INCLUDE_DIR})

find_path(MONOGRAPH_CUDA_CRT_INCLUDE_DIR crt/host_defines.h
  PATHS ${MONOGRAPH_CUDA_INCLUDE_DIR} /usr/local/cuda/include NO_DEFAULT_PATH)
find_path(MONOGRAPH_CUDA_CCCL_INCLUDE_DIR nv/target PATHS ${MONOGRAPH_CUDA_INCLUDE_DIR}
  ${MONOGRAPH_CUDA_INCLUDE_DIR}/cccl /usr/local/cuda/include /usr/local/cuda/include/cccl
  NO_DEFAULT_PATH)
if(MONOGRAPH_CUDA_CRT_INCLUDE_DIR AND MONOGRAPH_CUDA_CCCL_INCLUDE_DIR)
  add_library(monograph::cuda_runtime_headers INTERFACE IMPORTED GLOBAL)
  target_include_directories(monograph::cuda_runtime_headers SYSTEM INTERFACE
    ${MONOGRAPH_CUDA_INCLUDE_DIR} ${MONOGRAPH_CUDA_CRT_INCLUDE_DIR}
    ${MONOGRAPH_CUDA_CCCL_INCLUDE_DIR})
endif()

find_path(MONOGRAPH_CUDNN_INCLUDE_DIR cudnn.h PATHS ${_site}/nvidia/cudnn
  ${MONOGRAPH_CUDA_INCLUDE_DIR}/.. /usr PATH_SUFFIXES include NO_DEFAULT_PATH
  DOC "Folder of cudnn.h")
if(TARGET monograph::cuda_runtime_headers)
  foreach(_pair IN ITEMS cublaslt:${MONOGRAPH_CUDA_INCLUDE_DIR}/cublasLt.h
      cudnn:${MONOGRAPH_CUDNN_INCLUDE_DIR}/cudnn.h)
    string(REGEX MATCH "^([^:]*):(.*)/([^/]*)$" _ ${_pair})
    set(_name ${CMAKE_MATCH_1})
    if(EXISTS ${CMAKE_MATCH_2}/${CMAKE_MATCH_3})
      add_library(monograph::${_name}_headers INTERFACE IMPORTED GLOBAL)
      target_link_libraries(monograph::${_name}_headers INTERFACE monograph::cuda_runtime_headers)
      get_target_property(_folders monograph::cuda_runtime_headers INTERFACE_INCLUDE_DIRECTORIES)
      target_include_directories(monograph::${_name}_headers SYSTEM INTERFACE
        ${CMAKE_MATCH_2} ${_folders})
    endif()
  endforeach()
endif()

# A wheel holds only versioned names (libnvrtc.so.13), so find_library doesn't see them.
foreach(_pair IN ITEMS nvrtc:nvrtc cublasLt:cublaslt)
  string(REPLACE ":" ";" _pair ${_pair})
  list(GET _pair 0 _file)
  list(GET _pair 1 _target)
  file(GLOB _found ${_toolkit}/lib/lib${_file}.so.* ${_toolkit}/lib64/lib${_file}.so.*)
  list(FILTER _found INCLUDE REGEX "\\.so\\.[0-9]+$")
  if(_found)
    list(GET _found 0 _library)
    add_library(monograph::${_target} SHARED IMPORTED GLOBAL)
    set_target_properties(monograph::${_target} PROPERTIES IMPORTED_LOCATION ${_library})
    target_link_libraries(monograph::${_target} INTERFACE monograph::cuda_headers)
    message(STATUS "${_file}: ${_library}")
  endif()
endforeach()
