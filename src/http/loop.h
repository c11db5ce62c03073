/* SPDX-License-Identifier: Apache-2.0 */
/* A socket loop: one thread, one event_base, watched descriptors and timers (libevent behind it).
 *
 * Everything but loop_stop is called on the loop's own thread, or before loop_run. */
#ifndef WH_HTTP_LOOP_H
#define WH_HTTP_LOOP_H

#include "base/err.h"
#include "base/queue.h"

#include <stdint.h>

struct event_base;
struct loop;

int loop_new(struct loop **out, struct err *e) WH_MUST_CHECK;
void loop_free(struct loop *l);

/* For http_server_new. */
struct event_base *loop_base(struct loop *l);

/* Consume q on this loop: on_items runs when something may be in it and pops until NULL. At most 16
 * queues; q is the caller's. */
int loop_watch_queue(struct loop *l, struct queue *q, void (*on_items)(void *arg),
                     void *arg) WH_MUST_CHECK;
/* Call fn every interval_ms. At most 16 timers. */
int loop_every(struct loop *l, uint64_t interval_ms, void (*fn)(void *arg),
               void *arg) WH_MUST_CHECK;

/* Something to do once at the end of a turn: fn runs after loop_defer when no descriptor is ready
 * any more. One deferred function per loop, set before loop_run. */
int loop_on_idle(struct loop *l, void (*fn)(void *arg), void *arg) WH_MUST_CHECK;
void loop_defer(struct loop *l);

/* Work in slices: fn runs once after loop_next_turn, when every descriptor that is ready by then
 * had its turn; it may ask for the next. One per loop, set before loop_run. */
int loop_on_turn(struct loop *l, void (*fn)(void *arg), void *arg) WH_MUST_CHECK;
void loop_next_turn(struct loop *l);
/* The same no sooner than so much later (to the microsecond, and as late as timers are); a call
 * of loop_next_turn meanwhile brings it forward. */
void loop_later_turn(struct loop *l, uint64_t ns);

/* Run until loop_stop. */
void loop_run(struct loop *l);
/* Any thread. */
void loop_stop(struct loop *l);

#endif
