/* SPDX-License-Identifier: Apache-2.0 */
#include "access/check.h"

#include "access/member.h"
#include "access/scalar.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>

static const char *computed_word(const struct schema_column *col)
{
    switch (col->default_kind) {
    case SCHEMA_DEFAULT_MATERIALIZED:
        return "materialized";
    case SCHEMA_DEFAULT_ALIAS:
        return "alias";
    case SCHEMA_DEFAULT_EPHEMERAL:
        return "ephemeral";
    default:
        return NULL;
    }
}

/* ---- stamping -------------------------------------------------------------------------------- */

static bool takes_numbers(const struct ch_type *t)
{
    return t->kind <= CH_BFLOAT16 || t->kind == CH_DECIMAL;
}

/* The value as JSON of the kind that the column wants. */
static void put_stamp(struct buf *out, const struct schema_column *col,
                      const struct access_scalar *v)
{
    char number[ACCESS_NUMBER_CAP];
    size_t len;
    buf_put_str(out, ",\"");
    buf_put_slice(out, col->json_key);
    buf_put_str(out, "\":");
    bool word = slice_eq_str(v->text, "true") || slice_eq_str(v->text, "false");
    if (takes_numbers(col->peeled) && access_number_canonical(v->text, number, &len))
        buf_put(out, number, len);
    else if (word && (v->kind == ACCESS_BOOLEAN || col->peeled->kind == CH_BOOL) &&
             col->peeled->kind != CH_STRING)
        buf_put_slice(out, v->text);
    else
        buf_put_json_string(out, v->text);
}

/* The same, in the arena; ptr NULL: no memory. */
static struct slice make_stamp(struct arena *a, const struct schema_column *col,
                               const struct access_scalar *v)
{
    /* at most: ,"key": and a number, or a text of which every byte is escaped, in quotes */
    size_t most = col->json_key.len + 8 + ACCESS_NUMBER_CAP + 6 * v->text.len;
    char *room = arena_alloc(a, most);
    struct buf text = {.ptr = room, .cap = most, .max = most};
    if (room == NULL)
        return (struct slice){NULL, 0};
    put_stamp(&text, col, v);
    must(buf_ok(&text));
    return buf_slice(&text);
}

int access_check_bind(struct arena *a, const struct access_grant *g,
                      const struct access_claims *claims, const struct schema_table *table,
                      struct access_check *out, struct err *e)
{
    struct access_check_rule *list = arena_calloc(a, g->rule_count + 1, sizeof(*list));
    *out = (struct access_check){0, list};
    if (list == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < g->rule_count; i++) {
        const struct access_rule *rule = &g->rules[i];
        struct access_check_rule *r = &list[out->count++];
        r->column = schema_table_column(table, rule->column);
        r->one_of = rule->op == ACCESS_IN;
        if (r->column == NULL)
            return err_set(e, WH_EREMOTE,
                           "policy check references column \"%.*s\", which table \"%.*s\" does not "
                           "have",
                           SLICE_ARG(rule->column), SLICE_ARG(table->name));
        if (computed_word(r->column) != NULL)
            return err_set(e, WH_EREMOTE,
                           "policy check references column \"%.*s\", which is %s and cannot be "
                           "inserted",
                           SLICE_ARG(rule->column), computed_word(r->column));
        enum access_resolution res =
            access_template_resolve(a, &rule->value, rule->op, claims, &r->values);
        if (res == ACCESS_NO_MEMORY)
            return err_set(e, -ENOMEM, "out of memory");
        /* Never stamp or compare with an empty text for a claim that is not there. */
        if (res == ACCESS_UNRESOLVABLE)
            return err_set(e, WH_EREMOTE, ACCESS_CHECK_FAILED, SLICE_ARG(rule->column));
        if (!r->one_of)
            r->stamp = make_stamp(a, r->column, &r->values.list[0]);
        if (!r->one_of && r->stamp.ptr == NULL)
            return err_set(e, -ENOMEM, "out of memory");
    }
    return 0;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool number_is(struct slice raw, const struct access_scalar *want)
{
    char body[ACCESS_NUMBER_CAP], other[ACCESS_NUMBER_CAP];
    size_t body_len, other_len;
    if (want->kind == ACCESS_TEXT) /* of a string claim only the same text is the same */
        return slice_eq(raw, want->text);
    if (want->kind == ACCESS_BOOLEAN || !access_number_canonical(raw, body, &body_len))
        return false;
    return access_number_canonical(want->text, other, &other_len) &&
           slice_eq((struct slice){body, body_len}, (struct slice){other, other_len});
}

/* Is the STRING node this text, of any length? */
static bool text_is(const struct json_doc *doc, const struct json_node *n, struct slice want)
{
    struct slice raw = json_raw(doc, n);
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return slice_eq(raw, want);
    if (raw.len > 6 * want.len)
        return false;
    char *text = malloc(raw.len);
    bool same = text != NULL && slice_eq((struct slice){text, json_unescape(raw, text)}, want);
    free(text);
    return same;
}

static bool is_value(const struct json_doc *doc, const struct json_node *n,
                     const struct access_scalar *want)
{
    switch (n->kind) {
    case JSON_STRING:
        return text_is(doc, n, want->text);
    case JSON_NUMBER:
        return number_is(json_raw(doc, n), want);
    case JSON_TRUE:
    case JSON_FALSE:
        return slice_eq(json_raw(doc, n), want->text);
    default:
        return false;
    }
}

static bool is_one_of(const struct json_doc *doc, const struct json_node *n,
                      const struct access_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (is_value(doc, n, &set->list[i]))
            return true;
    return false;
}

/* ---- records -----------------------------------------------------------------------------------
 */

const struct schema_column *access_check_record(const struct access_check *c,
                                                const struct json_doc *doc, struct buf *stamps)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct access_check_rule *r = &c->rules[i];
        const struct json_node *n = access_member(doc, doc->nodes, r->column->name);
        if (n == NULL && !r->one_of)
            buf_put_slice(stamps, r->stamp);
        else if (n == NULL || !is_one_of(doc, n, &r->values))
            return r->column;
    }
    return NULL;
}

bool access_check_columns(const struct access_grant *g, const struct json_doc *doc,
                          struct slice *column)
{
    char text[6 * LIMIT_NAME_BYTES];
    if (g->allow_columns.count == 0 && g->deny_columns.count == 0)
        return false;
    ACCESS_EACH_MEMBER(doc, doc->nodes, key)
    {
        struct slice name = json_raw(doc, key);
        *column = name;
        if ((key->flags & JSON_F_ESCAPED) != 0) {
            if (name.len > sizeof(text)) /* no column has such a name */
                return true;
            name = (struct slice){text, json_unescape(name, text)};
        }
        if (!access_grant_column(g, name))
            return true;
    }
    return false;
}
