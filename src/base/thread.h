/* SPDX-License-Identifier: Apache-2.0 */
/* How threads share a processor that has not enough for all.
 *
 * Whoever answers clients needs little, and soon: a wait for the processor is a wait of everybody
 * behind the same sync. What may be late gives way. No privilege is needed: threads only step back
 * (nice) or ask for short turns (EEVDF's slices, Linux 6.12; elsewhere that part has no effect). */
#ifndef WH_BASE_THREAD_H
#define WH_BASE_THREAD_H

enum thread_share {
    THREAD_SYNCS,  /* the log: everybody waits for it */
    THREAD_SERVES, /* a socket loop */
    THREAD_WORKS   /* as much as is left: blocks for ClickHouse, segments, files */
};

/* Names the calling thread (at most 15 characters) and sets its share. A refusal of the kernel is
 * no error: then it is as every other thread. Does not block. */
void thread_begin(const char *name, enum thread_share share);

#endif
