/* SPDX-License-Identifier: Apache-2.0 */
/* Rates: how many rows and bytes a second a table takes, and a role hands in (limits.* in the
 * configuration). One for all socket loops.
 *
 * Each rate is a point in time: until then its bucket is empty. It moves on by cost/rate with each
 * request that is taken, from no earlier than `burst` ago:
 *
 *       now − burst            now
 *   ───────┼────────────●───────┼──────────►    ● free: a request is taken, whatever its size
 *                                   ●           ● owed: refused; the distance is Retry-After
 *
 * So a request larger than the burst is possible, is paid for afterwards, and the rate holds over
 * time for requests of any size. A bucket is one atomic word: loops share it without a lock, and
 * none can keep the others out.
 *
 * Names get a place when they are first seen, and keep it: at most LIMIT_LIMITED_NAMES; later ones
 * share one place. Any thread. */
#ifndef WH_API_LIMITS_H
#define WH_API_LIMITS_H

#include "base/slice.h"
#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

struct limits;
struct limits *limits_new(void); /* NULL: out of memory */
void limits_free(struct limits *l);

struct limits_ask {
    struct slice table, role;
    const struct config_rates *table_rates, *role_rates;
    uint64_t rows, bytes; /* 0 and 0: only ask whether something is owed */
    uint64_t now_ns;      /* monotonic */
};

enum limits_by {
    LIMITS_ROWS,
    LIMITS_BYTES,
    LIMITS_ROLE_ROWS,
    LIMITS_ROLE_BYTES,
    LIMITS_KINDS
};
struct limits_verdict {
    enum limits_by by;   /* the one that is owed longest */
    uint64_t per_second; /* its rate */
    uint64_t wait_ns;    /* until nothing is owed */
};

/* True: taken, and what it costs is owed. False: refused (and counted), nothing is owed for it. */
bool limits_take(struct limits *l, const struct limits_ask *ask, struct limits_verdict *verdict);

#endif
