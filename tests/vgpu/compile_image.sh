#!/bin/sh
# Compiles a kernel source for architecture `virtual`.
#   compile_image.sh SOURCE OUTPUT.so [compiler options...]
#   compile_image.sh HEADER HEADER.gch    precompiles it, for images compiled with `-include HEADER`
# VGPU_RACES=1: with instrumented accesses, for the race check. CC: the host compiler.
set -e
here=$(cd "$(dirname "$0")" && pwd)
source=$1 output=$2
shift 2
# The sanitizer's calls lead to the emulator: its library must not be linked, hence two steps.
[ -z "$VGPU_RACES" ] || set -- -fsanitize=thread "$@"
set -- -std=c++20 -O1 -g1 -fPIC -march=x86-64-v3 -ffp-contract=fast \
  -fno-strict-aliasing -fno-gnu-unique -fvisibility=hidden -fno-extern-tls-init \
  -fno-threadsafe-statics -fno-exceptions -fno-rtti \
  -fsanitize=alignment -fsanitize-undefined-trap-on-error -Wall -Wno-unknown-pragmas \
  -I"$here" -I"$here/include" -I"$here/../../kernels/device" "$@"
case $output in
  *.gch) exec ${CC:-gcc} -x c++-header "$@" "$source" -o "$output" ;;
esac
${CC:-gcc} -x c++ "$@" -c "$source" -o "$output.o"
${CC:-gcc} -shared "$output.o" -Wl,-z,defs -lm -o "$output"
rm -f "$output.o"
