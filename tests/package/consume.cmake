# cmake -P script of the test package_consumer; see CMakeLists.txt here for what it is given.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  message("${output}")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what} failed (${result})")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})

# Installed at one place and moved to another: nothing in it may name the first.
run("install" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first)
file(RENAME ${WORK}/first ${WORK}/moved)
file(GLOB_RECURSE scripts ${WORK}/moved/*.cmake)
foreach(script IN LISTS scripts)
  file(STRINGS ${script} lines REGEX "${WORK}/first")
  if(lines)
    message(FATAL_ERROR "${script} names the prefix it was installed to: ${lines}")
  endif()
endforeach()
file(GLOB headers RELATIVE ${WORK}/moved/include ${WORK}/moved/include/*)
if(NOT headers STREQUAL "monograph")
  message(FATAL_ERROR "include/ should hold monograph/ alone, holds: ${headers}")
endif()

set(options -G Ninja -DCMAKE_MAKE_PROGRAM=${NINJA} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_PREFIX_PATH=${WORK}/moved -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
if(SANITIZE)
  list(APPEND options -DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE})
endif()
run("configuring" ${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build ${options}
  -DMONOGRAPH_TORCH_DIR=${TORCH})
run("building" ${CMAKE_COMMAND} --build ${WORK}/build)
run("running" ${WORK}/build/engine)

# Without a usable torch, find_package says what to set.
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/no_torch ${options}
    -DMONOGRAPH_TORCH_DIR=${WORK}/nowhere
  RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE output)
if(result EQUAL 0 OR NOT output MATCHES "Set[ \n]+MONOGRAPH_TORCH_DIR")
  message(FATAL_ERROR "expected a refusal that names MONOGRAPH_TORCH_DIR, got: ${output}")
endif()
