/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe's definition: a JSON object (pipes.md §1). */
#include "query/pipe_priv.h"

#include "access/scalar.h"

#include <errno.h>

/* A copy of doc that lives as long as the pipe. */
static bool copy_doc(struct query_pipe *p, const struct json_doc *doc)
{
    uint32_t start = doc->nodes[0].off, end = start + doc->nodes[0].len;
    char *text = arena_alloc(&p->arena, (size_t)end - start + 1);
    struct json_node *nodes = arena_calloc(&p->arena, doc->node_count, sizeof(*nodes));
    if (text == NULL || nodes == NULL)
        return false;
    memcpy(text, doc->text + start, end - start);
    memcpy(nodes, doc->nodes, doc->node_count * sizeof(*nodes));
    for (uint32_t i = 0; i < doc->node_count; i++)
        nodes[i].off -= start;
    p->doc = (struct json_doc){text, nodes, doc->node_count};
    return true;
}

/* What went wrong: 0 nothing, -ENOMEM, WH_ESYNTAX … */
struct reading {
    struct query_pipe *p;
    struct err *e;
    int rc;
};

static bool wrong(struct reading *r, int rc)
{
    if (r->rc == 0)
        r->rc = rc;
    return false;
}

/* null and absent: the empty text. */
static bool read_string(struct reading *r, const struct json_node *n, struct slice *out)
{
    *out = SLICE_LIT("");
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    if (n->kind != JSON_STRING)
        return wrong(r, WH_ESYNTAX);
    *out = json_raw(&r->p->doc, n);
    if (n->flags & JSON_F_ESCAPED) {
        char *text = arena_alloc(&r->p->arena, out->len + 1);
        if (text == NULL)
            return wrong(r, -ENOMEM);
        *out = (struct slice){text, json_unescape(*out, text)};
    }
    return true;
}

/* Members by name; strict: others are refused. */
static bool read_members(struct reading *r, const struct json_node *object,
                         const char *const *names, uint32_t count, const struct json_node **out,
                         bool strict)
{
    const struct json_doc *d = &r->p->doc;
    if (object->kind != JSON_OBJECT)
        return wrong(r, WH_ESYNTAX);
    for (uint32_t i = 0; i < count; i++)
        out[i] = NULL;
    const struct json_node *key = object + 1;
    for (uint32_t m = 0; m < object->count; m++) {
        const struct json_node *value = key + 1;
        uint32_t i = 0;
        while (i < count && !json_string_is(d, key, names[i]))
            i++;
        if (i < count)
            out[i] = value;
        else if (strict)
            return wrong(r, err_set(r->e, WH_EUNSUPPORTED, "unknown member \"%.*s\"",
                                    (int)(key->len < 100 ? key->len : 100), json_raw(d, key).ptr));
        key = &d->nodes[value->next];
    }
    return true;
}

static bool read_list(struct reading *r, const struct json_node *n, uint32_t max, const char *what,
                      uint32_t *count)
{
    *count = 0;
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    if (n->kind != JSON_ARRAY)
        return wrong(r, WH_ESYNTAX);
    if (n->count > max)
        return wrong(r, err_set(r->e, WH_ELIMIT, "more than %u %s", max, what));
    *count = n->count;
    return true;
}

static bool read_roles(struct reading *r, const struct json_node *n)
{
    struct query_pipe *p = r->p;
    uint32_t count;
    if (!read_list(r, n, LIMIT_PIPE_ROLES, "allowed roles", &count) || count == 0)
        return r->rc == 0;
    p->roles = arena_calloc(&p->arena, count, sizeof(*p->roles));
    if (p->roles == NULL)
        return wrong(r, -ENOMEM);
    const struct json_node *item = n + 1;
    for (uint32_t i = 0; i < count; i++, item = &p->doc.nodes[item->next]) {
        struct slice role;
        if (item->kind != JSON_STRING)
            return wrong(r, WH_ESYNTAX);
        if (!read_string(r, item, &role))
            return false;
        if (role.len > 0)
            p->roles[p->role_count++] = role;
    }
    return true;
}

static enum pipe_type type_of(struct slice text)
{
    static const char *const names[] = {
        [PIPE_STRING] = "string",
        [PIPE_NUMBER] = "number",
        [PIPE_BOOLEAN] = "boolean",
        [PIPE_ARRAY] = "array",
    };
    for (uint32_t i = PIPE_STRING; i <= PIPE_ARRAY; i++)
        if (slice_eq_str(text, names[i]))
            return (enum pipe_type)i;
    return PIPE_UNTYPED;
}

static bool read_parameter(struct reading *r, const struct json_node *n, bool strict,
                           struct pipe_parameter *out)
{
    static const char *const names[] = {"name", "type", "required", "default"};
    const struct json_node *m[4];
    if (!read_members(r, n, names, 4, m, strict) || !read_string(r, m[0], &out->name) ||
        !read_string(r, m[1], &out->type_text))
        return false;
    if (m[2] != NULL && m[2]->kind != JSON_TRUE && m[2]->kind != JSON_FALSE &&
        m[2]->kind != JSON_NULL)
        return wrong(r, WH_ESYNTAX);
    out->type = type_of(out->type_text);
    out->required = m[2] != NULL && m[2]->kind == JSON_TRUE;
    out->value = m[3] != NULL && m[3]->kind != JSON_NULL ? m[3] : NULL;
    if (out->name.len == 0)
        return wrong(r, err_set(r->e, WH_EUNSUPPORTED, "parameter name is required"));
    return true;
}

static bool read_parameters(struct reading *r, const struct json_node *n, bool strict)
{
    struct query_pipe *p = r->p;
    uint32_t count;
    if (!read_list(r, n, LIMIT_PIPE_NAMES, "parameters", &count))
        return false;
    p->parameters = arena_calloc(&p->arena, count + 1u, sizeof(*p->parameters));
    if (p->parameters == NULL)
        return wrong(r, -ENOMEM);
    const struct json_node *item = count > 0 ? n + 1 : NULL;
    for (; p->parameter_count < count; item = &p->doc.nodes[item->next]) {
        struct pipe_parameter *a = &p->parameters[p->parameter_count];
        if (!read_parameter(r, item, strict, a))
            return false;
        uint32_t number = pipe_name_of(p, a->name);
        if (number < p->parameter_count)
            return wrong(r, err_set(r->e, WH_EUNSUPPORTED, "duplicate parameter name \"%.*s\"",
                                    (int)(a->name.len < 100 ? a->name.len : 100), a->name.ptr));
        p->names[number].parameter = a;
        p->parameter_count++;
    }
    return true;
}

static bool read_ttl(struct reading *r, const struct json_node *n)
{
    struct query_pipe *p = r->p;
    if (n == NULL || n->kind == JSON_NULL)
        return true;
    struct slice digits = json_raw(&p->doc, n);
    p->has_ttl = true;
    for (size_t i = 0; i < digits.len && p->ttl_s <= LIMIT_PIPE_TTL_S; i++)
        p->ttl_s = p->ttl_s * 10 + (uint64_t)(digits.ptr[i] - '0');
    if (n->kind != JSON_NUMBER || !(n->flags & JSON_F_INTEGER) || (n->flags & JSON_F_NEGATIVE) ||
        p->ttl_s > LIMIT_PIPE_TTL_S)
        return wrong(r, err_set(r->e, WH_EUNSUPPORTED,
                                "cache_ttl must be a whole number of seconds, at most %d",
                                LIMIT_PIPE_TTL_S));
    return true;
}

static bool is_blank(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != ' ' && (s.ptr[i] < '\t' || s.ptr[i] > '\r'))
            return false;
    return true;
}

static bool read_definition(struct reading *r, struct slice name, bool strict)
{
    enum {
        NAME,
        SQL,
        PARAMETERS,
        DESCRIPTION,
        ALLOWED_ROLES,
        CACHE_TTL,
        MEMBERS
    };
    static const char *const names[] = {"name",        "sql",           "parameters",
                                        "description", "allowed_roles", "cache_ttl"};
    const struct json_node *m[MEMBERS];
    struct query_pipe *p = r->p;
    if (!read_members(r, p->doc.nodes, names, MEMBERS, m, strict))
        return false;
    if (name.ptr != NULL) {
        p->name = arena_dup(&p->arena, name);
        if (p->name.ptr == NULL)
            return wrong(r, -ENOMEM);
    } else if (!read_string(r, m[NAME], &p->name)) {
        return false;
    }
    if (!read_string(r, m[SQL], &p->sql) || !read_string(r, m[DESCRIPTION], &p->description))
        return false;
    if (p->name.len == 0)
        return wrong(r, err_set(r->e, WH_EUNSUPPORTED, "pipe name is required"));
    if (p->name.len > LIMIT_PIPE_NAME_BYTES)
        return wrong(r, err_set(r->e, WH_ELIMIT, "pipe name is longer than %d bytes",
                                LIMIT_PIPE_NAME_BYTES));
    if (is_blank(p->sql))
        return wrong(r, err_set(r->e, WH_EUNSUPPORTED, "pipe SQL is required"));
    if (p->sql.len > LIMIT_PIPE_SQL_BYTES)
        return wrong(r, err_set(r->e, WH_ELIMIT, "pipe SQL is longer than %d bytes",
                                (int)LIMIT_PIPE_SQL_BYTES));
    return read_parameters(r, m[PARAMETERS], strict) && read_roles(r, m[ALLOWED_ROLES]) &&
           read_ttl(r, m[CACHE_TTL]);
}

/* A default has to be one that the parameter's type takes. */
static int check_defaults(struct query_pipe *p, struct err *e)
{
    for (uint32_t i = 0; i < p->parameter_count; i++) {
        const struct pipe_parameter *a = &p->parameters[i];
        const char *why = NULL;
        if (a->value != NULL && !pipe_value_fits(a, &p->doc, a->value, &why))
            return err_set(e, WH_EUNSUPPORTED, "parameter \"%.*s\": default: %s",
                           (int)(a->name.len < 100 ? a->name.len : 100), a->name.ptr, why);
    }
    return 0;
}

int query_pipe_parse(struct json_reader *reader, struct slice name, struct slice text,
                     unsigned flags, struct query_pipe **out, struct err *e)
{
    struct json_doc doc;
    *out = NULL;
    int rc = json_reader_begin(reader, text.ptr, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == -ENOMEM)
        return rc;
    if (rc != 0 || json_reader_trailing(reader))
        return err_set(e, WH_ESYNTAX, "invalid json");
    struct query_pipe *p = pipe_new();
    if (p == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    struct reading r = {.p = p, .e = e};
    if (!copy_doc(p, &doc))
        r.rc = -ENOMEM;
    else if (read_definition(&r, name, (flags & QUERY_PIPE_STRICT_MEMBERS) != 0))
        r.rc = pipe_compile(p, (flags & QUERY_PIPE_STRICT_QUOTES) != 0, e);
    if (r.rc == 0)
        r.rc = check_defaults(p, e);
    if (r.rc == 0) {
        *out = p;
        return 0;
    }
    query_pipe_unref(p);
    if (r.rc == WH_ESYNTAX)
        return err_set(e, WH_ESYNTAX, "invalid json");
    return r.rc == -ENOMEM ? err_set(e, -ENOMEM, "out of memory") : r.rc;
}
