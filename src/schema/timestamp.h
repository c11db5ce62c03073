/* SPDX-License-Identifier: Apache-2.0 */
/* DateTime and DateTime64 values to RFC 3339 UTC text (http-api §7.4): pure text work, any thread.
 *
 * The canonical text is YYYY-MM-DDTHH:MM:SS[.f]Z; the fraction is cut, not rounded, to the column's
 * precision and loses its trailing zeros. A value that is not recognised, or outside the column's
 * range, stays as it is, byte for byte: ClickHouse decides about it. */
#ifndef WH_SCHEMA_TIMESTAMP_H
#define WH_SCHEMA_TIMESTAMP_H

#include "base/slice.h"
#include "schema/zone.h"

#include <stdint.h>

#define TIMESTAMP_CAP 40 /* bytes; the longest text has 30 */

struct timestamp_type {
    bool is_64;        /* DateTime64 */
    uint8_t precision; /* digits of the fraction, 0…9; 0 for DateTime */
};

enum timestamp_result {
    TIMESTAMP_AS_IS,    /* leave the value alone */
    TIMESTAMP_ALREADY,  /* canonical text already: leave it alone, too */
    TIMESTAMP_REPLACED, /* out holds the canonical text */
    TIMESTAMP_NO_ZONE   /* text without a zone, and none was given */
};

/* A string value (escapes resolved). zone: for text without one; NULL when not at hand. */
enum timestamp_result timestamp_from_text(struct timestamp_type t, struct slice text,
                                          const struct zone *zone, char out[TIMESTAMP_CAP],
                                          size_t *len);

/* A non-negative integer as JSON digits: seconds for DateTime, ticks for DateTime64. */
enum timestamp_result timestamp_from_digits(struct timestamp_type t, struct slice digits,
                                            char out[TIMESTAMP_CAP], size_t *len);

/* An instant in nanoseconds since 1970 UTC. */
enum timestamp_result timestamp_from_ns(struct timestamp_type t, uint64_t ns,
                                        char out[TIMESTAMP_CAP], size_t *len);

#endif
