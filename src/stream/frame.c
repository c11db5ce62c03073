/* SPDX-License-Identifier: Apache-2.0 */
/* One event as a frame (http-api §11.2, §11.6). The record's own text is copied; only members that
 * must not be seen are left out of it. */
#include "stream/priv.h"

#include "flush/entry.h"
#include "schema/instant.h"

#include <errno.h>

/* The members of the record at hand, parsed once for all that need them. */
static bool record_parse(struct stream_hub *h, struct stream_record *rec)
{
    if (!rec->parsed) {
        rec->parsed = true;
        int rc = json_reader_begin(h->reader, rec->text.ptr, rec->text.len, JSON_ONE);
        if (rc == 0)
            rc = json_reader_next(h->reader, &rec->doc);
        rec->bad = rc != 0 || rec->doc.nodes[0].kind != JSON_OBJECT;
    }
    return !rec->bad;
}

static void count_withheld(struct stream_class *cl, enum access_match why)
{
    if (cl->withheld[why] == NULL) {
        struct buf table, role;
        buf_init(&table, SIZE_MAX);
        buf_init(&role, SIZE_MAX);
        metric_label_escape(&table, cl->table->name);
        metric_label_escape(&role, cl->role);
        buf_put_u8(&table, 0);
        buf_put_u8(&role, 0);
        if (buf_ok(&table) && buf_ok(&role))
            cl->withheld[why] =
                metric_new(METRIC_COUNTER, "wavehouse_sse_rows_withheld_total",
                           "Rows that a stream did not show because its row filter could not be "
                           "proven on the event alone; once per kind of subscriber.",
                           "table=\"%s\",role=\"%s\",reason=\"%s\"", table.ptr, role.ptr,
                           access_match_name(why));
        buf_fini(&table);
        buf_fini(&role);
    }
    if (cl->withheld[why] != NULL)
        metric_add(cl->withheld[why], 1);
}

bool stream_class_sees(struct stream_hub *h, struct stream_class *cl, struct stream_record *rec)
{
    if (cl->predicate == NULL && cl->projection->identity)
        return true;
    if (cl->seen == h->record_seq)
        return cl->match == ACCESS_MATCH;
    cl->seen = h->record_seq;
    cl->match = ACCESS_MATCH;
    if (!record_parse(h, rec))
        cl->match = ACCESS_UNREADABLE;
    else if (cl->predicate != NULL)
        cl->match = access_predicate_match(cl->predicate, &rec->doc, &h->scratch);
    if (cl->match > ACCESS_MISMATCH)
        count_withheld(cl, cl->match);
    return cl->match == ACCESS_MATCH;
}

/* ---- columns ---- */

static bool shows(const struct stream_projection *p, struct slice name)
{
    if (p->grant != NULL && !access_grant_column(p->grant, name))
        return false;
    const struct schema_column *c = p->schema != NULL ? schema_table_column(p->schema, name) : NULL;
    return c == NULL || c->default_kind != SCHEMA_DEFAULT_EPHEMERAL;
}

/* A column that positional rows have. */
static bool in_rows(const struct stream_projection *p, const struct schema_column *c)
{
    return c->insertable && shows(p, c->name);
}

static bool member_shows(struct stream_hub *h, const struct stream_projection *p,
                         const struct json_doc *doc, const struct json_node *key)
{
    struct slice name = json_raw(doc, key);
    if ((key->flags & JSON_F_ESCAPED) != 0) {
        buf_reset(&h->scratch);
        char *plain = buf_extend(&h->scratch, name.len);
        if (plain == NULL)
            return false;
        name = (struct slice){plain, json_unescape(name, plain)};
    }
    return shows(p, name);
}

static void put_members(struct stream_hub *h, const struct stream_projection *p,
                        const struct json_doc *doc, struct buf *out)
{
    const struct json_node *object = doc->nodes, *end = object + object->next;
    bool any = false;
    buf_put_u8(out, '{');
    for (const struct json_node *key = object + 1; key < end; key = doc->nodes + (key + 1)->next) {
        if (!member_shows(h, p, doc, key))
            continue;
        struct slice name = json_raw(doc, key), value = json_raw(doc, key + 1);
        buf_put_str(out, any ? ",\"" : "\"");
        buf_put_slice(out, name);
        buf_put_str(out, "\":");
        if ((key + 1)->kind == JSON_STRING) {
            buf_put_u8(out, '"');
            buf_put_slice(out, value);
            buf_put_u8(out, '"');
        } else {
            buf_put_slice(out, value);
        }
        any = true;
    }
    buf_put_u8(out, '}');
}

static const struct json_node *member(struct stream_hub *h, const struct json_doc *doc,
                                      struct slice name)
{
    const struct json_node *object = doc->nodes, *end = object + object->next, *found = NULL;
    for (const struct json_node *key = object + 1; key < end; key = doc->nodes + (key + 1)->next) {
        struct slice raw = json_raw(doc, key);
        if ((key->flags & JSON_F_ESCAPED) != 0) {
            buf_reset(&h->scratch);
            char *plain = buf_extend(&h->scratch, raw.len);
            if (plain == NULL)
                continue;
            raw = (struct slice){plain, json_unescape(raw, plain)};
        }
        if (slice_eq(raw, name))
            found = key + 1;
    }
    return found;
}

static void put_row(struct stream_hub *h, const struct stream_projection *p,
                    const struct json_doc *doc, struct buf *out)
{
    bool any = false;
    buf_put_u8(out, '[');
    for (uint32_t i = 0; p->schema != NULL && i < p->schema->column_count; i++) {
        const struct schema_column *c = &p->schema->columns[i];
        if (!in_rows(p, c))
            continue;
        if (any)
            buf_put_u8(out, ',');
        any = true;
        const struct json_node *value = member(h, doc, c->name);
        if (value == NULL)
            buf_put_str(out, "null");
        else
            json_put_minified(out, doc, value);
    }
    buf_put_u8(out, ']');
}

/* ---- frames ---- */

static void put_time(struct stream_hub *h, uint64_t ns, struct buf *out)
{
    uint64_t s = ns / 1000000000, rest = ns % 1000000000;
    if (s != h->clock_s || h->clock_s == 0) {
        struct buf text;
        buf_init(&text, SIZE_MAX);
        instant_put(&text, ns);
        must(buf_ok(&text) && text.len == STREAM_TIME_LEN);
        memcpy(h->clock_text, text.ptr, STREAM_TIME_LEN);
        buf_fini(&text);
        h->clock_s = s;
    }
    for (size_t i = STREAM_TIME_LEN - 2; i > STREAM_TIME_LEN - 11; i--, rest /= 10)
        h->clock_text[i] = (char)('0' + rest % 10);
    buf_put(out, h->clock_text, STREAM_TIME_LEN);
}

static void render(struct stream_hub *h, struct stream_class *cl, struct stream_record *rec,
                   bool positional, struct buf *out)
{
    struct stream_projection *p = cl->projection;
    buf_put_str(out, "id: ");
    put_time(h, rec->id_ns, out);
    buf_put_str(out, "\ndata: ");
    if (cl->table->dead_letters) {
        buf_put_str(out, "{\"table_name\":");
        buf_put_json_string(out, rec->table);
        buf_put_str(out, ",\"received_timestamp\":\"");
    } else {
        buf_put_slice(out, buf_slice(&cl->table->prefix));
    }
    put_time(h, rec->id_ns, out);
    buf_put_str(out, positional ? "\",\"row\":" : "\",\"data\":");
    if (positional && record_parse(h, rec))
        put_row(h, p, &rec->doc, out);
    else if (positional)
        buf_put_str(out, "[]");
    else if (p->identity)
        buf_put_slice(out, rec->text);
    else
        put_members(h, p, &rec->doc, out); /* stream_class_sees has parsed it */
    buf_put_str(out, "}\n\n");
}

void stream_frame_put(struct stream_hub *h, struct stream_class *cl, struct stream_record *rec,
                      bool positional, struct buf *out)
{
    struct stream_projection *p = cl->projection;
    positional = positional && !cl->table->dead_letters;
    struct buf *text = &p->text[positional];
    if (p->refs == 1 && cl->channel_count <= 1) { /* nobody else needs it */
        render(h, cl, rec, positional, out);
        return;
    }
    if (p->seen[positional] != h->record_seq) {
        p->seen[positional] = h->record_seq;
        buf_reset(text);
        render(h, cl, rec, positional, text);
    }
    if (!buf_ok(text))
        out->failed = true;
    buf_put_slice(out, buf_slice(text));
}

void stream_frame_schema(const struct stream_channel *ch, struct buf *out)
{
    for (uint32_t i = 0; ch->positional && i < ch->class_count; i++) {
        const struct stream_class *cl = ch->classes[i];
        const struct stream_projection *p = cl->projection;
        bool any = false;
        if (cl->table->dead_letters)
            continue;
        buf_put_str(out, "event: schema\ndata: {\"table_name\":");
        buf_put_json_string(out, cl->table->name);
        buf_put_str(out, ",\"columns\":[");
        for (uint32_t k = 0; p->schema != NULL && k < p->schema->column_count; k++) {
            if (!in_rows(p, &p->schema->columns[k]))
                continue;
            if (any)
                buf_put_u8(out, ',');
            any = true;
            buf_put_json_string(out, p->schema->columns[k].name);
        }
        buf_put_str(out, "]}\n\n");
    }
}

void stream_frame_dead_letter(struct stream_hub *h, const struct flush_dead_item *item,
                              struct buf *out)
{
    static const char padding[LIMIT_JSON_PADDING];
    buf_reset(out);
    buf_put_str(out, "{\"error\":");
    buf_put_json_string(out, item->text);
    buf_printf(out, ",\"error_code\":%d,\"received_timestamp\":\"", item->code);
    put_time(h, item->received_ns, out);
    buf_put_str(out, "\",\"data\":");
    buf_put_slice(out, item->record);
    buf_put_u8(out, '}');
    buf_put(out, padding, sizeof(padding));
}
