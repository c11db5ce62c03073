/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of a structured query, in the order of http-api §8.2, and its SQL (§8.3). */
#include "query/select_priv.h"

#include "schema/instant.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_MAX_ROWS 10000
#define SECOND_NS        1000000000u

/* ---- lives ----------------------------------------------------------------------------------- */

struct query_select *query_select_new(void)
{
    struct query_select *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return NULL;
    q->magic = QUERY_SELECT_MAGIC;
    q->reader = json_reader_new(LIMIT_QUERY_BODY_BYTES);
    arena_init(&q->arena, 64 * KIB, 64 * MIB);
    buf_init(&q->words, 16 * KIB);
    if (q->reader == NULL) {
        query_select_free(q);
        return NULL;
    }
    return q;
}

void query_select_free(struct query_select *q)
{
    if (q == NULL)
        return;
    CHECK_MAGIC(q, QUERY_SELECT_MAGIC);
    q->magic = 0;
    json_reader_free(q->reader);
    arena_fini(&q->arena);
    buf_fini(&q->words);
    free(q);
}

enum query_result select_refuse(struct query_select *q, struct query_refusal *no, int status,
                                const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    enum query_result r = query_refusal_put(&q->words, no, status, fmt, ap);
    va_end(ap);
    return r;
}

enum query_result query_refusal_put(struct buf *words, struct query_refusal *no, int status,
                                    const char *fmt, va_list ap)
{
    char text[4 * LIMIT_NAME_BYTES];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    buf_reset(words);
    buf_put(words, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
    if (!buf_ok(words))
        return QUERY_NO_MEMORY;
    *no = (struct query_refusal){status, buf_slice(words)};
    return QUERY_REFUSED;
}

bool select_is(struct slice text, const char *lower)
{
    size_t n = strlen(lower);
    for (size_t i = 0; i < n && i < text.len; i++) {
        char c = text.ptr[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != lower[i])
            return false;
    }
    return text.len == n;
}

/* ---- what a query may say ---------------------------------------------------------------------
 */

/* In canonical spelling, and as the caller may spell them in any case. */
static const struct {
    const char *name, *lower;
} functions[] = {
    {"count", "count"},
    {"sum", "sum"},
    {"avg", "avg"},
    {"min", "min"},
    {"max", "max"},
    {"countDistinct", "countdistinct"},
    {"uniq", "uniq"},
    {"uniqExact", "uniqexact"},
    {"any", "any"},
    {"anyLast", "anylast"},
    {"argMin", "argmin"},
    {"argMax", "argmax"},
    {"groupArray", "grouparray"},
    {"median", "median"},
    {"quantile", "quantile"},
    {"stddevPop", "stddevpop"},
    {"stddevSamp", "stddevsamp"},
    {"varPop", "varpop"},
    {"varSamp", "varsamp"},
};

static const char *function_of(struct slice fn)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (select_is(fn, functions[i].lower))
            return functions[i].name;
    return NULL;
}

static bool op_of(struct slice text, enum select_op *op)
{
    static const char *const names[] = {"eq",  "neq",  "gt",       "gte", "lt",
                                        "lte", "like", "not_like", "in"};
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (select_is(text, names[i])) {
            *op = (enum select_op)i;
            return true;
        }
    return false;
}

/* An aggregation as it is written. */
struct written {
    const char *fn;
    bool is_star;
};

/* One build under way. */
struct building {
    struct query_select *q;
    const struct select_tree *tree;
    const struct query_select_ask *ask;
    const struct access_grant *grant; /* NULL: unrestricted */
    struct query_refusal *no;
    struct select_sql sql;
    struct written *written; /* of each aggregation */
    bool is_nested;          /* the rows come out of a subquery, so that aliases cannot capture */
    uint32_t inner_prefix;   /* underscores before the names of its columns */
    struct slice *inner;     /* table columns that it hands out, in order */
    uint32_t inner_count;
    uint32_t *inner_at; /* by ordinal: place in inner + 1; 0: not handed out */
};

#define REFUSE(b, status, ...) select_refuse((b)->q, (b)->no, (status), __VA_ARGS__)

/* QUERY_READY, or the refusal: the column must be there and the caller may read it. */
static enum query_result check_column(struct building *b, struct slice name)
{
    if (schema_table_column(b->ask->table, name) == NULL)
        return REFUSE(b, 400, "unknown column: %.*s", SELECT_ARG(name));
    if (b->grant != NULL && !access_grant_column(b->grant, name))
        return REFUSE(b, 403, "column \"%.*s\" not allowed", SELECT_ARG(name));
    return QUERY_READY;
}

static enum query_result check_columns(struct building *b, const struct select_names *names)
{
    enum query_result r = QUERY_READY;
    for (uint32_t i = 0; r == QUERY_READY && i < names->count; i++)
        r = check_column(b, names->list[i]);
    return r;
}

/* Only count takes "*" for all rows; to any other function it is a column of that name. */
static enum query_result check_aggregation(struct building *b, uint32_t i)
{
    const struct select_aggregation *a = &b->tree->aggregations[i];
    bool is_star = slice_eq_str(a->column, "*");
    enum query_result r = is_star ? QUERY_READY : check_column(b, a->column);
    if (r != QUERY_READY)
        return r;
    const char *fn = function_of(a->fn);
    if (fn == NULL)
        return REFUSE(b, 400, "unsupported aggregation function: %.*s", SELECT_ARG(a->fn));
    if (b->grant != NULL && !access_grant_aggregation(b->grant, a->fn))
        return REFUSE(b, 403, "aggregation \"%.*s\" not allowed", SELECT_ARG(a->fn));
    b->written[i] = (struct written){fn, is_star && strcmp(fn, "count") == 0};
    return is_star && !b->written[i].is_star ? check_column(b, a->column) : QUERY_READY;
}

/* The aggregation with this alias, or -1. */
static int64_t aliased(const struct select_tree *t, struct slice name)
{
    for (uint32_t i = 0; name.len > 0 && i < t->aggregation_count; i++)
        if (slice_eq(t->aggregations[i].alias, name))
            return i;
    return -1;
}

/* Can the caller see the column's values? */
static bool may_show(const struct building *b, const struct schema_column *c)
{
    return c->default_kind != SCHEMA_DEFAULT_EPHEMERAL &&
           (b->grant == NULL || access_grant_column(b->grant, c->name));
}

static bool may_show_any(const struct building *b)
{
    const struct schema_table *t = b->ask->table;
    for (uint32_t i = 0; i < t->column_count; i++)
        if (may_show(b, &t->columns[i]))
            return true;
    return b->grant == NULL;
}

static enum query_result check(struct building *b)
{
    const struct select_tree *t = b->tree;
    enum query_result r;
    if (t->select_all && t->columns.count > 0)
        return REFUSE(b, 400, "columns and select_all are mutually exclusive");
    if (t->select_all && t->aggregation_count > 0)
        return REFUSE(b, 400, "select_all cannot be combined with aggregations");
    r = check_columns(b, &t->columns);
    for (uint32_t i = 0; r == QUERY_READY && i < t->aggregation_count; i++)
        r = check_aggregation(b, i);
    for (uint32_t i = 0; r == QUERY_READY && i < t->filter_count; i++)
        r = check_column(b, t->filters[i].column);
    if (r == QUERY_READY)
        r = check_columns(b, &t->group_by);
    for (uint32_t i = 0; r == QUERY_READY && i < t->order_count; i++) {
        struct slice name = t->orders[i].column;
        if (schema_table_column(b->ask->table, name) != NULL || aliased(t, name) < 0)
            r = check_column(b, name);
    }
    if (r == QUERY_READY && t->time_column.len > 0)
        r = check_column(b, t->time_column);
    if (r != QUERY_READY)
        return r;
    if (t->select_all && !may_show_any(b))
        return REFUSE(b, 403, "no columns readable for role");
    if (!t->select_all && t->columns.count == 0 && t->aggregation_count == 0)
        return QUERY_EMPTY;
    return QUERY_READY;
}

/* ---- WHERE ----------------------------------------------------------------------------------- */

static void put(struct building *b, const char *text)
{
    buf_put_str(&b->sql.s->sql, text);
}

/* " WHERE " before the first condition, " AND " before the others. */
static void put_and(struct building *b, bool *has_where)
{
    put(b, *has_where ? " AND " : " WHERE ");
    *has_where = true;
}

/* The text of a scalar; false: it is none, or no memory (text.ptr NULL). */
static bool scalar_of(struct building *b, const struct schema_column *c, const struct json_node *n,
                      struct select_operand *out)
{
    bool is_true = n->kind == JSON_TRUE;
    *out = (struct select_operand){.text = json_raw(&b->q->doc, n)};
    switch (n->kind) {
    case JSON_TRUE:
    case JSON_FALSE:
        if (c->peeled->kind <= CH_BFLOAT16 || c->peeled->kind == CH_DECIMAL)
            out->text = slice_str(is_true ? "1" : "0");
        return true;
    case JSON_NUMBER:
        out->is_number = true;
        return true;
    case JSON_STRING:
        if (n->flags & JSON_F_ESCAPED) {
            char *p = arena_alloc(&b->q->arena, out->text.len + 1);
            out->text.len = p != NULL ? json_unescape(out->text, p) : 0;
            out->text.ptr = p;
        }
        return out->text.ptr != NULL;
    default:
        return false;
    }
}

#define IN_WHERE "building WHERE clause: "

static enum query_result put_list(struct building *b, const struct schema_column *c,
                                  const struct json_node *list)
{
    if (list->kind != JSON_ARRAY || list->count == 0)
        return REFUSE(b, 400, IN_WHERE "filter on column \"%.*s\": invalid value for 'in' operator",
                      SELECT_ARG(c->name));
    if (list->count > LIMIT_QUERY_VALUES)
        return REFUSE(b, 400, IN_WHERE "filter on column \"%.*s\": more than %d values for 'in'",
                      SELECT_ARG(c->name), LIMIT_QUERY_VALUES);
    struct select_operand *values = arena_calloc(&b->q->arena, list->count, sizeof(*values));
    if (values == NULL)
        return QUERY_NO_MEMORY;
    const struct json_node *item = list + 1;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!scalar_of(b, c, item, &values[i])) {
            if (values[i].text.ptr == NULL)
                return QUERY_NO_MEMORY;
            return REFUSE(b, 400,
                          IN_WHERE "filter on column \"%.*s\": invalid value for 'in' operator",
                          SELECT_ARG(c->name));
        }
        item = &b->q->doc.nodes[item->next];
    }
    return select_put_in(&b->sql, c, values, list->count) ? QUERY_READY : QUERY_NO_MEMORY;
}

static enum query_result put_filter(struct building *b, const struct select_filter *f)
{
    const struct schema_column *c = schema_table_column(b->ask->table, f->column);
    struct select_operand v;
    enum select_op op;
    if (!op_of(f->op, &op))
        return REFUSE(b, 400, IN_WHERE "filter on column \"%.*s\": unsupported operator: %.*s",
                      SELECT_ARG(f->column), SELECT_ARG(f->op));
    bool is_null = f->value != NULL && f->value->kind == JSON_NULL;
    if (is_null && (op == SELECT_EQ || op == SELECT_NEQ)) {
        query_statement_put_name(b->sql.s, f->column);
        put(b, op == SELECT_EQ ? " IS NULL" : " IS NOT NULL");
        return QUERY_READY;
    }
    if (f->value == NULL || is_null)
        return REFUSE(b, 400, IN_WHERE "filter on column \"%.*s\": filter value must not be null",
                      SELECT_ARG(f->column));
    if (op == SELECT_IN)
        return put_list(b, c, f->value);
    if (!scalar_of(b, c, f->value, &v)) {
        if (v.text.ptr == NULL)
            return QUERY_NO_MEMORY;
        return REFUSE(b, 400,
                      IN_WHERE "filter on column \"%.*s\": invalid value for '%.*s' operator",
                      SELECT_ARG(f->column), SELECT_ARG(f->op));
    }
    return select_put_comparison(&b->sql, c, op, v) ? QUERY_READY : QUERY_NO_MEMORY;
}

/* A bound of time_range as an RFC 3339 instant, floored so that equal dashboards share an answer.
 */
static enum query_result put_bound(struct building *b, const char *which, enum select_op op,
                                   struct slice text)
{
    int64_t seconds,
        bucket = (int64_t)(b->ask->terms.bucket_s < INT32_MAX ? b->ask->terms.bucket_s : INT32_MAX);
    uint32_t ns;
    if (!instant_parse_wide(text, b->ask->terms.now_ns, &seconds, &ns))
        return REFUSE(b, 400,
                      IN_WHERE "time_range %s: invalid time value \"%.*s\": want an RFC3339 "
                               "timestamp or a relative duration such as \"1h\", \"30m\", \"7d\", "
                               "\"2w\"",
                      which, SELECT_ARG(text));
    if (bucket > 0) {
        seconds -= (seconds % bucket + bucket) % bucket;
        ns = 0;
    }
    char room[INSTANT_CAP];
    struct slice canonical = {room, instant_write(seconds, ns, room)};
    const struct schema_column *c = schema_table_column(b->ask->table, b->tree->time_column);
    struct select_operand v = {.text = arena_dup(&b->q->arena, canonical)};
    if (v.text.ptr == NULL || !select_put_comparison(&b->sql, c, op, v))
        return QUERY_NO_MEMORY;
    return QUERY_READY;
}

static bool put_predicate(struct building *b, bool *has_where)
{
    const struct query_select_ask *ask = b->ask;
    struct query_statement *s = b->sql.s;
    if (b->grant == NULL)
        return true;
    struct access_predicate *p = access_predicates_get(ask->predicates, ask->policy, b->grant,
                                                       ask->table->name, ask->claims, ask->catalog);
    if (p == NULL)
        return false;
    enum access_sql_style style =
        b->sql.style == QUERY_PARAMETERS ? ACCESS_SQL_PARAMETERS : ACCESS_SQL_LITERALS;
    size_t start = s->sql.len;
    bool ok = true;
    put(b, " WHERE ");
    if (!access_predicate_sql(p, style, query_statement_value_count(s), &s->sql)) {
        s->sql.len = start;
        access_predicate_unref(p);
        return true;
    }
    *has_where = true;
    uint32_t number, count = style == ACCESS_SQL_PARAMETERS ? access_predicate_value_count(p) : 0;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = query_statement_bind(s, access_predicate_value(p, i), &number) == 0;
    access_predicate_unref(p);
    return ok;
}

static enum query_result put_where(struct building *b)
{
    const struct select_tree *t = b->tree;
    enum query_result r = QUERY_READY;
    bool has_where = false;
    if (!put_predicate(b, &has_where))
        return QUERY_NO_MEMORY;
    for (uint32_t i = 0; r == QUERY_READY && i < t->filter_count; i++) {
        put_and(b, &has_where);
        r = put_filter(b, &t->filters[i]);
    }
    if (r != QUERY_READY || t->time_column.len == 0 || t->since.len == 0)
        return r;
    put_and(b, &has_where);
    r = put_bound(b, "since", SELECT_GTE, t->since);
    if (r != QUERY_READY || t->until.len == 0)
        return r;
    put_and(b, &has_where);
    return put_bound(b, "until", SELECT_LTE, t->until);
}

/* ---- names ----------------------------------------------------------------------------------- */

static uint32_t underscores(struct slice name)
{
    uint32_t n = 0;
    while (n < name.len && name.ptr[n] == '_')
        n++;
    return n;
}

/* Old servers put an alias in the place of every column of its name, also in WHERE. When one of
 * them repeats a column, the rows are filtered in a subquery, where no alias is known, and handed
 * out under names that neither a column nor an alias has. */
static bool plan_names(struct building *b)
{
    const struct select_tree *t = b->tree;
    const struct schema_table *table = b->ask->table;
    bool captures = false;
    for (uint32_t i = 0; i < t->aggregation_count; i++)
        captures |= schema_table_column(table, t->aggregations[i].alias) != NULL;
    if (b->sql.style == QUERY_PARAMETERS || !captures)
        return true;
    b->is_nested = true;
    b->inner = arena_calloc(&b->q->arena, table->column_count, sizeof(*b->inner));
    b->inner_at = arena_calloc(&b->q->arena, table->column_count, sizeof(*b->inner_at));
    b->inner_prefix = 1;
    for (uint32_t i = 0; i < table->column_count; i++)
        if (underscores(table->columns[i].name) >= b->inner_prefix)
            b->inner_prefix = underscores(table->columns[i].name) + 1;
    for (uint32_t i = 0; i < t->aggregation_count; i++)
        if (underscores(t->aggregations[i].alias) >= b->inner_prefix)
            b->inner_prefix = underscores(t->aggregations[i].alias) + 1;
    return b->inner != NULL && b->inner_at != NULL;
}

static void put_inner_name(struct building *b, uint32_t place)
{
    put(b, "`");
    for (uint32_t i = 0; i < b->inner_prefix; i++)
        put(b, "_");
    buf_printf(&b->sql.s->sql, "%u`", place);
}

/* A column of the table, outside of WHERE. */
static void put_column(struct building *b, struct slice name)
{
    if (!b->is_nested) {
        query_statement_put_name(b->sql.s, name);
        return;
    }
    const struct schema_column *c = schema_table_column(b->ask->table, name);
    uint32_t *at = &b->inner_at[c->ordinal];
    if (*at == 0) {
        b->inner[b->inner_count++] = c->name;
        *at = b->inner_count;
    }
    put_inner_name(b, *at - 1);
}

static void put_aggregation(struct building *b, uint32_t i)
{
    const struct select_aggregation *a = &b->tree->aggregations[i];
    put(b, b->written[i].fn);
    put(b, "(");
    if (b->written[i].is_star)
        put(b, "*");
    else
        put_column(b, a->column);
    put(b, ")");
}

/* Restricted: the columns that "*" has, as far as they may be read. Computed ones only where the
 * policy names them, or where there is nothing else to show. */
static void put_star(struct building *b)
{
    const struct access_grant *g = b->grant;
    const struct schema_table *t = b->ask->table;
    uint32_t count = 0;
    if (g == NULL || (g->allow_columns.count == 0 && g->deny_columns.count == 0)) {
        put(b, "*");
        return;
    }
    for (int computed = g->allow_columns.count > 0; count == 0 && computed <= 1; computed++)
        for (uint32_t i = 0; i < t->column_count; i++) {
            const struct schema_column *c = &t->columns[i];
            if (!may_show(b, c) || (!c->insertable && !computed))
                continue;
            put(b, count++ > 0 ? ", " : "");
            query_statement_put_name(b->sql.s, c->name);
        }
    must(count > 0); /* may_show_any was asked */
}

/* The name that an aggregation without alias has of itself when its column has its own name. */
static void put_own_name(struct building *b, uint32_t i)
{
    struct buf *sql = &b->sql.s->sql;
    put(b, " AS `");
    put(b, b->written[i].fn);
    put(b, "(");
    size_t here = sql->len;
    query_statement_put_name(b->sql.s, b->tree->aggregations[i].column);
    if (!buf_ok(sql))
        return;
    memmove(sql->ptr + here, sql->ptr + here + 1, sql->len - here - 2); /* without its backticks */
    sql->len -= 2;
    put(b, ")`");
}

static void put_selected(struct building *b)
{
    const struct select_tree *t = b->tree;
    if (t->select_all)
        put_star(b);
    for (uint32_t i = 0; i < t->columns.count; i++) {
        put(b, i > 0 ? ", " : "");
        put_column(b, t->columns.list[i]);
        if (b->is_nested) {
            put(b, " AS ");
            query_statement_put_name(b->sql.s, t->columns.list[i]);
        }
    }
    for (uint32_t i = 0; i < t->aggregation_count; i++) {
        put(b, t->columns.count + i > 0 ? ", " : "");
        put_aggregation(b, i);
        struct slice alias = t->aggregations[i].alias;
        if (alias.len > 0) {
            put(b, " AS ");
            query_statement_put_name(b->sql.s, alias);
        } else if (b->is_nested && !b->written[i].is_star) {
            put_own_name(b, i);
        }
    }
}

static bool is_grouped(const struct select_tree *t, struct slice name)
{
    for (uint32_t i = 0; i < t->group_by.count; i++)
        if (slice_eq(t->group_by.list[i], name))
            return true;
    return false;
}

/* A name that is a column and an alias means the aggregation, unless rows are grouped by the
 * column: ordered by anything else, the query would have no answer. */
static void put_order(struct building *b, const struct select_order *o)
{
    const struct select_tree *t = b->tree;
    int64_t i = aliased(t, o->column);
    bool is_column = schema_table_column(b->ask->table, o->column) != NULL;
    if (is_column && i >= 0 && !is_grouped(t, o->column))
        put_aggregation(b, (uint32_t)i);
    else if (is_column)
        put_column(b, o->column);
    else
        query_statement_put_name(b->sql.s, o->column);
    put(b, o->is_desc ? " DESC" : " ASC");
}

static void put_tail(struct building *b, uint64_t limit)
{
    const struct select_tree *t = b->tree;
    for (uint32_t i = 0; i < t->group_by.count; i++) {
        put(b, i == 0 ? " GROUP BY " : ", ");
        put_column(b, t->group_by.list[i]);
    }
    for (uint32_t i = 0; i < t->order_count; i++) {
        put(b, i == 0 ? " ORDER BY " : ", ");
        put_order(b, &t->orders[i]);
    }
    buf_printf(&b->sql.s->sql, " LIMIT %llu", (unsigned long long)limit);
}

/* SELECT <inner columns> FROM `T` WHERE …, between what came before it and what comes after. The
 * columns are known only when the rest is written. */
static enum query_result put_nested(struct building *b, uint64_t limit)
{
    struct buf *sql = &b->sql.s->sql;
    enum query_result r = QUERY_READY;
    put(b, " FROM (");
    size_t here = sql->len;
    put_tail(b, limit);
    struct slice tail = {sql->ptr + here, sql->len - here};
    tail = buf_ok(sql) ? arena_dup(&b->q->arena, tail) : (struct slice){NULL, 0};
    if (tail.ptr == NULL)
        return buf_ok(sql) ? QUERY_NO_MEMORY : QUERY_READY; /* too long: told by the caller */
    sql->len = here;
    put(b, "SELECT ");
    for (uint32_t i = 0; i < b->inner_count; i++) {
        put(b, i > 0 ? ", " : "");
        query_statement_put_name(b->sql.s, b->inner[i]);
        put(b, " AS ");
        put_inner_name(b, i);
    }
    put(b, b->inner_count == 0 ? "1 FROM " : " FROM ");
    query_statement_put_name(b->sql.s, b->ask->table->name);
    r = put_where(b);
    put(b, ")");
    buf_put_slice(sql, tail);
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static uint64_t lesser(uint64_t a, uint64_t b) /* 0: none */
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Terms of the grant, into the statement; the LIMIT. */
static uint64_t put_limits(struct building *b)
{
    const struct access_grant *g = b->grant;
    const struct query_select_terms *terms = &b->ask->terms;
    struct query_limits *l = &b->sql.s->limits;
    uint64_t cap = terms->default_max_rows > 0 ? terms->default_max_rows : DEFAULT_MAX_ROWS;
    l->max_execution_ms = lesser(g != NULL ? g->max_execution_time_ms : 0, terms->timeout_ms);
    if (g != NULL) {
        l->max_rows_to_read = g->max_rows_to_read;
        l->max_memory_bytes = g->max_memory_usage_bytes;
        l->max_result_rows = g->max_rows;
        cap = lesser(cap, g->max_rows);
    }
    return lesser(cap, b->tree->limit);
}

static enum query_result put_statement(struct building *b)
{
    enum query_result r;
    uint64_t limit = put_limits(b);
    b->sql.s->is_prefer_column = b->sql.style == QUERY_PARAMETERS;
    query_statement_put_table(b->sql.s, b->ask->table->name);
    put(b, "SELECT ");
    put_selected(b);
    if (b->is_nested) {
        r = put_nested(b, limit);
    } else {
        put(b, " FROM ");
        query_statement_put_name(b->sql.s, b->ask->table->name);
        r = put_where(b);
        put_tail(b, limit);
    }
    if (r == QUERY_READY && !query_statement_ok(b->sql.s))
        return REFUSE(b, 400, "the query is too long");
    return r;
}

enum query_result query_select_build(struct query_select *q, const struct query_select_ask *ask,
                                     struct query_statement *s, struct query_refusal *no)
{
    CHECK_MAGIC(q, QUERY_SELECT_MAGIC);
    must(q->parsed);
    must(ask->decision->gate == ACCESS_UNRESTRICTED || ask->decision->gate == ACCESS_GRANTED);
    query_statement_reset(s);
    struct building b = {
        .q = q,
        .tree = &q->tree,
        .ask = ask,
        .grant = ask->decision->gate == ACCESS_GRANTED ? ask->decision->grant : NULL,
        .no = no,
        .sql = {s, ask->terms.style, &q->arena},
    };
    must(b.grant != NULL || ask->decision->gate == ACCESS_UNRESTRICTED);
    b.written = arena_calloc(&q->arena, q->tree.aggregation_count + 1u, sizeof(*b.written));
    if (b.written == NULL)
        return QUERY_NO_MEMORY;
    enum query_result r = check(&b);
    if (r != QUERY_READY)
        return r;
    return plan_names(&b) ? put_statement(&b) : QUERY_NO_MEMORY;
}
