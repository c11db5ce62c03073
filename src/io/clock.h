/* SPDX-License-Identifier: Apache-2.0 */
/* Time and chance: the only place of the daemon that asks the system for either.
 *
 * None of these block (io_random may, once, on a machine that has just booted). Any thread. */
#ifndef WH_IO_CLOCK_H
#define WH_IO_CLOCK_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds since 1970 UTC. May jump when an administrator or NTP sets the clock; nothing that
 * must be safe depends on it. */
uint64_t io_realtime_ns(void);

/* Nanoseconds since some fixed moment; never goes backwards. For durations and timeouts. */
uint64_t io_monotonic_ns(void);

/* Fill n bytes at p from the kernel's random source. 0 or -errno; with an error the bytes at p are
 * unspecified. */
int io_random(void *p, size_t n) WH_MUST_CHECK;

#endif
