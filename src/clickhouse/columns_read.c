/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of types made of types: Nullable, LowCardinality, Array, Tuple, Map. */
#include "base/le.h"
#include "clickhouse/columns_priv.h"

#include <errno.h>

int coerce_nullable(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    char *map = column_extend(c, 1);
    if (map == NULL)
        return -ENOMEM;
    *map = n->kind == JSON_NULL;
    if (n->kind == JSON_NULL)
        return column_put_null(c->children);
    return c->children->read(c->children, doc, n);
}

int coerce_low_cardinality(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    struct column *values = c->children;
    uint32_t place = 0;
    if (n->kind != JSON_NULL) {
        size_t from = values->data.len;
        int rc = values->read(values, doc, n);
        if (rc == 0)
            rc = dictionary_intern(c, from, &place);
        if (rc != 0)
            return rc;
    }
    char *dst = column_extend(c, 4);
    if (dst == NULL)
        return -ENOMEM;
    le32_put(dst, place);
    return 0;
}

/* One more end offset, count values after the last one. */
static int put_offset(struct column *c, uint64_t count)
{
    uint64_t end = c->data.len == 0 ? 0 : le64_get(c->data.ptr + c->data.len - 8);
    char *dst = column_extend(c, 8);
    if (dst == NULL)
        return -ENOMEM;
    le64_put(dst, end + count);
    return 0;
}

int coerce_array(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_ARRAY)
        return CHE_ARRAY;
    const struct json_node *element = n + 1;
    for (uint32_t i = 0; i < n->count; i++) {
        int rc = column_read(c->children, doc, element);
        if (rc != 0)
            return rc == CHE_TRAILING ? CHE_ARRAY : rc;
        element = doc->nodes + element->next;
    }
    return put_offset(c, n->count);
}

/* A repeated key is a further entry: ClickHouse keeps both. */
int coerce_map(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_OBJECT)
        return CHE_INPUT;
    struct column *keys = c->children, *values = column_next(keys);
    const struct json_node *key = n + 1;
    for (uint32_t i = 0; i < n->count; i++) {
        int rc = keys->read(keys, doc, key);
        if (rc == 0)
            rc = column_read(values, doc, key + 1);
        if (rc != 0)
            return rc == CHE_TRAILING ? CHE_MAP : rc;
        key = doc->nodes + key[1].next;
    }
    return put_offset(c, n->count);
}

static int read_tuple_array(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_ARRAY)
        return CHE_INPUT;
    const struct json_node *element = n + 1;
    struct column *child = c->children;
    for (uint32_t i = 0; i < n->count && i < c->child_count; i++, child = column_next(child)) {
        int rc = column_read(child, doc, element);
        if (rc != 0)
            return rc == CHE_TRAILING ? CHE_INPUT : rc;
        element = doc->nodes + element->next;
    }
    return n->count == c->child_count ? 0 : CHE_INPUT;
}

/* A key of a named Tuple. ClickHouse resolves \" \\ \/ and the one-letter escapes here, but leaves
 * \u sequences as they stand, so that "\u0061" is no "a". */
static bool name_is(struct slice name, struct slice raw, bool escaped)
{
    if (!escaped)
        return slice_eq(name, raw);
    size_t at = 0;
    for (size_t i = 0; i < raw.len; i++, at++) {
        char c = raw.ptr[i];
        if (c == '\\' && raw.ptr[i + 1] != 'u') {
            c = raw.ptr[++i];
            c = c == 'b'   ? '\b'
                : c == 'f' ? '\f'
                : c == 'n' ? '\n'
                : c == 'r' ? '\r'
                : c == 't' ? '\t'
                           : c;
        }
        if (at >= name.len || name.ptr[at] != c)
            return false;
    }
    return at == name.len;
}

/* The element with this key, trying the expected one first; child_count when there is none. */
static uint32_t tuple_element(const struct column *c, struct slice raw, bool escaped,
                              uint32_t expected)
{
    for (uint32_t i = 0; i < c->child_count; i++) {
        uint32_t e = expected + i;
        if (e >= c->child_count)
            e -= c->child_count;
        if (name_is(c->names[e], raw, escaped))
            return e;
    }
    return c->child_count;
}

static struct column *tuple_child(struct column *c, uint32_t i)
{
    struct column *child = c->children;
    while (i-- > 0)
        child = column_next(child);
    return child;
}

/* Which elements have a value already is kept as a bit set on the stack. */
enum {
    TUPLE_ELEMENTS_MAX = 4096
};

static int read_tuple_members(struct column *c, const struct json_doc *doc,
                              const struct json_node *n, uint64_t *seen)
{
    const struct json_node *key = n + 1;
    uint32_t expected = 0;
    for (uint32_t i = 0; i < n->count; i++, key = doc->nodes + key[1].next) {
        bool escaped = (key->flags & JSON_F_ESCAPED) != 0;
        uint32_t e = tuple_element(c, json_raw(doc, key), escaped, expected);
        if (e == c->child_count)
            continue; /* unknown keys are passed over */
        if ((seen[e / 64] >> (e % 64) & 1) != 0)
            return CHE_DATA; /* ClickHouse refuses a repeated key */
        seen[e / 64] |= (uint64_t)1 << (e % 64);
        int rc = column_read(tuple_child(c, e), doc, key + 1);
        if (rc != 0)
            return rc == CHE_TRAILING ? CHE_INPUT : rc;
        expected = e + 1;
    }
    return 0;
}

static int read_tuple_object(struct column *c, const struct json_doc *doc,
                             const struct json_node *n)
{
    uint64_t seen[TUPLE_ELEMENTS_MAX / 64];
    if (n->kind != JSON_OBJECT || c->child_count > TUPLE_ELEMENTS_MAX)
        return CHE_INPUT;
    memset(seen, 0, (c->child_count + 63) / 64 * sizeof(seen[0]));
    int rc = read_tuple_members(c, doc, n, seen);
    struct column *child = c->children;
    for (uint32_t e = 0; rc == 0 && e < c->child_count; e++, child = column_next(child))
        if ((seen[e / 64] >> (e % 64) & 1) == 0)
            rc = column_put_null(child);
    return rc;
}

int coerce_tuple(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (c->names != NULL && c->child_count > 0)
        return read_tuple_object(c, doc, n);
    if (c->child_count == 0) {
        char *dst = column_extend(c, 1);
        if (dst == NULL)
            return -ENOMEM;
        *dst = 0;
    }
    return read_tuple_array(c, doc, n);
}
