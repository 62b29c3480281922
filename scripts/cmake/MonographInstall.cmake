# The CMake package: shared library, public headers, and a relocatable monographConfig.cmake.
include(CMakePackageConfigHelpers)

set(_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/monograph)

install(TARGETS monograph EXPORT monographTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/monograph DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT monographTargets NAMESPACE monograph:: DESTINATION ${_package_dir})

configure_package_config_file(scripts/cmake/monographConfig.cmake.in
  ${PROJECT_BINARY_DIR}/generated/monographConfig.cmake
  INSTALL_DESTINATION ${_package_dir} NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/monographConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/generated/monographConfig.cmake
  ${PROJECT_BINARY_DIR}/generated/monographConfigVersion.cmake
  scripts/cmake/MonographTorch.cmake
  DESTINATION ${_package_dir})
