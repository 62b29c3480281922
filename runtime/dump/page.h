// index.html: everything about one dump on one page that needs nothing else.
#pragma once

#include <string>

#include "runtime/dump/snapshot.h"

namespace monograph::dump {

/// A page with style, script and data inside; it loads nothing, so it works from a file. Names and
/// texts reach the page as data only and are shown as text, never as markup.
std::string page(const Snapshot& snapshot);

}  // namespace monograph::dump
