/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes as objects: lives, what others ask of them, and the set of all. */
#include "query/pipe_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define SET_MAGIC 0x50535453u

/* ---- lives ----------------------------------------------------------------------------------- */

struct query_pipe *pipe_new(void)
{
    struct query_pipe *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->magic = QUERY_PIPE_MAGIC;
    p->refs = 1;
    arena_init(&p->arena, 4 * KIB, 64 * MIB);
    return p;
}

struct query_pipe *query_pipe_ref(struct query_pipe *p)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void query_pipe_unref(struct query_pipe *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    p->magic = 0;
    arena_fini(&p->arena);
    free(p);
}

uint32_t pipe_name_of(struct query_pipe *p, struct slice name)
{
    for (uint32_t i = 0; i < p->name_count; i++)
        if (slice_eq(p->names[i].name, name))
            return i;
    if (p->names == NULL)
        p->names = arena_calloc(&p->arena, LIMIT_PIPE_NAMES, sizeof(*p->names));
    if (p->names == NULL || p->name_count == LIMIT_PIPE_NAMES)
        return LIMIT_PIPE_NAMES;
    p->names[p->name_count].name = name;
    return p->name_count++;
}

/* ---- what others ask ------------------------------------------------------------------------- */

struct slice query_pipe_name(const struct query_pipe *p)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    return p->name;
}

const struct slice *query_pipe_roles(const struct query_pipe *p, uint32_t *count)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    *count = p->role_count;
    return p->roles;
}

bool query_pipe_allows(const struct query_pipe *p, struct slice role)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    for (uint32_t i = 0; i < p->role_count; i++)
        if (slice_eq(p->roles[i], role))
            return true;
    return false;
}

bool query_pipe_parameter(const struct query_pipe *p, uint32_t i, struct query_pipe_parameter *out)
{
    if (i >= p->parameter_count)
        return false;
    const struct pipe_parameter *a = &p->parameters[i];
    *out = (struct query_pipe_parameter){a->name, a->type_text, a->required};
    return true;
}

struct slice query_pipe_description(const struct query_pipe *p)
{
    return p->description;
}

bool query_pipe_ttl(const struct query_pipe *p, uint64_t *ttl_s)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    *ttl_s = p->ttl_s;
    return p->has_ttl;
}

static void put_parameter(const struct query_pipe *p, const struct pipe_parameter *a,
                          struct buf *out)
{
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, a->name);
    buf_put_str(out, ",\"type\":");
    buf_put_json_string(out, a->type_text);
    if (a->required)
        buf_put_str(out, ",\"required\":true");
    if (a->value != NULL) {
        buf_put_str(out, ",\"default\":");
        json_put_minified(out, &p->doc, a->value);
    }
    buf_put_u8(out, '}');
}

void query_pipe_put_json(const struct query_pipe *p, struct buf *out)
{
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, p->name);
    buf_put_str(out, ",\"sql\":");
    buf_put_json_string(out, p->sql);
    for (uint32_t i = 0; i < p->parameter_count; i++) {
        buf_put_str(out, i == 0 ? ",\"parameters\":[" : ",");
        put_parameter(p, &p->parameters[i], out);
    }
    if (p->parameter_count > 0)
        buf_put_u8(out, ']');
    if (p->description.len > 0) {
        buf_put_str(out, ",\"description\":");
        buf_put_json_string(out, p->description);
    }
    for (uint32_t i = 0; i < p->role_count; i++) {
        buf_put_str(out, i == 0 ? ",\"allowed_roles\":[" : ",");
        buf_put_json_string(out, p->roles[i]);
    }
    if (p->role_count > 0)
        buf_put_u8(out, ']');
    if (p->has_ttl)
        buf_printf(out, ",\"cache_ttl\":%llu", (unsigned long long)p->ttl_s);
    buf_put_u8(out, '}');
}

void query_pipe_put_seed(struct buf *out, struct slice name, struct slice sql)
{
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, name);
    buf_put_str(out, ",\"sql\":");
    buf_put_json_string(out, sql);
    buf_put_u8(out, '}');
}

static void warn_place(const struct query_pipe *p, const struct pipe_part *part, access_warn_fn fn,
                       void *arg)
{
    char text[1024];
    uint32_t line, column;
    bool is_comment = part->place == SQL_LINE || part->place == SQL_BLOCK;
    struct slice name = p->names[part->name].name;
    pipe_locate(p->sql, part->offset, &line, &column);
    (void)snprintf(text, sizeof(text),
                   "pipe SQL, line %u, column %u: placeholder {{%.*s}} stands in %s: %s", line,
                   column, (int)(name.len < 100 ? name.len : 100), name.ptr,
                   is_comment ? "a comment" : "quotes",
                   is_comment ? "its value is written there, too"
                              : "write it bare, it brings its own quotes");
    fn(arg, text);
}

uint32_t query_pipe_warn(const struct query_pipe *p, access_warn_fn fn, void *arg)
{
    char text[1024];
    uint32_t count = 0, line, column;
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    for (uint32_t i = 0; i < p->part_count; i++)
        if (p->parts[i].kind == PIPE_PLACE && p->parts[i].place != SQL_CODE) {
            warn_place(p, &p->parts[i], fn, arg);
            count++;
        }
    for (uint32_t i = 0; i < p->odd_count; i++, count++) {
        pipe_locate(p->sql, p->odd[i], &line, &column);
        (void)snprintf(text, sizeof(text),
                       "pipe SQL, line %u, column %u: {{ begins no placeholder and is left as it "
                       "is: there are {{name}}, {{name:default}} and {{ error('text') }}",
                       line, column);
        fn(arg, text);
    }
    for (uint32_t i = 0; i < p->parameter_count; i++) {
        if (p->names[i].is_used)
            continue;
        (void)snprintf(text, sizeof(text), "parameter \"%.*s\" is not named in the SQL",
                       (int)(p->names[i].name.len < 100 ? p->names[i].name.len : 100),
                       p->names[i].name.ptr);
        fn(arg, text);
        count++;
    }
    return count;
}

/* ---- all of them ----------------------------------------------------------------------------- */

struct query_pipes {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint32_t count, cap;
    struct query_pipe **list; /* sorted by name */
};

struct query_pipes *query_pipes_new(void)
{
    struct query_pipes *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->magic = SET_MAGIC;
    s->refs = 1;
    return s;
}

struct query_pipes *query_pipes_ref(struct query_pipes *s)
{
    CHECK_MAGIC(s, SET_MAGIC);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void query_pipes_unref(struct query_pipes *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SET_MAGIC);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    s->magic = 0;
    for (uint32_t i = 0; i < s->count; i++)
        query_pipe_unref(s->list[i]);
    free(s->list);
    free(s);
}

/* Where the name stands, or belongs. */
static uint32_t place_of(const struct query_pipes *s, struct slice name, bool *found)
{
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (slice_compare(s->list[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < s->count && slice_compare(s->list[low]->name, name) == 0;
    return low;
}

bool query_pipes_take(struct query_pipes *s, struct query_pipe *p)
{
    bool found;
    CHECK_MAGIC(s, SET_MAGIC);
    uint32_t at = place_of(s, p->name, &found);
    if (found) {
        query_pipe_unref(s->list[at]);
        s->list[at] = p;
        return true;
    }
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? 16 : s->cap * 2;
        struct query_pipe **list =
            cap <= 2 * LIMIT_PIPES ? realloc(s->list, cap * sizeof(*list)) : NULL;
        if (list == NULL) {
            query_pipe_unref(p);
            return false;
        }
        s->list = list;
        s->cap = cap;
    }
    memmove(s->list + at + 1, s->list + at, (s->count - at) * sizeof(*s->list));
    s->list[at] = p;
    s->count++;
    return true;
}

uint32_t query_pipes_count(const struct query_pipes *s)
{
    CHECK_MAGIC(s, SET_MAGIC);
    return s->count;
}

struct query_pipe *query_pipes_at(const struct query_pipes *s, uint32_t i)
{
    CHECK_MAGIC(s, SET_MAGIC);
    must(i < s->count);
    return s->list[i];
}

struct query_pipe *query_pipes_find(const struct query_pipes *s, struct slice name)
{
    bool found;
    CHECK_MAGIC(s, SET_MAGIC);
    uint32_t at = place_of(s, name, &found);
    return found ? s->list[at] : NULL;
}
