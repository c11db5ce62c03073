/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters, and held rows, seen: counts, lists, single ones. Short reads of the store. */
#include "api/ops_dlq.h"

#include "base/limits.h"
#include "schema/instant.h"

#include <inttypes.h>

#define LIST_LIMIT_DEFAULT 100
#define LIST_LIMIT_MAX     1000
/* An answer is closed with the entry that reaches this. Reading and copying so much takes a few
 * milliseconds, which a socket loop can spare. */
#define LIST_BYTES_MAX (4 * MIB)

static void count_all(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    uint64_t *n = ctx;
    (void)table;
    (void)bytes;
    *n += records;
}

/* A store that cannot be read says so later. */
static bool any_left(struct store *s)
{
    struct err e;
    uint64_t n = 0;
    return store_letter_counts(s, STORE_DEAD, count_all, &n, &e) != 0 ||
           store_letter_counts(s, STORE_HELD, count_all, &n, &e) != 0 || n > 0;
}

bool ops_dlq_enabled(struct api_loop *a, struct http_request *r)
{
    if (config_dlq_any(a->config) || any_left(a->shared->store))
        return true;
    http_reply_error(r, 404, SLICE_LIT("not found"), 0);
    return false;
}

enum store_shelf ops_shelf(struct ops_ask *q)
{
    struct buf name;
    buf_init(&name, LIMIT_NAME_BYTES);
    enum store_shelf shelf = STORE_DEAD;
    if (ops_ask_text(q, "shelf", &name)) {
        if (slice_eq_str(buf_slice(&name), "held"))
            shelf = STORE_HELD;
        else if (!slice_eq_str(buf_slice(&name), "dead"))
            ops_ask_refuse(q, "shelf must be dead or held");
    }
    buf_fini(&name);
    return shelf;
}

/* --- counts -------------------------------------------------------------------------------- */

struct dlq_counts {
    struct buf *out;
    struct slice only; /* ptr NULL: every table */
    uint64_t total;
    bool any;
};

static void count_table(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct dlq_counts *c = ctx;
    (void)bytes;
    if (records == 0 || (c->only.ptr != NULL && !slice_eq(c->only, table)))
        return;
    if (c->any)
        buf_put_u8(c->out, ',');
    buf_put_json_string(c->out, table);
    buf_printf(c->out, ":%" PRIu64, records);
    c->total += records;
    c->any = true;
}

void ops_dlq_stats(struct api_loop *a, struct http_request *r)
{
    if (!ops_dlq_enabled(a, r))
        return;
    int given = api_table_parameter(a, r);
    if (given < 0)
        return;
    struct err e;
    struct dlq_counts counts = {.out = &a->text};
    char room[8];
    struct buf word = {.ptr = room, .cap = sizeof(room), .max = sizeof(room)};
    bool held =
        http_query_get(r->query, "shelf", &word) == 1 && slice_eq_str(buf_slice(&word), "held");
    if (given == 1)
        counts.only = buf_slice(&a->name);
    buf_reset(&a->text);
    buf_put_slice(&a->text, SLICE_LIT("{\"tables\":{"));
    if (store_letter_counts(a->shared->store, held ? STORE_HELD : STORE_DEAD, count_table, &counts,
                            &e) != 0) {
        http_reply_error(r, 500, SLICE_LIT("stream info failed"), 0);
        return;
    }
    buf_printf(&a->text, "},\"total\":%" PRIu64 "}", counts.total);
    api_reply_text(a, r, 200);
}

/* --- entries ------------------------------------------------------------------------------- */

/* Append the record: as JSON where it is JSON, otherwise (it never should be) as a string, so that
 * it can be seen and the answer is valid. */
static void put_record(struct api_loop *a, struct slice record, struct buf *out)
{
    struct json_doc doc;
    struct json_reader *reader = ops_reader(a);
    size_t at = out->len;
    buf_put_slice(out, record);
    if (buf_extend(out, LIMIT_JSON_PADDING) == NULL)
        return;
    out->len -= LIMIT_JSON_PADDING;
    if (reader != NULL && json_reader_begin(reader, out->ptr + at, record.len, JSON_ONE) == 0 &&
        json_reader_next(reader, &doc) == 0 && !json_reader_trailing(reader))
        return;
    out->len = at;
    buf_put_json_string(out, record);
}

/* "<peer> <request id>"; letters from before it was kept have none. Who came by the control socket
 * is "uid N". */
static void put_sender(struct slice sender, struct buf *out)
{
    static const char uid[] = "uid ";
    size_t from = sender.len >= sizeof(uid) && memcmp(sender.ptr, uid, sizeof(uid) - 1) == 0
                      ? sizeof(uid) - 1
                      : 0;
    const char *blank = sender.len > 0 ? memchr(sender.ptr + from, ' ', sender.len - from) : NULL;
    buf_put_str(out, ",\"request\":");
    if (blank == NULL) {
        buf_put_str(out, "null,\"peer\":");
        if (sender.len == 0)
            buf_put_str(out, "null");
        else
            buf_put_json_string(out, sender);
        return;
    }
    size_t peer_len = (size_t)(blank - sender.ptr);
    buf_put_json_string(out, (struct slice){blank + 1, sender.len - peer_len - 1});
    buf_put_str(out, ",\"peer\":");
    buf_put_json_string(out, (struct slice){sender.ptr, peer_len});
}

static void put_entry(struct api_loop *a, const struct store_letter *l, struct buf *out)
{
    char id[STORE_LETTER_ID_CAP];
    store_letter_id_print(id, l->id);
    buf_printf(out, "{\"id\":\"%s\",\"table\":", id);
    buf_put_json_string(out, l->table);
    buf_put_str(out, ",\"error\":");
    buf_put_json_string(out, l->text);
    buf_printf(out, ",\"error_code\":%" PRId32 ",\"failed_at\":\"", l->code);
    instant_put(out, l->failed_at_ns);
    buf_put_str(out, "\",\"received_timestamp\":\"");
    instant_put(out, l->received_ns);
    buf_put_u8(out, '"');
    put_sender(l->sender, out);
    buf_put_str(out, ",\"data\":");
    put_record(a, l->record, out);
    buf_put_u8(out, '}');
}

struct listing {
    struct api_loop *a;
    uint64_t left; /* entries */
    struct store_letter_id last;
    bool any, more;
};

static bool list_entry(void *ctx, const struct store_letter *l)
{
    struct listing *s = ctx;
    struct buf *out = &s->a->text;
    if (s->left == 0 || out->len >= LIST_BYTES_MAX) {
        s->more = true;
        return false;
    }
    if (s->any)
        buf_put_u8(out, ',');
    put_entry(s->a, l, out);
    s->any = true;
    s->last = l->id;
    s->left--;
    return true;
}

void ops_dlq_list(struct api_loop *a, struct http_request *r)
{
    if (!ops_dlq_enabled(a, r))
        return;
    struct ops_ask q;
    struct store_letter_id after = {0};
    ops_ask_query(&q, a, r, "table limit after shelf");
    enum store_shelf shelf = ops_shelf(&q);
    struct listing s = {.a = a,
                        .left = ops_ask_count(&q, "limit", LIST_LIMIT_DEFAULT, 1, LIST_LIMIT_MAX)};
    if (ops_ask_text(&q, "after", &a->name) && !store_letter_id_parse(buf_slice(&a->name), &after))
        ops_ask_refuse(&q, "after must be an id, as \"next\" of the page before gives it");
    buf_reset(&a->name);
    (void)ops_ask_text(&q, "table", &a->name);
    if (!ops_ask_end(&q))
        return;
    struct err e;
    buf_reset(&a->text);
    buf_put_str(&a->text, "{\"entries\":[");
    if (store_letter_list(a->shared->store, shelf, buf_slice(&a->name), after, list_entry, &s,
                          &e) != 0) {
        http_reply_error(r, 500, slice_str(e.text), 0);
        return;
    }
    buf_put_str(&a->text, "],\"next\":");
    if (s.more) {
        char id[STORE_LETTER_ID_CAP];
        store_letter_id_print(id, s.last);
        buf_printf(&a->text, "\"%s\"}", id);
    } else {
        buf_put_str(&a->text, "null}");
    }
    api_reply_text(a, r, 200);
}

bool ops_letter_id(struct api_loop *a, struct http_request *r, struct store_letter_id *id)
{
    if (!api_param(a, r))
        return false;
    if (store_letter_id_parse(buf_slice(&a->name), id))
        return true;
    http_reply_error(r, 404, SLICE_LIT("no dead letter with this id"), 0);
    return false;
}

static void show_entry(void *ctx, const struct store_letter *l)
{
    struct api_loop *a = ctx;
    put_entry(a, l, &a->text);
}

void ops_dlq_show(struct api_loop *a, struct http_request *r)
{
    struct store_letter_id id;
    struct err e;
    if (!ops_dlq_enabled(a, r) || !ops_letter_id(a, r, &id))
        return;
    buf_reset(&a->text);
    int rc = store_letter_get(a->shared->store, STORE_DEAD, id, show_entry, a, &e);
    if (rc == WH_ENOTFOUND)
        rc = store_letter_get(a->shared->store, STORE_HELD, id, show_entry, a, &e);
    if (rc == 0)
        api_reply_text(a, r, 200);
    else if (rc == WH_ENOTFOUND)
        http_reply_error(r, 404, SLICE_LIT("no dead letter with this id"), 0);
    else
        http_reply_error(r, 500, slice_str(e.text), 0);
}
