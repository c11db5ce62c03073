/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are JSON already: JSONCompactEachRow and JSONEachRow. */
#include "text/text_priv.h"

static void skip_space(struct text_reader *r)
{
    while (r->p < r->limit && text_is_space(*r->p))
        r->p++;
}

/* From the bracket at p to behind the one that closes it; NULL: it does not come. The JSON reader
 * judges what is in between. */
static const char *value_end(const char *p, const char *end)
{
    int depth = 0;
    for (; p < end; p++) {
        switch (*p) {
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (--depth == 0)
                return p + 1;
            break;
        case '"':
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
            break;
        default:
            break;
        }
    }
    return NULL;
}

/* Between rows: white space, a comma, for JSONEachRow also the brackets around all of them.
 * WH_EEND: nothing more. */
static int skip_between(struct text_reader *r)
{
    skip_space(r);
    if (r->first && r->o.format == TEXT_JSON_OBJECTS && r->p < r->limit && *r->p == '[') {
        r->in_brackets = true;
        r->p++;
        skip_space(r);
    } else if (!r->first && r->p < r->limit && *r->p == ',') {
        r->p++;
        skip_space(r);
    }
    r->first = false;
    if (r->in_brackets && r->p < r->limit && *r->p == ']') {
        r->in_brackets = false;
        r->p++;
        skip_space(r);
        if (r->p < r->limit && *r->p == ';') {
            r->p++;
            skip_space(r);
        }
        if (r->p < r->end)
            return text_refuse(r, 117, "Cannot parse JSON: data behind the closing bracket");
    } else if (!r->in_brackets && r->p < r->limit && *r->p == ';') {
        r->p++;
        skip_space(r);
    }
    if (r->p < r->end)
        return 0;
    if (r->in_brackets)
        return text_refuse(r, 27, "Cannot parse JSON: the array of rows is not closed");
    return WH_EEND;
}

int text_json_array(struct text_reader *r, struct json_doc *doc)
{
    const char *end = *r->p == '[' ? value_end(r->p, r->limit) : NULL;
    if (*r->p != '[')
        return text_refuse(r, 27, "Cannot parse input: expected '[' before: '%.*s'",
                           r->limit - r->p < 20 ? (int)(r->limit - r->p) : 20, r->p);
    if (end == NULL)
        return text_refuse(r, 27, "Cannot parse JSON: the row's array is not closed");
    size_t len = (size_t)(end - r->p);
    if (json_reader_begin(r->json, r->p, len, JSON_ONE) != 0 || json_reader_next(r->json, doc) != 0)
        return text_refuse(r, 117, "Cannot parse JSON: %s",
                           json_reader_error(r->json) != NULL ? json_reader_error(r->json)
                                                              : "malformed");
    r->p = end;
    return 0;
}

static int compact_row(struct text_reader *r)
{
    struct json_doc doc;
    int rc = text_json_array(r, &doc);
    if (rc != 0)
        return rc;
    const struct json_node *nodes = doc.nodes;
    if (nodes[0].count != r->field_count)
        return text_refuse(r, 27, "Cannot parse JSON: the row has %u values, %u are expected",
                           nodes[0].count, r->field_count);
    uint32_t k = 1;
    for (uint32_t i = 0; i < r->field_count; i++, k = nodes[k].next) {
        if (r->fields[i] == NULL)
            continue;
        text_key(r, r->fields[i]);
        buf_put_slice(&r->out, nodes[k].kind == JSON_STRING
                                   ? (struct slice){doc.text + nodes[k].off - 1, nodes[k].len + 2u}
                                   : json_raw(&doc, &nodes[k]));
    }
    return 0;
}

int text_json_row(struct text_reader *r, struct slice *json)
{
    int rc = skip_between(r);
    if (rc != 0)
        return rc;
    r->rows++;
    if (r->o.format == TEXT_JSON_COMPACT)
        return compact_row(r);
    const char *end = *r->p == '{' ? value_end(r->p, r->limit) : NULL;
    if (*r->p != '{')
        return text_refuse(r, 27, "Cannot parse input: expected '{' before: '%.*s'",
                           r->limit - r->p < 20 ? (int)(r->limit - r->p) : 20, r->p);
    if (end == NULL)
        return text_refuse(r, 27, "Cannot parse JSON: the row's object is not closed");
    *json = (struct slice){r->p, (size_t)(end - r->p)};
    r->p = end;
    return 0;
}
