/* SPDX-License-Identifier: Apache-2.0 */
#include "access/policy.h"

#include "access/policy_priv.h"
#include "base/magic.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

const char *access_op_name(enum access_op op)
{
    return op == ACCESS_SELECT ? "select" : "insert";
}

const char *access_compare_name(enum access_compare op)
{
    static const char *const names[] = {"_eq", "_neq", "_gt", "_lt", "_in"};
    return names[op];
}

/* Immutable for everybody; only its count changes. */
static struct access_policy *countable(const struct access_policy *p)
{
    union {
        const struct access_policy *shown;
        struct access_policy *own;
    } u = {.shown = p};
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    return u.own;
}

struct access_policy *access_policy_ref(const struct access_policy *shared)
{
    struct access_policy *p = countable(shared);
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void access_policy_unref(const struct access_policy *shared)
{
    if (shared == NULL)
        return;
    struct access_policy *p = countable(shared);
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    p->magic = 0;
    free(p->ignored);
    arena_fini(&p->arena);
    free(p);
}

uint64_t access_policy_version(const struct access_policy *p)
{
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    return p->version;
}

struct slice access_policy_default_role(const struct access_policy *p)
{
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    return p->default_role;
}

struct slice access_policy_admin_role(const struct access_policy *p)
{
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    return p->admin_role;
}

/* ---- questions ------------------------------------------------------------------------------- */

static int table_is(const void *name, const void *table)
{
    return slice_compare(*(const struct slice *)name, ((const struct access_table *)table)->name);
}

static int grant_is(const void *role, const void *grant)
{
    return slice_compare(*(const struct slice *)role, ((const struct access_grant *)grant)->role);
}

const struct access_grant *access_policy_grant(const struct access_policy *p, struct slice table,
                                               enum access_op op, struct slice role)
{
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    if (p->table_count == 0)
        return NULL;
    const struct access_table *t = bsearch(&table, p->tables, p->table_count, sizeof(*t), table_is);
    if (t == NULL || t->grant_count[op] == 0)
        return NULL;
    return bsearch(&role, t->grants[op], t->grant_count[op], sizeof(struct access_grant), grant_is);
}

static bool has_name(const struct access_names *names, struct slice name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (slice_eq(names->list[i], name))
            return true;
    return false;
}

bool access_grant_column(const struct access_grant *g, struct slice column)
{
    return !has_name(&g->deny_columns, column) &&
           (g->allow_columns.count == 0 || has_name(&g->allow_columns, column));
}

static bool has_word(const struct access_names *names, struct slice name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (names->list[i].len == name.len &&
            strncasecmp(names->list[i].ptr, name.ptr, name.len) == 0)
            return true;
    return false;
}

bool access_grant_aggregation(const struct access_grant *g, struct slice name)
{
    return !has_word(&g->denied_aggregations, name) &&
           (g->allowed_aggregations.count == 0 || has_word(&g->allowed_aggregations, name));
}

/* ---- out again ------------------------------------------------------------------------------- */

static void put_op(const struct access_table *t, enum access_op op, struct buf *out)
{
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < t->grant_count[op]; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        buf_put_json_string(out, t->grants[op][i].role);
        buf_put_u8(out, ':');
        buf_put_slice(out, t->grants[op][i].json);
    }
    buf_put_u8(out, '}');
}

void access_policy_put_json(const struct access_policy *p, struct buf *out)
{
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    buf_put_str(out, "{\"default_role\":");
    buf_put_json_string(out, p->default_role);
    buf_put_str(out, ",\"admin_role\":");
    buf_put_json_string(out, p->admin_role);
    buf_put_str(out, ",\"tables\":{");
    for (uint32_t i = 0; i < p->table_count; i++) {
        const struct access_table *t = &p->tables[i];
        const char *comma = "";
        if (i > 0)
            buf_put_u8(out, ',');
        buf_put_json_string(out, t->name);
        buf_put_str(out, ":{");
        for (int op = 0; op < ACCESS_OPS; op++) {
            if (t->grant_count[op] == 0)
                continue;
            buf_printf(out, "%s\"%s\":", comma, access_op_name((enum access_op)op));
            put_op(t, (enum access_op)op, out);
            comma = ",";
        }
        buf_put_u8(out, '}');
    }
    buf_put_u8(out, '}');
    buf_put_slice(out, p->extra);
    buf_put_u8(out, '}');
}

/* ---- warnings -------------------------------------------------------------------------------- */

struct warner {
    access_warn_fn fn;
    void *arg;
    uint32_t count;
};

__attribute__((format(printf, 2, 3))) static void warn(struct warner *w, const char *fmt, ...)
{
    char text[WH_ERR_TEXT_CAP];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    w->fn(w->arg, text);
    w->count++;
}

static void warn_columns(struct warner *w, const struct schema_table *st, const char *where,
                         const char *field, const struct access_names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (schema_table_column(st, names->list[i]) == NULL)
            warn(w, "%s: %s names column \"%.*s\", which the table does not have", where, field,
                 SLICE_ARG(names->list[i]));
}

static void warn_grant(struct warner *w, const struct access_policy *p,
                       const struct access_table *t, enum access_op op,
                       const struct access_grant *g, const struct schema_table *st)
{
    char where[512];
    (void)snprintf(where, sizeof(where), "table \"%.*s\", op \"%s\", role \"%.*s\"",
                   t->name.len < 128 ? (int)t->name.len : 128, t->name.ptr, access_op_name(op),
                   g->role.len < 128 ? (int)g->role.len : 128, g->role.ptr);
    if (slice_eq(g->role, p->admin_role))
        warn(w, "%s: the admin role may do everything; this entry has no effect", where);
    if (slice_eq_str(g->role, "*"))
        warn(w, "%s: \"*\" is no wildcard: it matches only a role of that name", where);
    if (st == NULL)
        return;
    warn_columns(w, st, where, "allow_columns", &g->allow_columns);
    warn_columns(w, st, where, "deny_columns", &g->deny_columns);
    for (uint32_t i = 0; i < g->rule_count; i++)
        if (schema_table_column(st, g->rules[i].column) == NULL)
            warn(w, "%s: %s names column \"%.*s\", which the table does not have", where,
                 op == ACCESS_SELECT ? "filter" : "check", SLICE_ARG(g->rules[i].column));
}

static bool has_grant(const struct access_policy *p, struct slice role)
{
    for (uint32_t i = 0; i < p->table_count; i++)
        for (int op = 0; op < ACCESS_OPS; op++)
            if (access_policy_grant(p, p->tables[i].name, (enum access_op)op, role) != NULL)
                return true;
    return false;
}

uint32_t access_policy_warn(const struct access_policy *p, const struct schema_catalog *catalog,
                            access_warn_fn fn, void *arg)
{
    struct warner w = {fn, arg, 0};
    uint32_t grants = 0;
    CHECK_MAGIC(p, ACCESS_POLICY_MAGIC);
    for (uint32_t i = 0; i < p->ignored_count; i++)
        warn(&w, "%.*s", SLICE_ARG(p->ignored[i]));
    for (uint32_t i = 0; i < p->table_count; i++) {
        const struct access_table *t = &p->tables[i];
        const struct schema_table *st =
            catalog != NULL ? schema_catalog_find(catalog, t->name) : NULL;
        if (catalog != NULL && st == NULL)
            warn(&w, "table \"%.*s\" is not known", SLICE_ARG(t->name));
        for (int op = 0; op < ACCESS_OPS; op++)
            for (uint32_t g = 0; g < t->grant_count[op]; g++, grants++)
                warn_grant(&w, p, t, (enum access_op)op, &t->grants[op][g], st);
    }
    if (grants == 0)
        warn(&w, "the policy grants nothing to anybody but the admin role");
    if (slice_eq(p->default_role, p->admin_role))
        warn(&w,
             "default_role is the admin role \"%.*s\": everybody without a token may do "
             "everything",
             SLICE_ARG(p->admin_role));
    else if (p->default_role.len > 0 && !has_grant(p, p->default_role))
        warn(&w, "default_role \"%.*s\" has no grant", SLICE_ARG(p->default_role));
    return w.count;
}
