/* SPDX-License-Identifier: Apache-2.0 */
/* The body of a query as a tree. A member of a wrong kind makes the body "invalid json", null
 * counts as absent, unknown members are ignored, of equal keys the last one counts (http-api §8.1).
 */
#include "query/select_priv.h"

#include <errno.h>

struct reading {
    const struct json_doc *doc;
    struct arena *arena;
    const struct json_node *item; /* of the list that is read: its first element */
    bool no_memory;
    bool too_many;
};

static const struct json_node *after(const struct reading *r, const struct json_node *n)
{
    return &r->doc->nodes[n->next];
}

static bool read_string(struct reading *r, const struct json_node *n, struct slice *out)
{
    *out = SLICE_LIT("");
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    if (n->kind != JSON_STRING)
        return false;
    *out = json_raw(r->doc, n);
    if (n->flags & JSON_F_ESCAPED) {
        char *p = arena_alloc(r->arena, out->len + 1);
        r->no_memory |= p == NULL;
        if (p == NULL)
            return false;
        *out = (struct slice){p, json_unescape(*out, p)};
    }
    return true;
}

/* Members of an object by name, in the order of names; absent ones are NULL. */
static bool read_members(struct reading *r, const struct json_node *object,
                         const char *const *names, uint32_t count, const struct json_node **out)
{
    if (object->kind != JSON_OBJECT)
        return false;
    for (uint32_t i = 0; i < count; i++)
        out[i] = NULL;
    const struct json_node *key = object + 1;
    for (uint32_t m = 0; m < object->count; m++) {
        const struct json_node *value = key + 1;
        for (uint32_t i = 0; i < count; i++)
            if (json_string_is(r->doc, key, names[i]))
                out[i] = value;
        key = after(r, value);
    }
    return true;
}

/* Room for the elements of a list of at most max. NULL with *count 0: there are none, or the list
 * is refused, which the result says. */
static bool read_list(struct reading *r, const struct json_node *n, uint32_t max, size_t size,
                      uint32_t *count, void **out)
{
    *count = 0;
    *out = NULL;
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    if (n->kind != JSON_ARRAY)
        return false;
    r->too_many |= n->count > max;
    if (r->too_many)
        return false;
    *out = arena_calloc(r->arena, n->count + 1, size);
    r->no_memory |= *out == NULL;
    *count = n->count;
    r->item = n + 1;
    return *out != NULL;
}

static bool read_names(struct reading *r, const struct json_node *n, uint32_t max,
                       struct select_names *out)
{
    void *list;
    if (!read_list(r, n, max, sizeof(*out->list), &out->count, &list))
        return false;
    out->list = list;
    const struct json_node *item = r->item;
    for (uint32_t i = 0; i < out->count; i++, item = after(r, item))
        if (item->kind != JSON_STRING || !read_string(r, item, &out->list[i]))
            return false;
    return true;
}

/* "columns" may be one name. */
static bool read_columns(struct reading *r, const struct json_node *n, struct select_names *out)
{
    if (n == NULL || n->kind != JSON_STRING)
        return read_names(r, n, LIMIT_TABLE_COLUMNS, out);
    out->list = arena_calloc(r->arena, 1, sizeof(*out->list));
    r->no_memory |= out->list == NULL;
    if (out->list == NULL || !read_string(r, n, &out->list[0]))
        return false;
    out->count = out->list[0].len > 0;
    return true;
}

static bool read_aggregations(struct reading *r, const struct json_node *n, struct select_tree *t)
{
    static const char *const names[] = {"fn", "column", "alias"};
    const struct json_node *m[3];
    void *list;
    if (!read_list(r, n, LIMIT_QUERY_TERMS, sizeof(*t->aggregations), &t->aggregation_count, &list))
        return false;
    t->aggregations = list;
    const struct json_node *item = r->item;
    for (uint32_t i = 0; i < t->aggregation_count; i++, item = after(r, item))
        if (!read_members(r, item, names, 3, m) || !read_string(r, m[0], &t->aggregations[i].fn) ||
            !read_string(r, m[1], &t->aggregations[i].column) ||
            !read_string(r, m[2], &t->aggregations[i].alias))
            return false;
    return true;
}

static bool read_filters(struct reading *r, const struct json_node *n, struct select_tree *t)
{
    static const char *const names[] = {"column", "op", "value"};
    const struct json_node *m[3];
    void *list;
    if (!read_list(r, n, LIMIT_QUERY_TERMS, sizeof(*t->filters), &t->filter_count, &list))
        return false;
    t->filters = list;
    const struct json_node *item = r->item;
    for (uint32_t i = 0; i < t->filter_count; i++, item = after(r, item)) {
        if (!read_members(r, item, names, 3, m) || !read_string(r, m[0], &t->filters[i].column) ||
            !read_string(r, m[1], &t->filters[i].op))
            return false;
        t->filters[i].value = m[2];
    }
    return true;
}

static bool read_orders(struct reading *r, const struct json_node *n, struct select_tree *t)
{
    static const char *const names[] = {"column", "dir"};
    const struct json_node *m[2];
    struct slice dir;
    void *list;
    if (!read_list(r, n, LIMIT_QUERY_TERMS, sizeof(*t->orders), &t->order_count, &list))
        return false;
    t->orders = list;
    const struct json_node *item = r->item;
    for (uint32_t i = 0; i < t->order_count; i++, item = after(r, item)) {
        if (!read_members(r, item, names, 2, m) || !read_string(r, m[0], &t->orders[i].column) ||
            !read_string(r, m[1], &dir))
            return false;
        t->orders[i].is_desc = select_is(dir, "desc");
    }
    return true;
}

/* A limit that is no limit, or larger than any, is 0: the cap counts then. */
static bool read_limit(const struct reading *r, const struct json_node *n, uint64_t *out)
{
    *out = 0;
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    if (n->kind != JSON_NUMBER || !(n->flags & JSON_F_INTEGER))
        return false;
    struct slice digits = json_raw(r->doc, n);
    if (n->flags & JSON_F_NEGATIVE)
        return true;
    for (size_t i = 0; i < digits.len; i++)
        if (__builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, (uint64_t)(digits.ptr[i] - '0'), out)) {
            *out = 0;
            return true;
        }
    return true;
}

static bool read_time_range(struct reading *r, const struct json_node *n, struct select_tree *t)
{
    static const char *const names[] = {"column", "since", "until"};
    const struct json_node *m[3];
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    return read_members(r, n, names, 3, m) && read_string(r, m[0], &t->time_column) &&
           read_string(r, m[1], &t->since) && read_string(r, m[2], &t->until);
}

static bool read_body(struct reading *r, struct select_tree *t)
{
    enum {
        COLUMNS,
        SELECT_ALL,
        AGGREGATIONS,
        FILTERS,
        GROUP_BY,
        ORDER_BY,
        LIMIT,
        TIME_RANGE,
        MEMBERS
    };
    static const char *const names[] = {"columns",  "select_all", "aggregations", "filters",
                                        "group_by", "order_by",   "limit",        "time_range"};
    const struct json_node *m[MEMBERS];
    if (!read_members(r, r->doc->nodes, names, MEMBERS, m))
        return false;
    if (m[SELECT_ALL] != NULL) {
        uint8_t kind = m[SELECT_ALL]->kind;
        if (kind != JSON_TRUE && kind != JSON_FALSE && kind != JSON_NULL)
            return false;
        t->select_all = kind == JSON_TRUE;
    }
    return read_columns(r, m[COLUMNS], &t->columns) && read_aggregations(r, m[AGGREGATIONS], t) &&
           read_filters(r, m[FILTERS], t) &&
           read_names(r, m[GROUP_BY], LIMIT_QUERY_TERMS, &t->group_by) &&
           read_orders(r, m[ORDER_BY], t) && read_limit(r, m[LIMIT], &t->limit) &&
           read_time_range(r, m[TIME_RANGE], t);
}

enum query_result query_select_parse(struct query_select *q, struct slice body,
                                     struct query_refusal *no)
{
    CHECK_MAGIC(q, QUERY_SELECT_MAGIC);
    q->parsed = false;
    q->tree = (struct select_tree){0};
    arena_reset(&q->arena);
    int rc = json_reader_begin(q->reader, body.ptr, body.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(q->reader, &q->doc);
    if (rc == -ENOMEM)
        return QUERY_NO_MEMORY;
    if (rc != 0 || json_reader_trailing(q->reader))
        return select_refuse(q, no, 400, "invalid json");
    struct reading r = {.doc = &q->doc, .arena = &q->arena};
    if (!read_body(&r, &q->tree)) {
        if (r.no_memory)
            return QUERY_NO_MEMORY;
        if (r.too_many)
            return select_refuse(q, no, 400, "too many terms in one query");
        return select_refuse(q, no, 400, "invalid json");
    }
    q->parsed = true;
    return QUERY_READY;
}
