/* SPDX-License-Identifier: Apache-2.0 */
/* Building one unit's blocks while the unit before it is being sent.
 *
 *   sender  ── send piece 1 ──►│── send piece 2 ──►│ …
 *   ahead   ── build piece 2 ─►│── build piece 3 ─►│ …
 *
 * A helper thread of one sender, made when it is needed first. What it makes is a cache: the
 * sender takes the result when it comes to exactly these rows, and builds itself otherwise. */
#ifndef WH_FLUSH_AHEAD_H
#define WH_FLUSH_AHEAD_H

#include "flush/build.h"

struct flush_ahead;

/* NULL: no memory. */
struct flush_ahead *flush_ahead_new(void);
/* Not while it builds. NULL is fine. */
void flush_ahead_free(struct flush_ahead *a);

/* Build these rows into b. Until flush_ahead_wait, b, what src points to and src->refuse's ctx
 * belong to the helper (rows and src itself are copied, its mark too). False: it could not be
 * started. The sender's thread only, and not twice without a wait. */
bool flush_ahead_start(struct flush_ahead *a, struct flush_build *b, const struct flush_source *src,
                       const struct flush_rows *rows);
bool flush_ahead_busy(const struct flush_ahead *a);
/* Wait for the end of what was started. 0 when b holds exactly these rows and *mark is where the
 * build ended; else b holds nothing that is of use. */
int flush_ahead_wait(struct flush_ahead *a, const struct flush_rows *rows, struct flush_mark *mark);

#endif
