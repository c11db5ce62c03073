/* SPDX-License-Identifier: Apache-2.0 */
/* From the document to a policy. Each grant is checked, and written anew for GET, on the way. */
#include "access/member.h"
#include "access/policy.h"
#include "access/policy_priv.h"
#include "access/scalar.h"
#include "access/template.h"
#include "access/units.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BLOCK (8 * KIB)
/* Unescaped names, parsed rules and the text for GET: a few times the document. */
#define ARENA_MAX   (32 * LIMIT_POLICY_BYTES)
#define SHOWN_BYTES 80 /* of a name in a finding */
#define NS_PER_MS   1000000

struct parser {
    struct access_policy *p;
    const struct json_doc *doc;
    struct err *e;
    bool strict;
    /* where we are, for findings */
    struct slice table, role;
    const char *op;  /* NULL: not inside one */
    struct buf json; /* of the grant being read */
};

/* Whole characters of s that a finding shows. */
static int shown(struct slice s)
{
    size_t n = s.len;
    if (n > SHOWN_BYTES)
        for (n = SHOWN_BYTES; n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80; n--)
            ;
    return (int)n;
}

static int where(const struct parser *ps, char *out, size_t cap)
{
    int n = 0;
    out[0] = '\0';
    if (ps->table.ptr != NULL)
        n = snprintf(out, cap, "table \"%.*s\"", shown(ps->table), ps->table.ptr);
    if (ps->op != NULL)
        n += snprintf(out + n, cap - (size_t)n, ", op \"%s\"", ps->op);
    if (ps->role.ptr != NULL)
        n += snprintf(out + n, cap - (size_t)n, ", role \"%.*s\"", shown(ps->role), ps->role.ptr);
    return n > 0 ? n + snprintf(out + n, cap - (size_t)n, ": ") : 0;
}

/* A finding that makes the document invalid. */
__attribute__((format(printf, 2, 3))) static int bad(const struct parser *ps, const char *fmt, ...)
{
    char text[WH_ERR_TEXT_CAP], place[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    (void)where(ps, place, sizeof(place));
    return err_set(ps->e, WH_EUNSUPPORTED, "%s%s", place, text);
}

static int no_memory(const struct parser *ps)
{
    return err_set(ps->e, -ENOMEM, "out of memory, or the policy is too large");
}

/* A member without meaning: an error when strict, otherwise kept and told by the warnings. */
static int ignored(struct parser *ps, struct slice name, const char *why)
{
    struct access_policy *p = ps->p;
    char text[WH_ERR_TEXT_CAP], place[512];
    if (ps->strict)
        return bad(ps, "\"%.*s\" %s", shown(name), name.ptr, why);
    (void)where(ps, place, sizeof(place));
    (void)snprintf(text, sizeof(text), "%s\"%.*s\" %s", place, shown(name), name.ptr, why);
    if (p->ignored_count == p->ignored_cap) {
        uint32_t cap = p->ignored_cap > 0 ? 2 * p->ignored_cap : 16;
        struct slice *grown = realloc(p->ignored, cap * sizeof(*grown));
        if (grown == NULL)
            return no_memory(ps);
        p->ignored = grown;
        p->ignored_cap = cap;
    }
    struct slice copy = arena_dup(&p->arena, slice_str(text));
    p->ignored[p->ignored_count] = copy;
    p->ignored_count += copy.ptr != NULL;
    return copy.ptr != NULL ? 0 : no_memory(ps);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static struct slice text_of(struct parser *ps, const struct json_node *n)
{
    struct slice raw = json_raw(ps->doc, n);
    char *p = arena_alloc(&ps->p->arena, raw.len + 1);
    return (struct slice){p, p != NULL ? json_unescape(raw, p) : 0};
}

/* The name at STRING node n: not over LIMIT_NAME_BYTES. */
static int name_of(struct parser *ps, const struct json_node *n, struct slice *out)
{
    *out = text_of(ps, n);
    if (out->ptr == NULL)
        return no_memory(ps);
    if (out->len > LIMIT_NAME_BYTES)
        return bad(ps, "the name \"%.*s…\" is over %d bytes", shown(*out), out->ptr,
                   LIMIT_NAME_BYTES);
    return 0;
}

static int no_duplicates(struct parser *ps, const struct json_node *obj)
{
    const struct json_node *twice;
    if (access_duplicate_key(ps->doc, obj, &twice) != 0)
        return no_memory(ps);
    if (twice != NULL)
        return bad(ps, "\"%.*s\" stands there twice", shown(json_raw(ps->doc, twice)),
                   json_raw(ps->doc, twice).ptr);
    return 0;
}

static int names_of(struct parser *ps, const char *field, const struct json_node *n,
                    struct access_names *out)
{
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_ARRAY)
        return bad(ps, "\"%s\" must be an array of names", field);
    struct slice *list = arena_calloc(&ps->p->arena, n->count + 1, sizeof(*list));
    uint32_t count = 0;
    if (list == NULL)
        return no_memory(ps);
    ACCESS_EACH_ELEMENT(ps->doc, n, item)
    {
        if (item->kind != JSON_STRING)
            return bad(ps, "\"%s\" must be an array of names", field);
        int rc = name_of(ps, item, &list[count++]);
        if (rc != 0)
            return rc;
    }
    *out = (struct access_names){count, list};
    return 0;
}

/* An allow list that contains "*" allows all. */
static int allowed_of(struct parser *ps, const char *field, const struct json_node *n,
                      struct access_names *out)
{
    int rc = names_of(ps, field, n, out);
    for (uint32_t i = 0; rc == 0 && i < out->count; i++)
        if (slice_eq_str(out->list[i], "*"))
            out->count = 0;
    return rc;
}

/* The number at n without a fraction, not negative, up to INT64_MAX. */
static int count_of(struct parser *ps, const char *field, const struct json_node *n, uint64_t *out)
{
    char text[ACCESS_NUMBER_CAP];
    size_t len;
    *out = 0;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_NUMBER || !access_number_canonical(json_raw(ps->doc, n), text, &len))
        return bad(ps, "\"%s\" must be a whole number", field);
    if (text[0] == '-')
        return bad(ps, "\"%s\" must not be negative", field);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '.' || __builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(text[i] - '0'), out) || *out > INT64_MAX)
            return bad(ps, "\"%s\" must be a whole number", field);
    return 0;
}

/* A limit with a unit: a number, or a text that `parse` takes. */
static int measure_of(struct parser *ps, const char *field, const char *forms,
                      bool (*parse)(struct slice, uint64_t *), const struct json_node *n,
                      uint64_t *out)
{
    char digits[ACCESS_NUMBER_CAP];
    struct slice text = {digits, 0};
    *out = 0;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind == JSON_STRING) {
        text = text_of(ps, n);
        if (text.ptr == NULL)
            return no_memory(ps);
    } else if (n->kind != JSON_NUMBER ||
               !access_number_canonical(json_raw(ps->doc, n), digits, &text.len)) {
        return bad(ps, "\"%s\" must be %s", field, forms);
    }
    if (text.len > 0 && text.ptr[0] == '-')
        return bad(ps, "\"%s\" must not be negative", field);
    if (!parse(text, out))
        return bad(ps, "\"%s\": \"%.*s\" is not %s", field, shown(text), text.ptr, forms);
    return 0;
}

static int duration_of(struct parser *ps, const struct json_node *n, uint64_t *ms)
{
    uint64_t ns;
    int rc = measure_of(ps, "max_execution_time", "milliseconds or a duration such as 500ms or 5s",
                        access_duration_ns, n, &ns);
    *ms = ns / NS_PER_MS;
    if (rc == 0 && ns > 0 && *ms == 0)
        rc = bad(ps, "\"max_execution_time\" must be at least 1 ms, or 0 for none");
    return rc;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static bool compare_of(const struct parser *ps, const struct json_node *key,
                       enum access_compare *op)
{
    for (int i = ACCESS_EQ; i <= ACCESS_IN; i++)
        if (json_string_is(ps->doc, key, access_compare_name((enum access_compare)i))) {
            *op = (enum access_compare)i;
            return true;
        }
    return false;
}

static int rule_of(struct parser *ps, const char *field, struct slice column,
                   const struct json_node *key, struct access_rule *out)
{
    struct slice op = json_raw(ps->doc, key);
    const struct json_node *n = key + 1;
    const char *why;
    out->column = column;
    if (!compare_of(ps, key, &out->op))
        return bad(ps, "%s on column \"%.*s\": unknown operator \"%.*s\"; known are %s", field,
                   shown(column), column.ptr, shown(op), op.ptr,
                   ps->op[0] == 's' ? "_eq, _neq, _gt, _lt and _in" : "_eq and _in");
    if (ps->op[0] == 'i' && out->op != ACCESS_EQ && out->op != ACCESS_IN)
        return bad(ps, "check on column \"%.*s\": %s cannot be checked; use _eq or _in",
                   shown(column), column.ptr, access_compare_name(out->op));
    if (n->kind == JSON_NULL || n->kind == JSON_OBJECT || n->kind == JSON_ARRAY)
        return bad(ps, "%s on column \"%.*s\": the value of %s must be a string%s", field,
                   shown(column), column.ptr, access_compare_name(out->op),
                   out->op == ACCESS_IN ? " such as \"{{ jwt.orgs }}\", a claim with the list"
                                        : "");
    struct slice text = n->kind == JSON_STRING ? text_of(ps, n) : json_raw(ps->doc, n);
    if (n->kind != JSON_STRING)
        text = arena_dup(&ps->p->arena, text);
    if (text.ptr == NULL)
        return no_memory(ps);
    if (!access_template_parse(&ps->p->arena, text, &out->value, &why))
        return why == NULL ? no_memory(ps)
                           : bad(ps, "%s on column \"%.*s\": %s in \"%.*s\"", field, shown(column),
                                 column.ptr, why, shown(text), text.ptr);
    return 0;
}

static int by_column(const void *a, const void *b)
{
    const struct access_rule *x = a, *y = b;
    int r = slice_compare(x->column, y->column);
    return r != 0 ? r : (int)x->op - (int)y->op;
}

static int rules_of(struct parser *ps, const char *field, const struct json_node *n,
                    struct access_grant *g)
{
    uint32_t total = 0;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_OBJECT)
        return bad(ps, "\"%s\" must be an object of columns", field);
    int rc = no_duplicates(ps, n);
    ACCESS_EACH_MEMBER(ps->doc, n, key)
    total += (key + 1)->kind == JSON_OBJECT ? (key + 1)->count : 0;
    struct access_rule *list = arena_calloc(&ps->p->arena, total + 1, sizeof(*list));
    if (rc == 0 && list == NULL)
        rc = no_memory(ps);
    for (const struct json_node *key = n + 1; rc == 0 && key < ps->doc->nodes + n->next;
         key = ps->doc->nodes + (key + 1)->next) {
        struct slice column;
        uint32_t first = g->rule_count;
        bool eq = false, in = false;
        if ((rc = name_of(ps, key, &column)) != 0)
            break;
        if ((key + 1)->kind != JSON_OBJECT || (key + 1)->count == 0)
            return bad(ps, "%s on column \"%.*s\": no operator; write {\"_eq\": \"…\"}", field,
                       shown(column), column.ptr);
        rc = no_duplicates(ps, key + 1);
        ACCESS_EACH_MEMBER(ps->doc, key + 1, op)
        if (rc == 0)
            rc = rule_of(ps, field, column, op, &list[g->rule_count++]);
        for (uint32_t i = first; rc == 0 && i < g->rule_count; i++) {
            eq |= list[i].op == ACCESS_EQ;
            in |= list[i].op == ACCESS_IN;
        }
        if (rc == 0 && eq && in && ps->op[0] == 'i')
            return bad(ps, "check on column \"%.*s\": _eq together with _in; use one of them",
                       shown(column), column.ptr);
    }
    qsort(list, rc == 0 ? g->rule_count : 0, sizeof(*list), by_column);
    g->rules = list;
    return rc;
}

/* ---- grants ---------------------------------------------------------------------------------- */

static bool is(const struct parser *ps, const struct json_node *key, const char *name)
{
    return json_string_is(ps->doc, key, name);
}

#define INSERT_MEMBERS "allow_columns, deny_columns and check"
#define SELECT_MEMBERS                                                                 \
    "allow_columns, deny_columns, filter, allowed_aggregations, denied_aggregations, " \
    "max_rows, max_rows_to_read, max_execution_time and max_memory_usage"

/* One member of a grant; what GET shall answer for it is appended to ps->json. */
static int field_of(struct parser *ps, const struct json_node *key, struct access_grant *g)
{
    const struct json_node *n = key + 1;
    bool select = ps->op[0] == 's', as_number = false;
    uint64_t number = 0;
    int rc;
    if (is(ps, key, "allow_columns"))
        rc = allowed_of(ps, "allow_columns", n, &g->allow_columns);
    else if (is(ps, key, "deny_columns"))
        rc = names_of(ps, "deny_columns", n, &g->deny_columns);
    else if (is(ps, key, "filter"))
        rc = select ? rules_of(ps, "filter", n, g)
                    : bad(ps, "a filter has no effect on insert: use \"check\"");
    else if (is(ps, key, "check"))
        rc = select ? bad(ps, "a check has no effect on select: use \"filter\"")
                    : rules_of(ps, "check", n, g);
    else if (select && is(ps, key, "allowed_aggregations"))
        rc = names_of(ps, "allowed_aggregations", n, &g->allowed_aggregations);
    else if (select && is(ps, key, "denied_aggregations"))
        rc = names_of(ps, "denied_aggregations", n, &g->denied_aggregations);
    else if (select && is(ps, key, "max_rows"))
        rc = count_of(ps, "max_rows", n, &g->max_rows);
    else if (select && is(ps, key, "max_rows_to_read"))
        rc = count_of(ps, "max_rows_to_read", n, &g->max_rows_to_read);
    else if (select && is(ps, key, "max_execution_time")) {
        rc = duration_of(ps, n, &g->max_execution_time_ms);
        number = g->max_execution_time_ms;
        as_number = true;
    } else if (select && is(ps, key, "max_memory_usage")) {
        rc = measure_of(ps, "max_memory_usage", "bytes or a size such as 4GiB or 500MB",
                        access_size_bytes, n, &g->max_memory_usage_bytes);
        number = g->max_memory_usage_bytes;
        as_number = true;
    } else {
        struct slice name;
        rc = name_of(ps, key, &name);
        if (rc == 0)
            rc = ignored(ps, name,
                         select ? "means nothing here; known are " SELECT_MEMBERS
                                : "means nothing here; known are " INSERT_MEMBERS);
    }
    buf_put_str(&ps->json, ps->json.len > 1 ? "," : "");
    buf_put(&ps->json, ps->doc->text + key->off - 1, (size_t)key->len + 2);
    buf_put_u8(&ps->json, ':');
    if (as_number)
        buf_printf(&ps->json, "%" PRIu64, number);
    else
        json_put_minified(&ps->json, ps->doc, n);
    return rc;
}

static int grant_of(struct parser *ps, enum access_op op, struct slice role,
                    const struct json_node *n, struct access_grant *g)
{
    ps->op = access_op_name(op);
    if (role.len == 0)
        return bad(ps, "empty role name");
    ps->role = role;
    *g = (struct access_grant){.role = role};
    if (n->kind != JSON_OBJECT)
        return bad(ps, "must be an object; write {} to allow without restriction");
    int rc = no_duplicates(ps, n);
    buf_reset(&ps->json);
    buf_put_u8(&ps->json, '{');
    ACCESS_EACH_MEMBER(ps->doc, n, key)
    if (rc == 0)
        rc = field_of(ps, key, g);
    buf_put_u8(&ps->json, '}');
    if (rc != 0)
        return rc;
    if (buf_ok(&ps->json))
        g->json = arena_dup(&ps->p->arena, buf_slice(&ps->json));
    ps->role = (struct slice){NULL, 0};
    ps->op = NULL;
    return g->json.ptr != NULL ? 0 : no_memory(ps);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static bool op_of(const struct parser *ps, const struct json_node *key, enum access_op *op)
{
    *op = is(ps, key, "insert") ? ACCESS_INSERT : ACCESS_SELECT;
    return *op == ACCESS_INSERT || is(ps, key, "select");
}

/* Where the document says `outer`.`inner` inside the table; NULL when it does not. */
static const struct json_node *at(const struct parser *ps, const struct json_node *table,
                                  const char *outer, const char *inner)
{
    const struct json_node *n = access_member(ps->doc, table, slice_str(outer));
    return n != NULL ? access_member(ps->doc, n, slice_str(inner)) : NULL;
}

/* All keys of the table are operations. It may still be role-first, for roles that are called
 * select and insert; then both readings must come to the same. */
static bool is_ambiguous(const struct parser *ps, const struct json_node *table)
{
    enum access_op op;
    uint32_t inner = 0;
    ACCESS_EACH_MEMBER(ps->doc, table, outer)
    {
        if ((outer + 1)->kind != JSON_OBJECT)
            continue;
        ACCESS_EACH_MEMBER(ps->doc, outer + 1, key)
        {
            if (!op_of(ps, key, &op))
                return false;
            inner++;
        }
    }
    const struct json_node *one = at(ps, table, "select", "insert");
    const struct json_node *two = at(ps, table, "insert", "select");
    if (inner == 0 || (one == NULL && two == NULL))
        return false;
    return one == NULL || two == NULL || !slice_eq(json_raw(ps->doc, one), json_raw(ps->doc, two));
}

static int by_role(const void *a, const void *b)
{
    return slice_compare(((const struct access_grant *)a)->role,
                         ((const struct access_grant *)b)->role);
}

static int operation_first(struct parser *ps, const struct json_node *n, struct access_table *t)
{
    int rc = 0;
    ACCESS_EACH_MEMBER(ps->doc, n, outer)
    {
        enum access_op op;
        const struct json_node *roles = outer + 1;
        (void)op_of(ps, outer, &op);
        ps->op = access_op_name(op);
        if (roles->kind == JSON_NULL)
            continue;
        if (roles->kind != JSON_OBJECT)
            return bad(ps, "must be an object of roles");
        if ((rc = no_duplicates(ps, roles)) != 0)
            return rc;
        t->grants[op] = arena_calloc(&ps->p->arena, roles->count + 1, sizeof(struct access_grant));
        if (t->grants[op] == NULL)
            return no_memory(ps);
        ACCESS_EACH_MEMBER(ps->doc, roles, key)
        {
            struct slice role;
            ps->op = access_op_name(op);
            if ((rc = name_of(ps, key, &role)) != 0 ||
                (rc = grant_of(ps, op, role, key + 1, &t->grants[op][t->grant_count[op]++])) != 0)
                return rc;
        }
        ps->op = NULL;
    }
    return rc;
}

static int role_first(struct parser *ps, const struct json_node *n, struct access_table *t)
{
    for (int op = 0; op < ACCESS_OPS; op++) {
        t->grants[op] = arena_calloc(&ps->p->arena, n->count + 1, sizeof(struct access_grant));
        if (t->grants[op] == NULL)
            return no_memory(ps);
    }
    ACCESS_EACH_MEMBER(ps->doc, n, outer)
    {
        struct slice role;
        int rc = name_of(ps, outer, &role);
        if (rc != 0)
            return rc;
        if (role.len == 0)
            return bad(ps, "empty role name");
        ps->role = role;
        if ((outer + 1)->kind != JSON_OBJECT)
            return bad(ps, "must be an object with \"select\" or \"insert\"");
        if ((rc = no_duplicates(ps, outer + 1)) != 0)
            return rc;
        ACCESS_EACH_MEMBER(ps->doc, outer + 1, key)
        {
            enum access_op op;
            ps->role = role;
            if (!op_of(ps, key, &op))
                return bad(ps, "unknown operation \"%.*s\"; known are select and insert",
                           shown(json_raw(ps->doc, key)), json_raw(ps->doc, key).ptr);
            if ((rc = grant_of(ps, op, role, key + 1, &t->grants[op][t->grant_count[op]++])) != 0)
                return rc;
        }
        ps->role = (struct slice){NULL, 0};
    }
    return 0;
}

static int table_of(struct parser *ps, const struct json_node *n, struct access_table *t)
{
    uint32_t ops = 0;
    enum access_op op;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_OBJECT)
        return bad(ps, "must be an object with \"select\" and \"insert\", or of roles");
    int rc = no_duplicates(ps, n);
    if (rc != 0)
        return rc;
    ACCESS_EACH_MEMBER(ps->doc, n, key)
    ops += op_of(ps, key, &op);
    if (ops != 0 && ops != n->count)
        return bad(ps, "mixes operations and roles: below a table stand either select and insert, "
                       "or role names");
    if (ops != 0 && is_ambiguous(ps, n))
        return bad(ps, "a role called \"select\" or \"insert\" can be read in two ways: rename it");
    rc = ops != 0 ? operation_first(ps, n, t) : role_first(ps, n, t);
    for (int i = 0; rc == 0 && i < ACCESS_OPS; i++)
        if (t->grant_count[i] > 1)
            qsort(t->grants[i], t->grant_count[i], sizeof(struct access_grant), by_role);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return slice_compare(((const struct access_table *)a)->name,
                         ((const struct access_table *)b)->name);
}

static int tables_of(struct parser *ps, const struct json_node *n)
{
    struct access_policy *p = ps->p;
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_OBJECT)
        return bad(ps, "\"tables\" must be an object of tables");
    int rc = no_duplicates(ps, n);
    p->tables = arena_calloc(&p->arena, n->count + 1, sizeof(*p->tables));
    if (rc == 0 && p->tables == NULL)
        rc = no_memory(ps);
    ACCESS_EACH_MEMBER(ps->doc, n, key)
    {
        struct access_table *t = &p->tables[p->table_count];
        if (rc == 0)
            rc = name_of(ps, key, &t->name);
        if (rc == 0 && t->name.len == 0)
            rc = bad(ps, "empty table name");
        if (rc != 0)
            return rc;
        ps->table = t->name;
        p->table_count++;
        rc = table_of(ps, key + 1, t);
        if (rc != 0)
            return rc;
        ps->table = (struct slice){NULL, 0};
    }
    qsort(p->tables, p->table_count, sizeof(*p->tables), by_name);
    return rc;
}

/* ---- the document ---------------------------------------------------------------------------- */

static int role_member(struct parser *ps, const char *field, const struct json_node *n,
                       struct slice *out)
{
    if (n->kind == JSON_NULL)
        return 0;
    if (n->kind != JSON_STRING)
        return bad(ps, "\"%s\" must be a role's name in quotes", field);
    return name_of(ps, n, out);
}

static int document_of(struct parser *ps)
{
    struct access_policy *p = ps->p;
    const struct json_node *root = ps->doc->nodes;
    struct buf extra;
    int rc;
    if (root->kind != JSON_OBJECT)
        return err_set(ps->e, WH_ESYNTAX, "invalid json: a policy is a JSON object");
    if ((rc = no_duplicates(ps, root)) != 0)
        return rc;
    buf_init(&extra, LIMIT_POLICY_BYTES);
    for (const struct json_node *key = root + 1; rc == 0 && key < ps->doc->nodes + root->next;
         key = ps->doc->nodes + (key + 1)->next) {
        if (is(ps, key, "default_role")) {
            rc = role_member(ps, "default_role", key + 1, &p->default_role);
        } else if (is(ps, key, "admin_role")) {
            rc = role_member(ps, "admin_role", key + 1, &p->admin_role);
        } else if (is(ps, key, "tables")) {
            rc = tables_of(ps, key + 1);
        } else {
            struct slice name;
            if ((rc = name_of(ps, key, &name)) == 0)
                rc = ignored(ps, name,
                             "means nothing here; known are default_role, admin_role and tables");
            buf_put_u8(&extra, ',');
            buf_put(&extra, ps->doc->text + key->off - 1, (size_t)key->len + 2);
            buf_put_u8(&extra, ':');
            json_put_minified(&extra, ps->doc, key + 1);
        }
    }
    if (p->admin_role.len == 0)
        p->admin_role = SLICE_LIT("admin");
    p->extra = arena_dup(&p->arena, buf_slice(&extra));
    if (rc == 0 && (!buf_ok(&extra) || p->extra.ptr == NULL))
        rc = no_memory(ps);
    buf_fini(&extra);
    return rc;
}

static int read_text(struct parser *ps, struct json_reader *reader, struct slice text)
{
    struct json_doc doc;
    int rc = json_reader_begin(reader, text.ptr, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == WH_EEND)
        return err_set(ps->e, WH_ESYNTAX, "invalid json: the policy is empty");
    if (rc == -ENOMEM)
        return no_memory(ps);
    if (rc != 0)
        return err_set(ps->e, WH_ESYNTAX, "invalid json: %s", json_reader_error(reader));
    if (json_reader_trailing(reader))
        return err_set(ps->e, WH_ESYNTAX, "invalid json: something follows the policy");
    ps->doc = &doc;
    return document_of(ps);
}

int access_policy_parse(struct json_reader *reader, struct slice text, bool strict,
                        uint64_t version, struct access_policy **out, struct err *e)
{
    *out = NULL;
    if (text.len > LIMIT_POLICY_BYTES)
        return err_set(e, WH_ELIMIT, "the policy is over 1 MiB");
    struct access_policy *p = calloc(1, sizeof(*p));
    char *padded = calloc(1, text.len + LIMIT_JSON_PADDING);
    if (p == NULL || padded == NULL) {
        free(p);
        free(padded);
        return err_set(e, -ENOMEM, "out of memory");
    }
    p->magic = ACCESS_POLICY_MAGIC;
    p->refs = 1;
    p->version = version;
    arena_init(&p->arena, ARENA_BLOCK, ARENA_MAX);
    if (text.len > 0)
        memcpy(padded, text.ptr, text.len);
    struct parser ps = {.p = p, .e = e, .strict = strict};
    buf_init(&ps.json, 2 * LIMIT_POLICY_BYTES);
    int rc = read_text(&ps, reader, (struct slice){padded, text.len});
    buf_fini(&ps.json);
    free(padded);
    if (rc == 0)
        *out = p;
    else
        access_policy_unref(p);
    return rc;
}
