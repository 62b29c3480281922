// Stands in for NVIDIA's header when the host compiler compiles a kernel: simt.h has the types.
#pragma once
#include "simt.h"
