/* SPDX-License-Identifier: Apache-2.0 */
#include "access/template.h"

#include "access/member.h"
#include "access/scalar.h"
#include "base/limits.h"

/* ---- reading --------------------------------------------------------------------------------- */

static size_t find(struct slice s, size_t from, const char *two)
{
    const char *p = s.len - from >= 2 ? memmem(s.ptr + from, s.len - from, two, 2) : NULL;
    return p != NULL ? (size_t)(p - s.ptr) : s.len;
}

static bool is_path_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

/* " jwt.a.b " → "a.b" */
static bool read_claim(struct slice inside, struct slice *path)
{
    for (; inside.len > 0 && inside.ptr[0] == ' '; inside.len--)
        inside.ptr++;
    while (inside.len > 0 && inside.ptr[inside.len - 1] == ' ')
        inside.len--;
    if (inside.len <= 4 || memcmp(inside.ptr, "jwt.", 4) != 0)
        return false;
    *path = (struct slice){inside.ptr + 4, inside.len - 4};
    for (size_t i = 0; i < path->len; i++)
        if (!is_path_byte(path->ptr[i]) ||
            (path->ptr[i] == '.' && (i == 0 || i + 1 == path->len || path->ptr[i - 1] == '.')))
            return false;
    return true;
}

bool access_template_parse(struct arena *a, struct slice text, struct access_value *out,
                           const char **why)
{
    struct access_part parts[2 * LIMIT_TEMPLATES + 2], *copy;
    uint32_t n = 0, claims = 0; /* at most one literal before each claim, and one at the end */
    size_t at = 0;
    *why = "unbalanced {{ }}";
    while (at < text.len) {
        size_t open = find(text, at, "{{"), end = find(text, at, "}}");
        if (end < open)
            return false;
        if (open > at)
            parts[n++] = (struct access_part){false, {text.ptr + at, open - at}};
        if (open == text.len)
            break;
        if (end == text.len)
            return false;
        if (claims++ == LIMIT_TEMPLATES) {
            *why = "more than 16 claims in one value";
            return false;
        }
        struct slice path;
        if (!read_claim((struct slice){text.ptr + open + 2, end - open - 2}, &path)) {
            *why = "malformed {{ }}: write {{ jwt.NAME }} or {{ jwt.NAME.NAME }}";
            return false;
        }
        parts[n++] = (struct access_part){true, path};
        at = end + 2;
    }
    *why = NULL;
    copy = arena_calloc(a, n + 1, sizeof(*copy));
    if (copy == NULL)
        return false;
    if (n > 0)
        memcpy(copy, parts, n * sizeof(*copy));
    *out = (struct access_value){text, n, copy};
    return true;
}

/* ---- filling in ------------------------------------------------------------------------------ */

/* The text of one claim value. */
static enum access_resolution scalar_of(struct arena *a, const struct json_doc *doc,
                                        const struct json_node *n, struct access_scalar *out)
{
    struct slice raw = json_raw(doc, n);
    char *p;
    size_t len;
    switch (n->kind) {
    case JSON_TRUE:
    case JSON_FALSE:
        *out = (struct access_scalar){ACCESS_BOOLEAN, raw};
        return ACCESS_RESOLVED;
    case JSON_STRING:
        if ((n->flags & JSON_F_ESCAPED) == 0) {
            *out = (struct access_scalar){ACCESS_TEXT, raw};
            return ACCESS_RESOLVED;
        }
        p = arena_alloc(a, raw.len);
        if (p == NULL)
            return ACCESS_NO_MEMORY;
        *out = (struct access_scalar){ACCESS_TEXT, {p, json_unescape(raw, p)}};
        return ACCESS_RESOLVED;
    case JSON_NUMBER:
        p = arena_alloc(a, ACCESS_NUMBER_CAP);
        if (p == NULL)
            return ACCESS_NO_MEMORY;
        if (!access_number_canonical(raw, p, &len))
            return ACCESS_UNRESOLVABLE;
        *out = (struct access_scalar){ACCESS_NUMBER, {p, len}};
        return ACCESS_RESOLVED;
    default:
        return ACCESS_UNRESOLVABLE;
    }
}

static enum access_resolution resolve_array(struct arena *a, const struct json_doc *doc,
                                            const struct json_node *array, struct access_set *out)
{
    if (array->count > LIMIT_CLAIM_VALUES)
        return ACCESS_UNRESOLVABLE;
    struct access_scalar *list = arena_calloc(a, array->count + 1, sizeof(*list));
    uint32_t n = 0;
    if (list == NULL)
        return ACCESS_NO_MEMORY;
    ACCESS_EACH_ELEMENT(doc, array, item)
    {
        /* One element without a text spoils all: nobody knows whom it was meant to keep out. */
        enum access_resolution r = scalar_of(a, doc, item, &list[n++]);
        if (r != ACCESS_RESOLVED)
            return r;
    }
    *out = (struct access_set){n, list};
    return ACCESS_RESOLVED;
}

/* Join the parts into one text. */
static enum access_resolution resolve_mixed(struct arena *a, const struct access_value *v,
                                            const struct access_claims *claims,
                                            struct access_scalar *out)
{
    struct slice texts[2 * LIMIT_TEMPLATES + 1];
    size_t len = 0;
    for (uint32_t i = 0; i < v->part_count; i++) {
        struct access_scalar s = {ACCESS_LITERAL, v->parts[i].text};
        if (v->parts[i].is_claim) {
            const struct json_node *n = access_claims_find(claims, v->parts[i].text);
            enum access_resolution r =
                n != NULL ? scalar_of(a, access_claims_doc(claims), n, &s) : ACCESS_UNRESOLVABLE;
            if (r != ACCESS_RESOLVED)
                return r;
        }
        texts[i] = s.text;
        len += s.text.len;
    }
    char *p = arena_alloc(a, len + 1);
    if (p == NULL)
        return ACCESS_NO_MEMORY;
    *out = (struct access_scalar){ACCESS_TEXT, {p, len}};
    for (uint32_t i = 0; i < v->part_count; i++) {
        if (texts[i].len > 0)
            memcpy(p, texts[i].ptr, texts[i].len);
        p += texts[i].len;
    }
    return ACCESS_RESOLVED;
}

enum access_resolution access_template_resolve(struct arena *a, const struct access_value *v,
                                               enum access_compare op,
                                               const struct access_claims *claims,
                                               struct access_set *out)
{
    struct access_scalar *one = arena_calloc(a, 1, sizeof(*one));
    enum access_resolution r = ACCESS_RESOLVED;
    bool whole = v->part_count == 1 && v->parts[0].is_claim, mixed = false;
    *out = (struct access_set){1, one};
    if (one == NULL)
        return ACCESS_NO_MEMORY;
    for (uint32_t i = 0; i < v->part_count; i++)
        mixed |= v->parts[i].is_claim;
    if (!mixed) {
        *one = (struct access_scalar){ACCESS_LITERAL, v->source};
    } else if (!whole) {
        r = resolve_mixed(a, v, claims, one);
    } else {
        const struct json_node *n = access_claims_find(claims, v->parts[0].text);
        if (n == NULL)
            r = ACCESS_UNRESOLVABLE;
        else if (n->kind == JSON_ARRAY && op == ACCESS_IN)
            r = resolve_array(a, access_claims_doc(claims), n, out);
        else
            r = scalar_of(a, access_claims_doc(claims), n, one);
    }
    return r;
}
