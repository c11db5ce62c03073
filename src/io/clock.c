/* SPDX-License-Identifier: Apache-2.0 */
#include "io/clock.h"

#include "base/magic.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_S 1000000000u

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    /* Fails only for an unknown clock id. */
    must(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t io_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t io_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int io_random(void *p, size_t n)
{
    unsigned char *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        at += got;
        n -= (size_t)got;
    }
    return 0;
}
