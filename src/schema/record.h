/* SPDX-License-Identifier: Apache-2.0 */
/* One record: checked against its table, then written in canonical form (http-api §7.3, §7.4).
 *
 * Canonical form = one JSON object on one line: unknown keys dropped (when ignored), of duplicate
 * keys the last, no insignificant white space, top-level DateTime and DateTime64 values as RFC 3339
 * UTC, received_timestamp stamped. White space stays where ClickHouse may store it as text: in
 * arrays and objects that hold further ones, for a type with a String inside, unless there is a
 * line break. Keys appear in the order sent; an unchanged record without white space is copied byte
 * for byte. */
#ifndef WH_SCHEMA_RECORD_H
#define WH_SCHEMA_RECORD_H

#include "schema/schema.h"
#include "json/json.h"

struct record_options {
    bool ignore_unknown;  /* ingest.unknown_columns: ignore */
    bool hold_unknown;    /* ingest.unknown_columns: hold; a record is refused for its other faults
                             only, and comes out with its unknown keys */
    bool stamp_received;  /* ingest.stamp_received_timestamp */
    bool defaults;        /* as in ClickHouse nothing is required: a column that is missing, or null
                             without being nullable, takes its DEFAULT or its type's zero value */
    bool any_kind;        /* kinds are not judged: whoever asks for this judges the values */
    const uint64_t *only; /* a bit per ordinal: columns that may be named, others are unknown; NULL:
                             all that take values */
    const uint64_t *stamped; /* a bit per ordinal: columns that get a value later when they are
                                absent, so that they are never missing; NULL: none */
};

/* Which check refused a record, in the order of checks. */
enum record_rule {
    RECORD_TAKEN,
    RECORD_SIZE,    /* too large */
    RECORD_SHAPE,   /* not a JSON object */
    RECORD_UNKNOWN, /* unknown column */
    RECORD_KIND,    /* a JSON kind that the type cannot store */
    RECORD_MISSING, /* required column without a key */
    RECORD_NULL,    /* null for a required column */
    RECORD_VALUE,   /* ClickHouse would refuse a value (strict validation; not here) */
    RECORD_NO_ID,   /* without the id that dedupe.require_id asks for (not here) */
    RECORD_COLUMN,  /* a column that the caller's role may not write (not here) */
    RECORD_CHECK,   /* an insert check of the policy (not here) */
    RECORD_RULES_COUNT
};
/* "value", "unknown_column", …: as dry runs name them. */
const char *record_rule_name(enum record_rule rule);

struct record_result {
    int status; /* 0, or the HTTP status a single record is answered with (400) */
    enum record_rule rule;
    int32_t code;       /* ClickHouse's error number when it is known, else 0 */
    char message[2048]; /* the exact text of http-api §7.3; long names are cut, UTF-8 kept whole */
    uint32_t unknown_ignored; /* keys dropped */
    uint32_t unknown_held;    /* keys that wait for a column (hold_unknown); 0: it fits */
    uint32_t
        stamp_off; /* where in the canonical form received_timestamp was stamped; 0: it was not */
    bool unknown_column; /* why it was refused: perhaps the schema is out of date */
};

struct record_checker; /* scratch memory and zone cache; one per thread */
struct record_checker *record_checker_new(void);
void record_checker_free(struct record_checker *c);

/* Check doc (any kind; a non-object is refused) for table t, in this order: shape, unknown columns,
 * kinds (both in key order), missing columns (in table order), nulls (in key order). Of duplicate
 * keys only the last is judged. Blocks on a zoneinfo file the first time a zone-less text meets a
 * zone. On success append its canonical form to out, without a newline; on refusal out is
 * unchanged. received_ns: acceptance instant in nanoseconds since 1970 UTC. server_timezone: for
 * columns without their own. Returns result->status, or -ENOMEM/WH_EFULL when out cannot grow. Does
 * not allocate in the steady state.
 */
int record_check(struct record_checker *c, const struct schema_table *t,
                 struct slice server_timezone, const struct record_options *options,
                 const struct json_doc *doc, uint64_t received_ns, struct buf *out,
                 struct record_result *result) WH_MUST_CHECK;

#endif
