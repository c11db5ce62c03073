/* SPDX-License-Identifier: Apache-2.0 */
/* Repeated records (http-api §7.5, doc/dedupe.md).
 *
 * A record's identity is the value of its id field, when dedup is on for the table and the record
 * has one; else its place in the request, when the request has an Idempotency-Key; else it has none
 * and is stored each time. The record's own id comes first, for it also meets a repeat in another
 * request.
 *
 * An id is reserved while the request is collected, and settled when the log has decided about its
 * part. A request that meets an id whose fate is open gives back all of its own and waits: two that
 * hold each other's ids would otherwise wait for ever. When the fate is known it is collected anew.
 */
#include "api/ingest.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_NS        (UINT64_C(10) * 1000000000)
#define WAIT_CHECK_MS  1000
#define IN_FLIGHT_S    30 /* Retry-After, http-api §17 */
#define UNAVAILABLE_S  5
#define SET_KEEP_BYTES (64 * KIB)
#define TABLES         64

/* Counters of one table, made when it first has something to count. */
struct dedupe_counters {
    struct dedupe_counters *next;
    struct metric *hits, *missing;
    size_t name_len;
    char name[];
};

struct ingest_dedupe_loop {
    struct queue fates;        /* dedupe_waits whose ids were settled */
    struct ingest_op *waiting; /* all that wait */
    struct dedupe_set own;     /* ids of the short request at hand, once it is needed */
    struct buf text;           /* an id without its escapes */
    struct metric *waits;
    struct dedupe_counters *counters[TABLES]; /* by checksum of the name */
};

/* ---- counting ---- */

static struct dedupe_counters *counters_of(struct ingest_dedupe_loop *l, struct slice table)
{
    struct dedupe_counters **at = &l->counters[crc32c(0, table.ptr, table.len) % TABLES];
    while (*at != NULL && !slice_eq((struct slice){(*at)->name, (*at)->name_len}, table))
        at = &(*at)->next;
    if (*at != NULL)
        return *at;
    struct dedupe_counters *c = calloc(1, sizeof(*c) + table.len);
    struct buf label;
    buf_init(&label, SIZE_MAX);
    metric_label_escape(&label, table);
    buf_put_u8(&label, 0);
    if (c == NULL || !buf_ok(&label)) {
        free(c);
        buf_fini(&label);
        return NULL;
    }
    c->name_len = table.len;
    memcpy(c->name, table.ptr, table.len);
    c->hits = metric_new(METRIC_COUNTER, "wavehouse_dedupe_hits_total",
                         "Records answered as duplicates.", "table=\"%s\"", label.ptr);
    c->missing =
        metric_new(METRIC_COUNTER, "wavehouse_ingest_dedupe_missing_id_total",
                   "Records without the id that dedup looks for.", "table=\"%s\"", label.ptr);
    buf_fini(&label);
    return *at = c;
}

void ingest_dedupe_count(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_dedupe *d = &op->dedupe;
    if (d->hits + d->missing == 0)
        return;
    struct dedupe_counters *c = counters_of(a->dedupe, d->table);
    if (c != NULL) {
        metric_add(c->hits, (int64_t)d->hits);
        metric_add(c->missing, (int64_t)d->missing);
    }
    d->hits = d->missing = 0;
}

/* ---- a request ---- */

static bool refuse_key(struct api_loop *a, struct ingest_op *op, const char *text)
{
    ingest_refuse(a, op->door, op->request, INGEST_REQUEST, 400, slice_str(text), 0);
    return false;
}

static bool refuse_unavailable(struct api_loop *a, struct ingest_op *op)
{
    ingest_refuse(a, op->door, op->request, INGEST_BUSY, 503, SLICE_LIT("dedupe store unavailable"),
                  UNAVAILABLE_S);
    return false;
}

bool ingest_dedupe_begin(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask)
{
    const struct config_dedupe *settings = &op->settings->dedupe;
    struct ingest_dedupe *d = &op->dedupe;
    d->key = ask->key.ptr != NULL ? ask->key : http_field_get(op->request, "idempotency-key");
    d->by_field = settings->enabled;
    d->active = d->by_field || d->key.ptr != NULL;
    if (!d->active)
        return true;
    d->field = slice_str(settings->id_field);
    d->require = d->by_field && settings->require_id;
    d->table = ask->table->name;
    if (d->key.ptr != NULL && d->key.len == 0)
        return refuse_key(a, op, "Idempotency-Key is empty");
    if (d->key.len > LIMIT_IDEMPOTENCY_KEY_BYTES)
        return refuse_key(a, op, "Idempotency-Key is longer than 1024 bytes");
    d->dedupe = a->shared->dedupe;
    if (d->dedupe == NULL || (!ask->dry_run && !dedupe_ready(d->dedupe)))
        return refuse_unavailable(a, op);
    return true;
}

void ingest_dedupe_settle(struct ingest_part *part, bool committed)
{
    struct ingest_dedupe *d = &part->op->dedupe;
    if (!part->reserved)
        return;
    part->reserved = false;
    dedupe_settle(d->dedupe, part->batch.ids.ptr, (uint32_t)(part->batch.ids.len / DEDUPE_ID_BYTES),
                  committed, committed ? part->proposal.index : 0);
}

void ingest_dedupe_reset(struct ingest_op *op)
{
    for (struct ingest_part *part = op->parts; part != NULL; part = part->next)
        ingest_dedupe_settle(part, false);
    op->dedupe.ordinal = 0;
    op->dedupe.hits = op->dedupe.missing = 0;
    op->dedupe.own_known = op->dedupe.no_room = false;
}

/* ---- a record ---- */

/* The value of the id field as text; len 0: there is none. The last of several counts, as it does
 * for a column. */
static struct slice id_text(struct api_loop *a, const struct json_doc *doc, struct slice field)
{
    const struct json_node *nodes = doc->nodes, *found = NULL;
    struct buf *text = &a->dedupe->text;
    for (uint32_t i = 1; nodes[0].kind == JSON_OBJECT && i < nodes[0].next; i = nodes[i + 1].next) {
        struct slice key = json_raw(doc, &nodes[i]);
        if ((nodes[i].flags & JSON_F_ESCAPED) != 0 && key.len > field.len) {
            buf_reset(text);
            if (buf_reserve(text, key.len) != 0)
                continue;
            key = (struct slice){text->ptr, json_unescape(key, text->ptr)};
        }
        if (slice_eq(key, field))
            found = &nodes[i + 1];
    }
    if (found == NULL || found->kind == JSON_NULL)
        return (struct slice){"", 0};
    struct slice raw = json_raw(doc, found);
    if ((found->flags & JSON_F_ESCAPED) == 0)
        return raw;
    buf_reset(text);
    if (buf_reserve(text, raw.len) != 0)
        return raw; /* still the same for the same record */
    return (struct slice){text->ptr, json_unescape(raw, text->ptr)};
}

bool ingest_dedupe_identify(struct api_loop *a, struct ingest_op *op, const struct json_doc *doc)
{
    struct ingest_dedupe *d = &op->dedupe;
    const struct dedupe_key *secret = dedupe_key(d->dedupe);
    uint64_t ordinal = d->ordinal++;
    struct slice text = d->by_field ? id_text(a, doc, d->field) : SLICE_LIT("");
    d->has_id = text.len > 0 || d->key.len > 0;
    if (text.len > 0)
        dedupe_id_of_text(secret, d->table, text, &d->id);
    else if (d->key.len > 0)
        dedupe_id_of_request(secret, d->table, d->key, ordinal, &d->id);
    if (d->has_id)
        dedupe_prefetch(d->dedupe, &d->id);
    bool missing = d->by_field && text.len == 0;
    d->missing += missing;
    return !missing || !d->require;
}

void ingest_dedupe_missing(struct ingest_op *op)
{
    op->result.status = 400;
    op->result.rule = RECORD_NO_ID;
    (void)snprintf(op->result.message, sizeof(op->result.message),
                   "missing dedupe id field \"%.*s\"", SLICE_ARG(op->dedupe.field));
}

/* The ids that this request has reserved, once they are needed. */
static struct dedupe_set *own_ids(struct api_loop *a, struct ingest_op *op)
{
    return op->desk != NULL ? ingest_desk_ids(op->desk) : &a->dedupe->own;
}

/* Whether the id at hand is one that this request has reserved itself. */
static int is_own(struct api_loop *a, struct ingest_op *op)
{
    struct dedupe_set *own = own_ids(a, op);
    if (!op->dedupe.own_known) {
        dedupe_set_reset(own, SET_KEEP_BYTES);
        for (struct ingest_part *part = op->parts; part != NULL; part = part->next) {
            const uint8_t *ids = (const uint8_t *)part->batch.ids.ptr;
            for (size_t at = 0; at < part->batch.ids.len; at += DEDUPE_ID_BYTES)
                if (!dedupe_id_is_none(ids + at) && dedupe_set_add(own, ids + at) != 0)
                    return -ENOMEM;
        }
        op->dedupe.own_known = true;
    }
    return dedupe_set_has(own, op->dedupe.id.bytes);
}

int ingest_dedupe_reserve(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_dedupe *d = &op->dedupe;
    int rc;
    switch (dedupe_reserve(d->dedupe, &d->id)) {
    case DEDUPE_NEW:
        if (!d->own_known || dedupe_set_add(own_ids(a, op), d->id.bytes) == 0)
            return 0;
        dedupe_settle(d->dedupe, d->id.bytes, 1, false, 0);
        return -ENOMEM;
    case DEDUPE_KNOWN:
        d->hits++;
        return 1;
    case DEDUPE_PENDING:
        rc = is_own(a, op);
        if (rc != 0) {
            d->hits += rc > 0;
            return rc;
        }
        return WH_EAGAIN;
    case DEDUPE_NO_ROOM:
        d->no_room = true;
        break;
    }
    return -ENOMEM;
}

int ingest_dedupe_look_up(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_dedupe *d = &op->dedupe;
    int own = is_own(a, op);
    if (own != 0)
        return own;
    if (dedupe_ready(d->dedupe) && dedupe_known(d->dedupe, &d->id))
        return 1;
    return dedupe_set_add(own_ids(a, op), d->id.bytes);
}

int ingest_dedupe_keep(struct ingest_op *op, struct ingest_part *part, int rc)
{
    struct ingest_dedupe *d = &op->dedupe;
    if (rc == 0)
        rc = wal_batch_id(&part->batch, d->id.bytes);
    if (rc != 0)
        dedupe_settle(d->dedupe, d->id.bytes, 1, false, 0);
    else
        part->reserved = true;
    return rc;
}

/* ---- waiting ---- */

static void list_add(struct ingest_dedupe_loop *l, struct ingest_op *op)
{
    op->dedupe.waiting_next = l->waiting;
    op->dedupe.waiting_at = &l->waiting;
    if (l->waiting != NULL)
        l->waiting->dedupe.waiting_at = &op->dedupe.waiting_next;
    l->waiting = op;
}

static void list_remove(struct ingest_op *op)
{
    struct ingest_dedupe *d = &op->dedupe;
    *d->waiting_at = d->waiting_next;
    if (d->waiting_next != NULL)
        d->waiting_next->dedupe.waiting_at = d->waiting_at;
}

static void refuse_in_flight(struct api_loop *a, struct ingest_op *op)
{
    ingest_refuse(a, op->door, op->request, INGEST_BUSY, 503,
                  SLICE_LIT("a request with the same dedupe id is in flight"), IN_FLIGHT_S);
}

enum ingest_wait ingest_dedupe_wait(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_dedupe *d = &op->dedupe;
    struct dedupe_id id = d->id;
    uint64_t now = io_monotonic_ns();
    ingest_op_reset(op); /* gives back what it holds */
    if (d->until_ns == 0) {
        d->until_ns = now + WAIT_NS;
        metric_add(a->dedupe->waits, 1);
    } else if (now > d->until_ns) {
        refuse_in_flight(a, op);
        return INGEST_WAIT_REFUSED;
    }
    d->wait = (struct dedupe_wait){.to = &a->dedupe->fates, .id = id};
    if (!dedupe_wait(d->dedupe, &d->wait))
        return INGEST_WAIT_OVER;
    list_add(a->dedupe, op);
    return INGEST_WAITING;
}

static void on_fates(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->dedupe->fates)) != NULL) {
        struct dedupe_wait *w = QUEUE_ITEM(link, struct dedupe_wait, link);
        struct ingest_dedupe *d = QUEUE_ITEM(w, struct ingest_dedupe, wait);
        struct ingest_op *op = QUEUE_ITEM(d, struct ingest_op, dedupe);
        list_remove(op);
        ingest_again(a, op);
    }
}

/* No fate within the time: the client may try later. */
static void on_timer(void *api_loop)
{
    struct api_loop *a = api_loop;
    uint64_t now = io_monotonic_ns();
    struct ingest_op *next = a->dedupe->waiting;
    while (next != NULL) {
        struct ingest_op *op = next;
        next = op->dedupe.waiting_next;
        if (now <= op->dedupe.until_ns || !dedupe_unwait(op->dedupe.dedupe, &op->dedupe.wait))
            continue;
        list_remove(op);
        refuse_in_flight(a, op);
        ingest_op_release(a, op);
    }
}

int ingest_dedupe_loop_new(struct api_loop *a)
{
    struct ingest_dedupe_loop *l = a->dedupe = calloc(1, sizeof(*l));
    if (l == NULL)
        return -ENOMEM;
    l->waits = metric_new(METRIC_COUNTER, "wavehouse_dedupe_waits_total",
                          "Requests that waited for the fate of an id in flight.", NULL);
    buf_init(&l->text, SIZE_MAX);
    int rc = queue_init(&l->fates, SIZE_MAX);
    if (rc != 0) {
        free(l);
        a->dedupe = NULL;
        return rc;
    }
    rc = loop_watch_queue(a->loop, &l->fates, on_fates, a);
    return rc == 0 ? loop_every(a->loop, WAIT_CHECK_MS, on_timer, a) : rc;
}

void ingest_dedupe_loop_free(struct api_loop *a)
{
    struct ingest_dedupe_loop *l = a->dedupe;
    if (l == NULL)
        return;
    while (l->waiting != NULL) {
        struct ingest_op *op = l->waiting;
        /* Not there any more: it is in the queue, which ends with us. */
        (void)dedupe_unwait(op->dedupe.dedupe, &op->dedupe.wait);
        list_remove(op);
        refuse_in_flight(a, op);
        ingest_op_release(a, op);
    }
    for (size_t i = 0; i < TABLES; i++) {
        while (l->counters[i] != NULL) {
            struct dedupe_counters *c = l->counters[i];
            l->counters[i] = c->next;
            free(c);
        }
    }
    dedupe_set_fini(&l->own);
    buf_fini(&l->text);
    queue_fini(&l->fates);
    free(l);
    a->dedupe = NULL;
}
