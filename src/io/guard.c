/* SPDX-License-Identifier: Apache-2.0 */
#include "io/guard.h"

#include "base/magic.h"
#include "io/io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

/* The handler may run at any instruction of any thread, so it takes no lock: a slot is published by
 * storing start last and withdrawn by clearing start first. A thread that faults is inside a
 * mapping that it keeps alive, hence its slot does not change under the handler. */
struct guard_slot {
    _Atomic uintptr_t start; /* 0: free */
    _Atomic uintptr_t end;
    _Atomic(_Atomic uint32_t *) faults;
};

static struct guard_slot slots[IO_GUARD_MAX];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; /* among add and remove */
static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static int install_result;
static uintptr_t page_bytes;
static struct sigaction previous;

static bool guard_cover(uintptr_t at)
{
    for (size_t i = 0; i < IO_GUARD_MAX; i++) {
        uintptr_t start = atomic_load_explicit(&slots[i].start, memory_order_acquire);

        if (start == 0 || at < start || at >= atomic_load(&slots[i].end))
            continue;
        /* A new mapping over the page: the old one cannot be repaired from here. */
        void *page = (void *)(at & ~(page_bytes - 1)); /* NOLINT: an address becomes a page */
        if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
            MAP_FAILED)
            return false;
        atomic_fetch_add(atomic_load(&slots[i].faults), 1);
        return true;
    }
    return false;
}

static void guard_handler(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    bool covered = guard_cover((uintptr_t)info->si_addr);

    errno = saved_errno;
    if (covered)
        return;
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != NULL)
        previous.sa_sigaction(sig, info, context);
    else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
        previous.sa_handler(sig);
    else
        (void)signal(sig, SIG_DFL); /* the instruction runs again and ends the process */
}

static void guard_install(void)
{
    struct sigaction sa = {.sa_sigaction = guard_handler, .sa_flags = SA_SIGINFO | SA_NODEFER};

    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)sigemptyset(&sa.sa_mask);
    if (sigaction(SIGBUS, &sa, &previous) != 0)
        install_result = -errno;
}

int io_guard_add(const void *p, size_t n, _Atomic uint32_t *faults)
{
    int rc = -ENFILE;

    (void)pthread_once(&install_once, guard_install); /* cannot fail with a valid control */
    if (install_result != 0)
        return install_result;
    must(pthread_mutex_lock(&slots_lock) == 0);
    for (size_t i = 0; i < IO_GUARD_MAX; i++) {
        if (atomic_load_explicit(&slots[i].start, memory_order_relaxed) != 0)
            continue;
        atomic_store(&slots[i].faults, faults);
        atomic_store(&slots[i].end, (uintptr_t)p + n);
        atomic_store_explicit(&slots[i].start, (uintptr_t)p, memory_order_release);
        rc = 0;
        break;
    }
    must(pthread_mutex_unlock(&slots_lock) == 0);
    return rc;
}

void io_guard_remove(const void *p)
{
    must(pthread_mutex_lock(&slots_lock) == 0);
    for (size_t i = 0; i < IO_GUARD_MAX; i++)
        if (atomic_load_explicit(&slots[i].start, memory_order_relaxed) == (uintptr_t)p) {
            atomic_store_explicit(&slots[i].start, 0, memory_order_release);
            break;
        }
    must(pthread_mutex_unlock(&slots_lock) == 0);
}
