// Version of Monograph; CMake reads it from here.
#pragma once

#define MONOGRAPH_VERSION_MAJOR 0
#define MONOGRAPH_VERSION_MINOR 1
#define MONOGRAPH_VERSION_PATCH 0
#define MONOGRAPH_VERSION_STRING "0.1.0"
