/* SPDX-License-Identifier: Apache-2.0 */
/* How soon a thread runs after it wakes, where the processors do not suffice for all.
 *
 * Whoever answers clients needs little time, and soon: a wait for the processor is a wait of
 * everybody behind the same sync. Such a thread asks the kernel for short slices (EEVDF,
 * Linux 6.12; before, that has no effect). It gets no more of the processor for it, and needs no
 * privilege. */
#ifndef WH_BASE_THREAD_H
#define WH_BASE_THREAD_H

enum thread_slice {
    THREAD_SYNCS, /* the log: everybody waits for it */
    THREAD_SERVES /* a socket loop */
};

/* Names the calling thread (at most 15 characters) and sets its slice. A refusal of the kernel is
 * no error: then it is as every other thread. Does not block. */
void thread_begin(const char *name, enum thread_slice slice);

#endif
