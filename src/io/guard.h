/* SPDX-License-Identifier: Apache-2.0 */
/* SIGBUS guard: a mapped page that vanishes becomes zeros and a count, not the end of the process.
 *
 * A read from a file mapping raises SIGBUS when the file was cut under it or the device failed. The
 * handler, installed once for the process, looks the address up in a fixed table, puts a page of
 * zeros there and counts; the reader goes on, its checksum fails, and the count says why. A SIGBUS
 * anywhere else goes to the handler that was there before, or ends the process as usual. */
#ifndef WH_IO_GUARD_H
#define WH_IO_GUARD_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Watch n bytes at p (a mapping of ours). 0, -ENFILE when the table is full, or -errno. Any thread.
 */
int io_guard_add(const void *p, size_t n, _Atomic uint32_t *faults) WH_MUST_CHECK;
/* Before munmap. Any thread. */
void io_guard_remove(const void *p);

#endif
