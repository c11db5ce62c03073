/* SPDX-License-Identifier: Apache-2.0 */
/* The row filter of a grant with a caller's claims filled in, for one table (access-control §6,
 * §7).
 *
 * It is used in two ways that must agree: as SQL for queries, and on events for streams. A stream
 * never delivers a row that the query would hide: what cannot be proven on the event alone is
 * withheld. Where the specification leaves room, this is the narrower reading:
 *   - an instant with more fraction digits than the column holds is withheld as an operand, not
 * cut: SQL compares with the whole operand;
 *   - Date, UUID, Enum and IP columns match only JSON strings, dates only spelt YYYY-MM-DD, enums
 * only names of the type; other types (arrays, maps, JSON …) never match.
 *
 * A predicate is immutable and counted, and holds a reference of its catalog; any thread. */
#ifndef WH_ACCESS_PREDICATE_H
#define WH_ACCESS_PREDICATE_H

#include "access/template.h"

struct access_predicate;

struct access_predicate *access_predicate_ref(struct access_predicate *p);
void access_predicate_unref(struct access_predicate *p); /* NULL is fine */

/* ---- as SQL ---- */

enum access_sql_style {
    ACCESS_SQL_PARAMETERS, /* {pN:String} */
    ACCESS_SQL_LITERALS    /* escaped literals, for servers without parameters; those also lack
                              accurateCastOrNull, so integers are judged here */
};
/* Append the predicate in parentheses, to stand first in WHERE; value i is bound as p(first + i),
 * escaped as the transport wants it. False, and nothing appended: there is no filter. A filter that
 * nothing can pass is (1 = 0). */
bool access_predicate_sql(const struct access_predicate *p, enum access_sql_style style,
                          uint32_t first, struct buf *out);
uint32_t access_predicate_value_count(const struct access_predicate *p);
struct slice access_predicate_value(const struct access_predicate *p, uint32_t i);

/* ---- on events ---- */

enum access_match {
    ACCESS_MATCH,
    ACCESS_MISMATCH, /* proven: not this subscriber's row */
    /* withheld */
    ACCESS_NO_CLAIM,   /* a claim is missing or unusable: nothing passes */
    ACCESS_NO_COLUMN,  /* the table has no such column */
    ACCESS_ABSENT,     /* the event leaves the column out: its DEFAULT is not known here */
    ACCESS_NULL,       /* JSON null */
    ACCESS_UNPROVABLE, /* the column's type or the operator cannot be judged here */
    ACCESS_UNREADABLE, /* the event's value is not in a form that can be judged */
    ACCESS_OPERAND     /* the claim's is not */
};
/* For the label `reason` of wavehouse_sse_rows_withheld_total: "no_claim" … */
const char *access_match_name(enum access_match m);

/* Is the record doc (an object, with all its columns) one that the query would show? scratch: any
 * buffer, its content is replaced. */
enum access_match access_predicate_match(const struct access_predicate *p,
                                         const struct json_doc *doc, struct buf *scratch);

/* ---- compiled ones, remembered ---- */

struct access_predicates;

/* One owner thread. Keeps up to LIMIT_PREDICATES, by policy version, table, role and the claim
 * values used: equal subscribers share one predicate, and it can be evaluated once for them all. */
struct access_predicates *access_predicates_new(void);
void access_predicates_free(struct access_predicates *s);

/* The predicate of the grant g of policy for table, one reference; NULL: no memory. catalog NULL:
 * the schema is not loaded. Blocks on a zoneinfo file when a DateTime column is compiled. */
struct access_predicate *access_predicates_get(struct access_predicates *s,
                                               const struct access_policy *policy,
                                               const struct access_grant *g, struct slice table,
                                               const struct access_claims *claims,
                                               struct schema_catalog *catalog);

#endif
