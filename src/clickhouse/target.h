/* SPDX-License-Identifier: Apache-2.0 */
/* Which ClickHouse, and as whom: connection options that own their strings, counted.
 *
 * The settings of `clickhouse` can change while the daemon runs. Whoever makes a client takes a
 * reference first and drops it after the client is freed, so the old settings live as long as the
 * last client that was made with them. A target never changes; two of them are told apart by
 * address, which no other target can have while a reference is held. */
#ifndef WH_CLICKHOUSE_TARGET_H
#define WH_CLICKHOUSE_TARGET_H

#include "clickhouse/native.h"

struct ch_target;

/* A copy of options and of all that it points to, with one reference. NULL: out of memory. */
struct ch_target *ch_target_new(const struct ch_options *options);
/* One more reference; t. Any thread. */
struct ch_target *ch_target_ref(struct ch_target *t);
/* One reference less; the last frees, and wipes the password. NULL is fine. Any thread. */
void ch_target_unref(struct ch_target *t);
/* Valid while the reference is held. */
const struct ch_options *ch_target_options(const struct ch_target *t);

#endif
