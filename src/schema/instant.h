/* SPDX-License-Identifier: Apache-2.0 */
/* Points in time as operators and queries name them (http-api §8.4): an RFC 3339 instant, or a
 * duration that means "that long ago". Pure text work, any thread. */
#ifndef WH_SCHEMA_INSTANT_H
#define WH_SCHEMA_INSTANT_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* "2026-11-21T10:00:00.5Z", any offset, or the date alone (midnight UTC); or, counted back from
 * now_ns, units of w d h m s ms us ns with fractions and sums: "90m", "1.5h", "1d12h". Nanoseconds
 * since 1970 UTC into *out. False: text is neither, or outside 1970…2262. */
bool instant_parse(struct slice text, uint64_t now_ns, uint64_t *out);

/* The same without the date alone, and an instant may have any year from 0000 to 9999: seconds
 * since 1970, and nanoseconds. */
bool instant_parse_wide(struct slice text, uint64_t now_ns, int64_t *seconds, uint32_t *ns);
/* Only the instant. */
bool instant_parse_rfc3339(struct slice text, int64_t *seconds, uint32_t *ns);

/* The instant as RFC 3339 UTC, with nine digits of fraction when ns is not 0; returns the length.
 * Ends with NUL. */
#define INSTANT_CAP 48
size_t instant_write(int64_t seconds, uint32_t ns, char out[INSTANT_CAP]);

/* The words for an error text about what instant_parse refuses. */
#define INSTANT_FORMS \
    "an instant such as 2026-11-21T10:00:00Z, or a time ago such as 90m, 1.5h or 1d12h"

/* Append the instant as RFC 3339 UTC with nine digits of fraction, as ids and answers have it. */
void instant_put(struct buf *out, uint64_t ns);

#endif
