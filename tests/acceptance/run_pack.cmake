# Unpacks cases and runs them: cmake -DPACK=... -DRUNNER=... -DFOLDER=... -DLEAST=... [-DOPTIONS=...] -P run_pack.cmake
file(REMOVE_RECURSE ${FOLDER})
file(ARCHIVE_EXTRACT INPUT ${PACK} DESTINATION ${FOLDER})
execute_process(COMMAND ${RUNNER} ${FOLDER} ${FOLDER}/report.jsonl --least ${LEAST} ${OPTIONS}
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${RUNNER} ${FOLDER}: status ${status}")
endif()
file(REMOVE_RECURSE ${FOLDER})
