/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones without libc's process-wide TZ: the system's zoneinfo files (RFC 8536), read once.
 *
 * "Civil seconds" are a wall clock's reading counted as if it were UTC. A zone is immutable after
 * loading: any thread may use it. UTC and its other names need no file; without the tzdata package
 * only they are known. */
#ifndef WH_SCHEMA_ZONE_H
#define WH_SCHEMA_ZONE_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

struct zone;

/* Load a zone by its IANA name. 0, WH_ENOTFOUND (no such zone, or not a name), WH_ECORRUPT (its
 * file makes no sense), -errno. On 0 the caller frees *out. Blocks: reads a file of a few KiB. */
int zone_load(struct slice name, struct zone **out, struct err *e) WH_MUST_CHECK;
/* As zone_load, from the bytes of a zoneinfo file. */
int zone_parse(struct slice name, struct slice file, struct zone **out,
               struct err *e) WH_MUST_CHECK;
void zone_free(struct zone *z);

struct slice zone_name(const struct zone *z);

/* Seconds east of UTC in force at an instant (seconds since 1970 UTC). Rules are expanded to 2300.
 */
int32_t zone_utc_offset(const struct zone *z, int64_t utc_s);

/* The instant at which a wall clock in z shows local_s (civil seconds), as ClickHouse resolves it:
 * of an hour that occurs twice the first; a time that is skipped is counted with the offset after
 * the jump (02:30 in a jump from 02:00 to 03:00 is 01:30 before it). */
int64_t zone_local_to_utc(const struct zone *z, int64_t local_s);

#endif
