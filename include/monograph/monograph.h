// Everything an inference engine needs.
#pragma once

#include <monograph/compiled_module.h>
#include <monograph/error.h>
#include <monograph/executable.h>
#include <monograph/options.h>
#include <monograph/program.h>
#include <monograph/region.h>
#include <monograph/version.h>
