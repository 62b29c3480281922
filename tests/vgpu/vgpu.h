// Test controls of the virtual GPU. A test gets them from the library that it named as the driver
// (`Driver::extension`, dlsym); the product never calls them. All may be called from any thread.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

extern "C" {

/// Order of ready work, of blocks and of threads. 0: a fixed order (submission order).
void vgpu_seed(std::uint64_t seed);

/// The `nth` call from now (1 = the next) of `entry` (null: of any entry point) returns `code`.
/// Calls that release something release it nevertheless, as the real driver does when it reports
/// an earlier error. `nth` 0 removes the fault.
void vgpu_fail(const char* entry, std::uint64_t nth, CUresult code);

/// Calls so far of `entry`, e.g. "cuMemAlloc"; null: of all entry points.
std::uint64_t vgpu_calls(const char* entry);

/// Sets one of the options below; returns 0, or -1 for an unknown name.
///   "memory_bytes"   device memory there is (default 8 GiB)
///   "null_device"    1: kernels, copies and fills cost nothing and do nothing (for benchmarks)
///   "protect"        0: device memory stays readable by the host between runs (default 1)
///   "early_start"    0: programmatic dependents never start before their producer (default 1)
///   "leak_exit"      exit status of the process if something is left at exit (default 0: report
///   only) "poison"         byte that fresh device memory is filled with (default 0xff: NaN)
int vgpu_set(const char* option, std::uint64_t value);

/// Number of live objects and pieces of unfinished work; described in `text` (may be null).
std::size_t vgpu_leaks(char* text, std::size_t text_size);

/// Why the device failed last; empty if it did not. Valid until the next failure.
const char* vgpu_message();

/// Forgets a sticky error, injected faults, queued work and pending captures. Objects stay.
void vgpu_reset();

/// Peak of device memory in use since the last call, in bytes.
std::uint64_t vgpu_peak_bytes();

/// Launches since start: kernels and host callbacks run by the device.
std::uint64_t vgpu_kernels_run();

/// A kernel that is a function of the client: the seam for library calls (README.md). `params` are
/// pointers to the launch's parameters, whose sizes are `sizes[0..count)`. Device memory is
/// accessible while it runs; it must not call the driver. A non-zero result fails the launch.
typedef int (*VgpuHostKernel)(void** params, void* user);
/// Makes `kernel` loadable: cuLibraryLoadData of the text "vgpu-host:NAME" gives a library with
/// one kernel NAME. Registering a name again replaces it for later loads. 0 on success.
int vgpu_register_host_kernel(const char* name, VgpuHostKernel kernel, void* user,
                              const std::size_t* sizes, std::size_t count);
/// Forgets `name`; libraries loaded from it must have been unloaded.
void vgpu_unregister_host_kernel(const char* name);

}  // extern "C"
