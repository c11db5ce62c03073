/* SPDX-License-Identifier: Apache-2.0 */
/* The policy document: who may select from and insert into which table (access-control §3, §4).
 *
 *   {"default_role":"public","admin_role":"admin",
 *    "tables":{"events":{"select":{"viewer":{…}},"insert":{"writer":{…}}},     operation-first
 *              "clicks":{"viewer":{"select":{…}},"writer":{"insert":{…}}}}}    role-first
 *
 * What is not granted is denied. A document with anything that would not be honoured is refused
 * whole: a rule that is silently dropped would widen access. Members that mean nothing here are
 * kept for the client that wrote them (or refused when strict); they are told by the warnings.
 *
 * A policy is an immutable, counted snapshot; any thread. Names are at most LIMIT_NAME_BYTES. */
#ifndef WH_ACCESS_POLICY_H
#define WH_ACCESS_POLICY_H

#include "schema/schema.h"
#include "json/json.h"

enum access_op {
    ACCESS_SELECT,
    ACCESS_INSERT
};
#define ACCESS_OPS 2

enum access_compare {
    ACCESS_EQ,
    ACCESS_NEQ,
    ACCESS_GT,
    ACCESS_LT,
    ACCESS_IN
};

/* A value of a rule: text with claims in it (access-control §6). */
struct access_part {
    bool is_claim;
    struct slice text; /* literal text, or the dot path behind "jwt." */
};
struct access_value {
    struct slice source; /* as the document has it, unescaped */
    uint32_t part_count; /* 0: the empty text */
    const struct access_part *parts;
};

struct access_rule {
    struct slice column;
    enum access_compare op;
    struct access_value value;
};

struct access_names {
    uint32_t count;
    const struct slice *list;
};

struct access_grant {
    struct slice role;
    struct access_names allow_columns; /* count 0: all */
    struct access_names deny_columns;
    uint32_t rule_count; /* of filter (select) or check (insert), sorted by column */
    const struct access_rule *rules;
    struct access_names allowed_aggregations; /* count 0: all */
    struct access_names denied_aggregations;
    uint64_t max_rows; /* this and the following: 0 none */
    uint64_t max_execution_time_ms;
    uint64_t max_rows_to_read;
    uint64_t max_memory_usage_bytes;
    struct slice json; /* as GET answers it */
};

struct access_policy;

/* Read a JSON document. strict: members without meaning are refused (policy.strict). version: the
 * caller's number for this document; predicates are remembered under it. WH_ESYNTAX: no JSON object
 * ("invalid json" and where); WH_EUNSUPPORTED, WH_ELIMIT: the first finding in e, ready for the
 * client; -ENOMEM. reader: any, used until this returns. */
int access_policy_parse(struct json_reader *reader, struct slice text, bool strict,
                        uint64_t version, struct access_policy **out, struct err *e) WH_MUST_CHECK;
struct access_policy *access_policy_ref(const struct access_policy *p);
void access_policy_unref(const struct access_policy *p); /* NULL is fine */

/* Append the document as GET /v1/ops/policy answers it: operation-first, durations as integer
 * milliseconds, sizes as integer bytes, the rest as it came. Parsing it gives the same policy. */
void access_policy_put_json(const struct access_policy *p, struct buf *out);

uint64_t access_policy_version(const struct access_policy *p);
struct slice access_policy_default_role(const struct access_policy *p); /* len 0: none */
struct slice access_policy_admin_role(const struct access_policy *p);   /* never empty */

/* The role's grant, or NULL. The admin role needs none, and is not looked at here. */
const struct access_grant *access_policy_grant(const struct access_policy *p, struct slice table,
                                               enum access_op op, struct slice role);

/* May the grant's role name this column? */
bool access_grant_column(const struct access_grant *g, struct slice column);
/* May it use this aggregation? Names are compared in lower case (ASCII). */
bool access_grant_aggregation(const struct access_grant *g, struct slice name);

/* Call fn with each finding that does not make the policy invalid: members without meaning, grants
 * for the admin role, an open or useless default role, tables and columns that the catalog (NULL:
 * not asked) does not have. Returns how many. */
typedef void (*access_warn_fn)(void *arg, const char *text);
uint32_t access_policy_warn(const struct access_policy *p, const struct schema_catalog *catalog,
                            access_warn_fn fn, void *arg);

#endif
