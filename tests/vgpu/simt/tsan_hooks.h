// The compiler's -fsanitize=thread calls these at every load and store of a kernel; they lead to
// the emulator's own race check. The sanitizer's run-time library is not linked.
#pragma once

#define SIMT_HOOK(suffix, bytes, kind)                                             \
  extern "C" __attribute__((no_sanitize("thread"), visibility("hidden"),           \
                            used)) void __tsan_##suffix(void* at) {                \
    if (simt::core_slot && simt::core_slot->checks_races) {                        \
      simt::core_slot->access(at, bytes, simt::kind, __builtin_return_address(0)); \
    }                                                                              \
  }

#define SIMT_HOOKS                                \
  SIMT_HOOK(read1, 1, kRead)                      \
  SIMT_HOOK(read2, 2, kRead)                      \
  SIMT_HOOK(read4, 4, kRead)                      \
  SIMT_HOOK(read8, 8, kRead)                      \
  SIMT_HOOK(read16, 16, kRead)                    \
  SIMT_HOOK(write1, 1, kWrite)                    \
  SIMT_HOOK(write2, 2, kWrite)                    \
  SIMT_HOOK(write4, 4, kWrite)                    \
  SIMT_HOOK(write8, 8, kWrite)                    \
  SIMT_HOOK(write16, 16, kWrite)                  \
  SIMT_HOOK(unaligned_read2, 2, kRead)            \
  SIMT_HOOK(unaligned_read4, 4, kRead)            \
  SIMT_HOOK(unaligned_read8, 8, kRead)            \
  SIMT_HOOK(unaligned_read16, 16, kRead)          \
  SIMT_HOOK(unaligned_write2, 2, kWrite)          \
  SIMT_HOOK(unaligned_write4, 4, kWrite)          \
  SIMT_HOOK(unaligned_write8, 8, kWrite)          \
  SIMT_HOOK(unaligned_write16, 16, kWrite)        \
  SIMT_HOOK(volatile_read1, 1, kRead)             \
  SIMT_HOOK(volatile_read2, 2, kRead)             \
  SIMT_HOOK(volatile_read4, 4, kRead)             \
  SIMT_HOOK(volatile_read8, 8, kRead)             \
  SIMT_HOOK(volatile_read16, 16, kRead)           \
  SIMT_HOOK(volatile_write1, 1, kWrite)           \
  SIMT_HOOK(volatile_write2, 2, kWrite)           \
  SIMT_HOOK(volatile_write4, 4, kWrite)           \
  SIMT_HOOK(volatile_write8, 8, kWrite)           \
  SIMT_HOOK(volatile_write16, 16, kWrite)         \
  SIMT_HOOK(unaligned_volatile_read2, 2, kRead)   \
  SIMT_HOOK(unaligned_volatile_read4, 4, kRead)   \
  SIMT_HOOK(unaligned_volatile_read8, 8, kRead)   \
  SIMT_HOOK(unaligned_volatile_read16, 16, kRead) \
  SIMT_HOOK(unaligned_volatile_write2, 2, kWrite) \
  SIMT_HOOK(unaligned_volatile_write4, 4, kWrite) \
  SIMT_HOOK(unaligned_volatile_write8, 8, kWrite) \
  SIMT_HOOK(unaligned_volatile_write16, 16, kWrite)
SIMT_HOOKS
#undef SIMT_HOOKS
#undef SIMT_HOOK

#define SIMT_HOOK extern "C" __attribute__((no_sanitize("thread"), visibility("hidden"), used))
SIMT_HOOK void __tsan_init() {}
SIMT_HOOK void __tsan_func_entry(void*) {}
SIMT_HOOK void __tsan_func_exit() {}
SIMT_HOOK void __tsan_vptr_update(void**, void*) {}
SIMT_HOOK void __tsan_vptr_read(void**) {}
SIMT_HOOK void __tsan_read_range(void* at, unsigned long n) {
  if (simt::core_slot && simt::core_slot->checks_races) {
    simt::core_slot->access(at, uint32_t(n), simt::kRead, __builtin_return_address(0));
  }
}
SIMT_HOOK void __tsan_write_range(void* at, unsigned long n) {
  if (simt::core_slot && simt::core_slot->checks_races) {
    simt::core_slot->access(at, uint32_t(n), simt::kWrite, __builtin_return_address(0));
  }
}
#undef SIMT_HOOK
