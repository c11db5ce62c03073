/* SPDX-License-Identifier: Apache-2.0 */
#include "control/definition.h"

#include "access/member.h"
#include "base/limits.h"

#include <errno.h>
#include <inttypes.h>

#define SHOWN_BYTES 80 /* of a name in a finding */

struct reading {
    const struct json_doc *doc;
    struct buf *out;
    struct buf word; /* unescaped text at hand */
    bool strict;
    struct err *e;
};

static int no_memory(const struct reading *d)
{
    return err_set(d->e, -ENOMEM, "out of memory");
}

static int shown(struct slice s)
{
    size_t n = s.len;
    if (n > SHOWN_BYTES)
        for (n = SHOWN_BYTES; n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80; n--)
            ;
    return (int)n;
}

/* The text at STRING node n into d->word. */
static int text_of(struct reading *d, const struct json_node *n)
{
    struct slice raw = json_raw(d->doc, n);
    buf_reset(&d->word);
    char *room = buf_extend(&d->word, raw.len);
    if (room == NULL && raw.len > 0)
        return no_memory(d);
    d->word.len = raw.len > 0 ? json_unescape(raw, room) : 0;
    return 0;
}

/* Member `name` of obj, or NULL when absent or null. */
static const struct json_node *get(const struct reading *d, const struct json_node *obj,
                                   const char *name)
{
    const struct json_node *n = access_member(d->doc, obj, slice_str(name));
    return n != NULL && n->kind != JSON_NULL ? n : NULL;
}

/* Refuse members whose names are not among known (ended by NULL); only when strict. */
static int check_members(const struct reading *d, const struct json_node *obj,
                         const char *const *known)
{
    if (!d->strict)
        return 0;
    ACCESS_EACH_MEMBER(d->doc, obj, key)
    {
        const char *const *k = known;
        while (*k != NULL && !json_string_is(d->doc, key, *k))
            k++;
        if (*k == NULL)
            return err_set(d->e, WH_EUNSUPPORTED,
                           "unknown member \"%.*s\" (pipes.strict refuses it)",
                           shown(json_raw(d->doc, key)), json_raw(d->doc, key).ptr);
    }
    return 0;
}

static int text_member(struct reading *d, const struct json_node *obj, const char *name,
                       const struct json_node **out)
{
    *out = get(d, obj, name);
    if (*out == NULL)
        return 0;
    if ((*out)->kind != JSON_STRING)
        return err_set(d->e, WH_EUNSUPPORTED, "\"%s\" must be a string", name);
    if ((*out)->len == 0)
        *out = NULL;
    return 0;
}

static int array_member(struct reading *d, const struct json_node *obj, const char *name,
                        const struct json_node **out)
{
    *out = get(d, obj, name);
    if (*out != NULL && (*out)->kind != JSON_ARRAY)
        return err_set(d->e, WH_EUNSUPPORTED, "\"%s\" must be an array", name);
    if (*out != NULL && (*out)->count == 0)
        *out = NULL;
    return 0;
}

static void put_member(struct reading *d, const char *before, const char *name,
                       const struct json_node *value)
{
    if (value == NULL)
        return;
    buf_printf(d->out, "%s\"%s\":", before, name);
    json_put_minified(d->out, d->doc, value);
}

/* ---- parameters ---- */

/* Is the name, in d->word, that of an earlier one? */
static bool is_twice(const struct reading *d, const struct json_node *list,
                     const struct json_node *here)
{
    ACCESS_EACH_ELEMENT(d->doc, list, item)
    {
        if (item == here)
            return false;
        const struct json_node *n = get(d, item, "name");
        if (n != NULL && access_string_is(d->doc, n, buf_slice(&d->word)))
            return true;
    }
    return false;
}

static int parameter(struct reading *d, const struct json_node *list, const struct json_node *item)
{
    static const char *const known[] = {"name", "type", "required", "default", NULL};
    const struct json_node *name, *type, *required, *value;
    if (item->kind != JSON_OBJECT)
        return err_set(d->e, WH_EUNSUPPORTED, "\"parameters\" must be an array of objects");
    int rc = check_members(d, item, known);
    if (rc == 0)
        rc = text_member(d, item, "name", &name);
    if (rc == 0 && name == NULL)
        rc = err_set(d->e, WH_EUNSUPPORTED, "parameter name is required");
    if (rc == 0)
        rc = text_of(d, name);
    if (rc == 0 && d->word.len > LIMIT_NAME_BYTES)
        rc = err_set(d->e, WH_ELIMIT, "parameter name is over %d bytes", LIMIT_NAME_BYTES);
    if (rc == 0 && is_twice(d, list, item))
        rc = err_set(d->e, WH_EUNSUPPORTED, "duplicate parameter: %.*s", shown(buf_slice(&d->word)),
                     d->word.ptr);
    if (rc == 0)
        rc = text_member(d, item, "type", &type);
    if (rc != 0)
        return rc;
    required = get(d, item, "required");
    if (required != NULL && required->kind != JSON_TRUE && required->kind != JSON_FALSE)
        return err_set(d->e, WH_EUNSUPPORTED,
                       "parameter \"%.*s\": \"required\" must be true or false",
                       shown(buf_slice(&d->word)), d->word.ptr);
    if (required != NULL && required->kind == JSON_FALSE)
        required = NULL;
    value = access_member(d->doc, item, SLICE_LIT("default")); /* null is one */
    put_member(d, "{", "name", name);
    put_member(d, ",", "type", type);
    put_member(d, ",", "required", required);
    put_member(d, ",", "default", value);
    buf_put_u8(d->out, '}');
    return 0;
}

static int parameters(struct reading *d, const struct json_node *root)
{
    const struct json_node *list;
    const char *before = ",\"parameters\":[";
    int rc = array_member(d, root, "parameters", &list);
    if (rc != 0 || list == NULL)
        return rc;
    if (list->count > LIMIT_PIPE_PARAMETERS)
        return err_set(d->e, WH_ELIMIT, "more than %d parameters", LIMIT_PIPE_PARAMETERS);
    ACCESS_EACH_ELEMENT(d->doc, list, item)
    {
        buf_put_str(d->out, before);
        if ((rc = parameter(d, list, item)) != 0)
            return rc;
        before = ",";
    }
    buf_put_u8(d->out, ']');
    return 0;
}

/* ---- the rest ---- */

static int roles(struct reading *d, const struct json_node *root)
{
    const struct json_node *list;
    uint32_t count = 0;
    int rc = array_member(d, root, "allowed_roles", &list);
    if (rc != 0 || list == NULL)
        return rc;
    ACCESS_EACH_ELEMENT(d->doc, list, item)
    {
        if (item->kind != JSON_STRING)
            return err_set(d->e, WH_EUNSUPPORTED, "\"allowed_roles\" must be an array of names");
        if (item->len == 0)
            continue;
        buf_put_str(d->out, count++ == 0 ? ",\"allowed_roles\":[" : ",");
        json_put_minified(d->out, d->doc, item);
    }
    if (count > 0)
        buf_put_u8(d->out, ']');
    return 0;
}

static int cache_ttl(struct reading *d, const struct json_node *root)
{
    const struct json_node *n = get(d, root, "cache_ttl");
    if (n == NULL)
        return 0;
    if (n->kind != JSON_NUMBER || n->flags != JSON_F_INTEGER || n->len > 9)
        return err_set(d->e, WH_EUNSUPPORTED, "\"cache_ttl\" must be whole seconds; 0: never");
    put_member(d, ",", "cache_ttl", n);
    return 0;
}

static bool is_blank(struct slice s)
{
    size_t i = 0;
    while (i < s.len && (s.ptr[i] == ' ' || (s.ptr[i] >= '\t' && s.ptr[i] <= '\r')))
        i++;
    return i == s.len;
}

/* The name as JSON; it must come back as it is. */
static int put_name(struct slice name, struct buf *out, struct err *e)
{
    if (name.len == 0)
        return err_set(e, WH_EUNSUPPORTED, "pipe name is required");
    if (name.len > LIMIT_PIPE_NAME_BYTES)
        return err_set(e, WH_ELIMIT, "pipe name is over %d bytes", LIMIT_PIPE_NAME_BYTES);
    char back[6 * LIMIT_PIPE_NAME_BYTES + 1];
    buf_put_str(out, "{\"name\":");
    size_t at = out->len + 1;
    buf_put_json_string(out, name);
    if (!buf_ok(out))
        return err_set(e, -ENOMEM, "out of memory");
    size_t n = json_unescape((struct slice){out->ptr + at, out->len - 1 - at}, back);
    if (!slice_eq(name, (struct slice){back, n}))
        return err_set(e, WH_EUNSUPPORTED, "pipe name is not UTF-8");
    return 0;
}

static int sql_member(struct reading *d, const struct json_node *root, struct buf *sql)
{
    const struct json_node *n;
    int rc = text_member(d, root, "sql", &n);
    if (rc == 0 && n != NULL)
        rc = text_of(d, n);
    if (rc == 0 && (n == NULL || is_blank(buf_slice(&d->word))))
        rc = err_set(d->e, WH_EUNSUPPORTED, "pipe SQL is required");
    if (rc == 0 && sql != NULL)
        buf_put_slice(sql, buf_slice(&d->word));
    if (rc == 0)
        put_member(d, ",", "sql", n);
    return rc;
}

static int define(struct reading *d, struct slice name, struct buf *sql)
{
    static const char *const known[] = {"name",          "sql",       "parameters", "description",
                                        "allowed_roles", "cache_ttl", NULL};
    const struct json_node *root = d->doc->nodes, *description;
    if (root->kind != JSON_OBJECT)
        return err_set(d->e, WH_ESYNTAX, "invalid json");
    int rc = check_members(d, root, known);
    if (rc == 0)
        rc = put_name(name, d->out, d->e);
    if (rc == 0)
        rc = sql_member(d, root, sql);
    if (rc == 0)
        rc = parameters(d, root);
    if (rc == 0)
        rc = text_member(d, root, "description", &description);
    if (rc != 0)
        return rc;
    put_member(d, ",", "description", description);
    rc = roles(d, root);
    if (rc == 0)
        rc = cache_ttl(d, root);
    buf_put_u8(d->out, '}');
    if (rc == 0 && d->out->len > LIMIT_CONTROL_BYTES)
        rc = err_set(d->e, WH_ELIMIT, "the pipe is too large");
    if (rc == 0 && (!buf_ok(d->out) || (sql != NULL && !buf_ok(sql))))
        rc = no_memory(d);
    return rc;
}

int control_pipe_define(struct json_reader *reader, struct slice name, struct slice text,
                        bool strict, struct buf *out, struct buf *sql, struct err *e)
{
    struct json_doc doc;
    int rc = json_reader_begin(reader, text.ptr, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == -ENOMEM)
        return err_set(e, rc, "out of memory");
    if (rc != 0 || json_reader_trailing(reader))
        return err_set(e, WH_ESYNTAX, "invalid json");
    struct reading d = {.doc = &doc, .out = out, .strict = strict, .e = e};
    buf_init(&d.word, SIZE_MAX);
    rc = define(&d, name, sql);
    buf_fini(&d.word);
    return rc;
}

int control_pipe_from_sql(struct slice name, struct slice sql, struct buf *out, struct err *e)
{
    if (is_blank(sql))
        return err_set(e, WH_EUNSUPPORTED, "pipe SQL is required");
    int rc = put_name(name, out, e);
    if (rc != 0)
        return rc;
    buf_put_str(out, ",\"sql\":");
    buf_put_json_string(out, sql);
    buf_put_u8(out, '}');
    if (!buf_ok(out))
        return err_set(e, -ENOMEM, "out of memory");
    return out->len <= LIMIT_CONTROL_BYTES ? 0 : err_set(e, WH_ELIMIT, "the pipe is too large");
}
