/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKS_NICE      5 /* a third of the processor that another thread gets, while both want it */
#define SYNCS_SLICE_NS  100000 /* the least that Linux allows */
#define SERVES_SLICE_NS 500000

/* The kernel's struct sched_attr, VER0; the C library has none before 2.41. */
struct slice_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};
_Static_assert(sizeof(struct slice_attr) == 48, "SCHED_ATTR_SIZE_VER0");

static void slice_set(int nice, uint64_t slice_ns)
{
    struct slice_attr attr = {.size = sizeof(attr), .nice = nice, .runtime_ns = slice_ns};
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

void thread_begin(const char *name, enum thread_share share)
{
    /* On Linux both are a thread's own, whatever POSIX says. */
    int nice = getpriority(PRIO_PROCESS, 0);
    (void)pthread_setname_np(pthread_self(), name);
    switch (share) {
    case THREAD_SYNCS:
        slice_set(nice, SYNCS_SLICE_NS);
        break;
    case THREAD_SERVES:
        slice_set(nice, SERVES_SLICE_NS);
        break;
    case THREAD_WORKS:
        (void)setpriority(PRIO_PROCESS, 0, nice + WORKS_NICE);
        break;
    }
}
