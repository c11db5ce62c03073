/* SPDX-License-Identifier: Apache-2.0 */
/* How soon a thread runs after it wakes, where the processors do not suffice for all. */
#ifndef WH_BASE_THREAD_H
#define WH_BASE_THREAD_H

/* The calling thread needs little time, and soon: it asks the kernel for short slices (EEVDF,
 * Linux 6.12; before, that has no effect). It gets no more of the processor for it, and needs no
 * privilege; a refusal is no error. For a thread that many others wait for, and that sleeps after a
 * little work: one that writes to many sockets in a row would only be interrupted. Does not block.
 */
void thread_short_slices(void);

#endif
