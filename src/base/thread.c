/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the least that Linux allows */

/* The kernel's struct sched_attr, VER0; the C library has none before 2.41. */
struct slice_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};
_Static_assert(sizeof(struct slice_attr) == 48, "SCHED_ATTR_SIZE_VER0");

void thread_short_slices(void)
{
    if (sched_getscheduler(0) != SCHED_OTHER)
        return; /* the operator's choice */
    /* On Linux the niceness is a thread's own, whatever POSIX says; it stays as it is. */
    struct slice_attr attr = {.size = sizeof(attr),
                              .nice = getpriority(PRIO_PROCESS, 0),
                              .runtime_ns = SLICE_NS};
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}
