/* SPDX-License-Identifier: Apache-2.0 */
/* Which columns the held rows of a table lack, and the ALTER TABLE that would add them. Names and
 * kinds only: no value of a record is kept. */
#include "replay/priv.h"

#include "base/log.h"
#include "base/magic.h"
#include "schema/instant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DRIFT_COLUMNS_MAX 1000 /* per table; more names than this are no schema */
#define DRIFT_SAID_MAX    50   /* of them in the log */

/* Beyond 1 << JSON kind: */
enum {
    KIND_NEGATIVE = 1 << 8,
    KIND_FRACTION = 1 << 9,    /* a number that is no integer */
    KIND_OF_STRINGS = 1 << 10, /* an array that holds a string … */
    KIND_OF_NUMBERS = 1 << 11, /* … a number */
    KIND_OF_OTHERS = 1 << 12,  /* … anything else */
    KIND_NO_TIME = 1 << 13     /* a string that is no instant */
};
#define KIND(k) (1u << (k))

/* ---- noting ---- */

static bool is_time(struct slice s)
{
    uint64_t ns;
    return s.len >= 10 && s.ptr[0] >= '0' && s.ptr[0] <= '9' && memchr(s.ptr, '-', s.len) != NULL &&
           instant_parse(s, 0, &ns);
}

static uint32_t number_kinds(const struct json_node *n)
{
    return ((n->flags & JSON_F_NEGATIVE) != 0 ? KIND_NEGATIVE : 0) |
           ((n->flags & JSON_F_INTEGER) == 0 ? KIND_FRACTION : 0);
}

static uint32_t kinds_of(const struct json_doc *doc, uint32_t at)
{
    const struct json_node *n = &doc->nodes[at];
    uint32_t kinds = KIND(n->kind);
    if (n->kind == JSON_NUMBER)
        kinds |= number_kinds(n);
    if (n->kind == JSON_STRING && !is_time(json_raw(doc, n)))
        kinds |= KIND_NO_TIME;
    if (n->kind != JSON_ARRAY)
        return kinds;
    for (uint32_t i = at + 1; i < n->next; i = doc->nodes[i].next) {
        const struct json_node *item = &doc->nodes[i];
        if (item->kind == JSON_STRING)
            kinds |= KIND_OF_STRINGS;
        else if (item->kind == JSON_NUMBER)
            kinds |= KIND_OF_NUMBERS | number_kinds(item);
        else
            kinds |= KIND_OF_OTHERS;
    }
    return kinds;
}

/* Room for one more name: among those that no held row has any more when there are too many. */
static struct replay_drift_column *column_room(struct replay_held *h)
{
    for (uint32_t i = 0; h->column_count == DRIFT_COLUMNS_MAX && i < h->column_count; i++)
        if (h->columns[i].count == 0) {
            free(h->columns[i].name);
            h->columns[i] = h->columns[--h->column_count];
        }
    if (h->column_count == DRIFT_COLUMNS_MAX)
        return NULL;
    if (h->column_count == h->column_cap) {
        uint32_t cap = h->column_cap == 0 ? 8 : h->column_cap * 2;
        struct replay_drift_column *columns = realloc(h->columns, cap * sizeof(*columns));
        if (columns == NULL)
            return NULL;
        h->columns = columns;
        h->column_cap = cap;
    }
    return &h->columns[h->column_count];
}

static struct replay_drift_column *column_of(struct replay_held *h, struct slice name)
{
    for (uint32_t i = 0; i < h->column_count; i++)
        if (slice_eq(name, (struct slice){h->columns[i].name, h->columns[i].name_len}))
            return &h->columns[i];
    struct replay_drift_column *c = column_room(h);
    char *copy = c != NULL ? malloc(name.len + 1) : NULL;
    if (copy == NULL)
        return NULL;
    if (name.len > 0)
        memcpy(copy, name.ptr, name.len);
    copy[name.len] = '\0';
    h->column_count++;
    *c = (struct replay_drift_column){.name = copy, .name_len = name.len};
    return c;
}

static void say(struct replay_held *h, const struct replay_drift_column *c)
{
    if (h->said == DRIFT_SAID_MAX)
        return;
    log_warn("ingest.drift",
             "table=%s column=%.*s: rows with this column are held until the table has it; "
             "/v1/ops/drift names the ALTER TABLE%s",
             h->table, (int)(c->name_len < 200 ? c->name_len : 200), c->name,
             ++h->said == DRIFT_SAID_MAX ? ", and further columns, which are not logged" : "");
}

static void note_column(struct replay_held *h, struct slice name, uint32_t kinds,
                        uint64_t received_ns)
{
    struct replay_drift_column *c = column_of(h, name);
    if (c == NULL)
        return;
    c->first_ns = c->count == 0 || received_ns < c->first_ns ? received_ns : c->first_ns;
    c->last_ns = c->count == 0 || received_ns > c->last_ns ? received_ns : c->last_ns;
    c->count++;
    c->kinds |= kinds;
    if (!c->said)
        say(h, c);
    c->said = true;
}

void replay_drift_note(struct replay_held *h, const struct schema_table *t,
                       const struct json_doc *doc, uint64_t received_ns)
{
    char scratch[LIMIT_NAME_BYTES * 6];
    uint32_t noted = 0;
    /* A socket loop may be waiting for the lock: a record of a million keys must not take long. */
    for (uint32_t k = 1; k < doc->nodes[0].next && noted < DRIFT_COLUMNS_MAX;
         k = doc->nodes[k + 1].next) {
        struct slice name = json_raw(doc, &doc->nodes[k]);
        if (name.len > sizeof(scratch))
            continue; /* no column has such a name */
        if ((doc->nodes[k].flags & JSON_F_ESCAPED) != 0)
            name = (struct slice){scratch, json_unescape(name, scratch)};
        const struct schema_column *col = schema_table_column(t, name);
        if (col != NULL && col->insertable)
            continue;
        noted++;
        note_column(h, name, kinds_of(doc, k + 1), received_ns);
    }
}

void replay_drift_zero(struct replay_held *h)
{
    for (uint32_t i = 0; i < h->column_count; i++) {
        h->columns[i].count = 0;
        h->columns[i].kinds = 0;
    }
}

void replay_drift_fini(struct replay_held *h)
{
    for (uint32_t i = 0; i < h->column_count; i++)
        free(h->columns[i].name);
    free(h->columns);
}

/* ---- suggesting ---- */

static const char *number_type(uint32_t kinds)
{
    return (kinds & KIND_FRACTION) != 0   ? "Float64"
           : (kinds & KIND_NEGATIVE) != 0 ? "Int64"
                                          : "UInt64";
}

/* A type that stores what was seen, and lets records without the column in: Nullable, or with a
 * DEFAULT where ClickHouse has no Nullable. */
static void put_type(struct buf *out, uint32_t kinds)
{
    const uint32_t bools = KIND(JSON_TRUE) | KIND(JSON_FALSE);
    uint32_t seen = kinds & (bools | KIND(JSON_NUMBER) | KIND(JSON_STRING) | KIND(JSON_ARRAY) |
                             KIND(JSON_OBJECT));
    if ((seen & KIND(JSON_OBJECT)) != 0 ||
        ((seen & KIND(JSON_ARRAY)) != 0 && (kinds & KIND_OF_OTHERS) != 0)) {
        buf_put_str(out, "JSON DEFAULT '{}'");
    } else if (seen == KIND(JSON_ARRAY)) {
        bool numbers = (kinds & KIND_OF_NUMBERS) != 0 && (kinds & KIND_OF_STRINGS) == 0;
        buf_printf(out, "Array(%s) DEFAULT []", numbers ? number_type(kinds) : "String");
    } else if (seen == KIND(JSON_NUMBER)) {
        buf_printf(out, "Nullable(%s)", number_type(kinds));
    } else if (seen != 0 && (seen & ~bools) == 0) {
        buf_put_str(out, "Nullable(Bool)");
    } else if (seen == KIND(JSON_STRING) && (kinds & KIND_NO_TIME) == 0) {
        buf_put_str(out, "Nullable(DateTime64(9, 'UTC'))");
    } else {
        buf_put_str(out, "Nullable(String)");
    }
}

static void put_time(struct buf *out, const char *key, uint64_t ns)
{
    buf_printf(out, ",\"%s\":\"", key);
    instant_put(out, ns);
    buf_put_u8(out, '"');
}

static void put_kinds(struct buf *out, uint32_t kinds)
{
    static const uint8_t order[] = {JSON_NULL,   JSON_TRUE,  JSON_NUMBER,
                                    JSON_STRING, JSON_ARRAY, JSON_OBJECT};
    const char *comma = "";
    if ((kinds & KIND(JSON_FALSE)) != 0)
        kinds |= KIND(JSON_TRUE);
    buf_put_str(out, ",\"kinds\":[");
    for (size_t i = 0; i < sizeof(order); i++)
        if ((kinds & KIND(order[i])) != 0) {
            buf_printf(out, "%s\"%s\"", comma, json_kind_name(order[i]));
            comma = ",";
        }
    buf_put_u8(out, ']');
}

static void put_column(struct buf *out, const struct replay_drift_column *c)
{
    struct buf type;
    buf_init(&type, SIZE_MAX);
    put_type(&type, c->kinds);
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, (struct slice){c->name, c->name_len});
    buf_printf(out, ",\"count\":%" PRIu64, c->count);
    put_time(out, "first_seen", c->first_ns);
    put_time(out, "last_seen", c->last_ns);
    put_kinds(out, c->kinds);
    buf_put_str(out, ",\"suggested_type\":");
    buf_put_json_string(out, buf_slice(&type));
    buf_put_u8(out, '}');
    buf_fini(&type);
}

static void put_columns(struct buf *out, const struct replay_held *h)
{
    const char *comma = "";
    struct buf alter;
    buf_init(&alter, SIZE_MAX);
    buf_put_str(&alter, "ALTER TABLE ");
    schema_put_quoted(&alter, (struct slice){h->table, h->table_len}, '`');
    buf_put_str(out, ",\"columns\":[");
    for (uint32_t i = 0; i < h->column_count; i++) {
        const struct replay_drift_column *c = &h->columns[i];
        if (c->count == 0)
            continue;
        buf_put_str(out, comma);
        put_column(out, c);
        buf_printf(&alter, "%s ADD COLUMN IF NOT EXISTS ", comma);
        schema_put_quoted(&alter, (struct slice){c->name, c->name_len}, '`');
        buf_put_u8(&alter, ' ');
        put_type(&alter, c->kinds);
        comma = ",";
    }
    buf_put_u8(out, ']');
    if (comma[0] != '\0') {
        buf_put_str(out, ",\"alter\":");
        buf_put_json_string(out, buf_slice(&alter));
    }
    buf_fini(&alter);
}

/* ---- as JSON ---- */

struct drift_json {
    struct replay *r;
    struct buf *out;
    struct slice only;
    uint64_t total;
    bool first, scanned;
};

static bool put_oldest(void *ctx, const struct store_letter *l)
{
    put_time(ctx, "oldest", l->received_ns);
    return false;
}

static void put_table(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct drift_json *d = ctx;
    static const struct store_letter_id zero;
    struct err e = {0};
    const struct replay_held *h = d->r->held;
    if (d->only.len > 0 && !slice_eq(table, d->only))
        return;
    while (h != NULL && !slice_eq(table, (struct slice){h->table, h->table_len}))
        h = h->next;
    buf_put_str(d->out, d->first ? "{\"table\":" : ",{\"table\":");
    buf_put_json_string(d->out, table);
    buf_printf(d->out, ",\"held\":%" PRIu64 ",\"bytes\":%" PRIu64, records, bytes);
    (void)!store_letter_list(d->r->options.store, STORE_HELD, table, zero, put_oldest, d->out, &e);
    if (h != NULL)
        put_columns(d->out, h);
    else
        buf_put_str(d->out, ",\"columns\":[]");
    buf_put_u8(d->out, '}');
    d->first = false;
    d->scanned = d->scanned && h != NULL && h->scanned;
    d->total += records;
}

int replay_drift_json(struct replay *r, struct slice table, struct buf *out)
{
    struct drift_json d = {.r = r, .out = out, .only = table, .first = true, .scanned = true};
    struct err e = {0};
    buf_put_str(out, "{\"tables\":[");
    (void)pthread_mutex_lock(&r->lock);
    int rc = store_letter_counts(r->options.store, STORE_HELD, put_table, &d, &e);
    (void)pthread_mutex_unlock(&r->lock);
    buf_printf(out, "],\"total\":%" PRIu64 ",\"scanned\":%s}", d.total,
               d.scanned ? "true" : "false");
    return rc != 0 ? rc : buf_ok(out) ? 0 : -ENOMEM;
}
