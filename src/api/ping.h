/* SPDX-License-Identifier: Apache-2.0 */
/* The ping of /readyz, on a thread of its own: it answers soon, whatever discovery waits for.
 * discovery.h is the way to it. */
#ifndef WH_API_PING_H
#define WH_API_PING_H

#include "api/discovery.h"

struct ping;

int ping_start(struct ping **out, struct ch_target *target, struct err *e) WH_MUST_CHECK;
/* Tasks that were not begun come back as CH_UNAVAILABLE. NULL is fine. */
void ping_stop(struct ping *p);
/* Pings from the next one on go there. Any thread, never blocks. */
void ping_set_target(struct ping *p, struct ch_target *target);
/* The task comes back after a ping that began later than this call: within three seconds. 0, or
 * WH_EFULL and the task is still the caller's. Any thread. */
int ping_ask(struct ping *p, struct discovery_task *task) WH_MUST_CHECK;

#endif
