/* SPDX-License-Identifier: Apache-2.0 */
/* A sample of records → a table that takes them (POST /v1/schema/suggest).
 *
 * Records are looked at one by one: which keys, which JSON kinds, how large the numbers, what the
 * strings have in common, how many different values. suggest_finish then names a type per column in
 * the words of the server's version:
 *
 *   true, false               Bool (before 21.12: String)
 *   integers                  Int64, UInt64 when they need it, wider ones, else String
 *   other numbers             Float64
 *   strings, all of a form    DateTime, DateTime64(p), Date, Date32, UUID, IPv4, IPv6
 *   other strings             String, LowCardinality(String) when they are mostly the same few
 *   arrays                    Array(T)
 *   objects, always the       Tuple(a T, b U)
 *     same keys
 *   objects, changing keys    Map(String, T); JSON when the values differ in type, too
 *
 * Nullable where a value was null or missing; an array or object that was missing gets a DEFAULT.
 * Deterministic: the same sample gives the same text. Memory is bounded: LIMIT_SUGGEST_…. One owner
 * thread; does not block. */
#ifndef WH_SCHEMA_SUGGEST_H
#define WH_SCHEMA_SUGGEST_H

#include "base/buf.h"
#include "json/json.h"

#include <stdbool.h>

struct suggest;

struct suggest_options {
    struct slice table;          /* its name */
    struct slice server_version; /* version() of the server, as "26.7.2.1" */
    bool stamped; /* the daemon fills received_timestamp (ingest.stamp_received_timestamp) */
};

struct suggest_column {
    struct slice name;
    struct slice type;         /* empty: no type of this server takes such values; left out */
    struct slice default_expr; /* empty: none */
};

/* NULL when memory ran out. */
struct suggest *suggest_new(void);
void suggest_free(struct suggest *s);

/* Look at one record. 0; WH_ESYNTAX: not an object; WH_ELIMIT: the sample is large enough, nothing
 * more is looked at; -ENOMEM. */
int suggest_add(struct suggest *s, const struct json_doc *doc) WH_MUST_CHECK;

/* Name the types; again after suggest_widen. Options must stay valid. 0 or -ENOMEM. */
int suggest_finish(struct suggest *s, const struct suggest_options *options) WH_MUST_CHECK;
/* In the order in which they were met; received_timestamp, when it was added, last. */
uint32_t suggest_column_count(const struct suggest *s);
struct suggest_column suggest_column(const struct suggest *s, uint32_t i);
/* The type did not take every value of the sample: the column becomes one that does, a String for
 * scalars. Once between two calls of suggest_finish. False when nothing changes. */
bool suggest_widen(struct suggest *s, uint32_t i);

/* {"sql":"CREATE TABLE …","columns":[{"name","type","nullable","seen","examples"}],"notes":[…]
 * without the closing brace, so that the caller can add what it knows. */
void suggest_write(const struct suggest *s, struct buf *out);

#endif
