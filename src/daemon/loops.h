/* SPDX-License-Identifier: Apache-2.0 */
/* The socket loop threads: started together, drained together. */
#ifndef WH_DAEMON_LOOPS_H
#define WH_DAEMON_LOOPS_H

#include "api/api.h"

struct loops;

/* count threads over the same listeners. shared and the descriptors are not owned. */
int loops_start(struct loops **out, struct api_shared *shared, uint32_t count,
                const struct http_listener *listeners, int listen_count,
                struct err *e) WH_MUST_CHECK;
/* Stop accepting, let requests end for up to timeout_ms, then end the threads. Blocks. */
void loops_stop(struct loops *l, uint64_t timeout_ms);
/* Close what is left. After the log and discovery have stopped: until then they may hand answers to
 * the loops' queues. */
void loops_free(struct loops *l);

#endif
