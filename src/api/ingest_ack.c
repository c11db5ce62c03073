/* SPDX-License-Identifier: Apache-2.0 */
/* Acknowledgement levels (http-api §7.8, doc/acknowledgement.md).
 *
 *   X-Ack: committed    (or none) the answer comes when the records are committed
 *   X-Ack: clickhouse   it comes when they are in ClickHouse, with the verdict on each that became
 * a dead letter; or, when that takes longer than X-Ack-Timeout, says that they are committed
 *
 *   submit: ingest_ack_watch, a watch for each part ─► committed ─► ingest_ack_wait: listed in
 *   a->ack_first ─► ingest_on_watched, or the timer: the last watch is back ─► answered
 *
 * A request that waits no longer counts as in flight to the log, but its body's memory is bounded
 * of its own: an outage of ClickHouse makes these requests wait, and must not take the room of
 * those that want no more than the log. */
#include "api/ingest.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#define ACK_BYTES_MAX      (128 * MIB) /* bodies of waiting requests, per loop */
#define ACK_TIMEOUT_MS_MAX 600000u
#define ACK_DRAIN_MS       1000 /* how long a stopping daemon lets them wait */
#define NS_PER_MS          1000000u

/* ---- what is asked for ---- */

/* "5", "5s" or "500ms"; 0 when it is neither. */
static uint64_t timeout_ms(struct slice text)
{
    uint64_t v = 0;
    size_t i = 0;
    while (i < text.len && i < 7 && text.ptr[i] >= '0' && text.ptr[i] <= '9')
        v = v * 10 + (uint64_t)(text.ptr[i++] - '0');
    struct slice unit = {text.ptr + i, text.len - i};
    if (i == 0)
        return 0;
    if (unit.len == 0 || slice_eq_str(unit, "s"))
        v *= 1000;
    else if (!slice_eq_str(unit, "ms"))
        return 0;
    return v <= ACK_TIMEOUT_MS_MAX ? v : 0;
}

/* What the head says, kept with the request in r->mark: 0 committed is enough; MARK_DEFAULT, or the
 * time of X-Ack-Timeout in ms. NULL, or the complaint. */
#define MARK_DEFAULT UINT32_MAX
static const char *parse(struct http_request *r)
{
    struct slice level = http_field_get(r, "x-ack");
    r->mark = 0;
    if (level.ptr == NULL || (level.len == 9 && strncasecmp(level.ptr, "committed", 9) == 0))
        return NULL;
    if (level.len != 10 || strncasecmp(level.ptr, "clickhouse", 10) != 0)
        return "X-Ack must be committed or clickhouse";
    struct slice wait = http_field_get(r, "x-ack-timeout");
    r->mark = wait.ptr != NULL ? (uint32_t)timeout_ms(wait) : MARK_DEFAULT;
    return r->mark != 0 ? NULL : "X-Ack-Timeout must be a time such as 5s or 500ms, up to 600s";
}

bool ingest_ack_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r)
{
    const char *complaint = parse(r);
    if (complaint != NULL) {
        ingest_refuse(a, door, r, INGEST_REQUEST, 400, slice_str(complaint), 0);
        return false;
    }
    if (r->mark != 0 && a->ack_bytes > ACK_BYTES_MAX) {
        metric_add(a->metrics.ack_refused, 1);
        ingest_refuse(a, door, r, INGEST_BUSY, 503,
                      SLICE_LIT("too many requests wait for ClickHouse"), 5);
        return false;
    }
    return true;
}

void ingest_ack_begin(struct api_loop *a, struct ingest_op *op)
{
    uint32_t mark = op->request->mark;
    op->ack = INGEST_ACK_NONE;
    op->watching = 0;
    if (mark == 0)
        return;
    uint64_t wait_ms = mark != MARK_DEFAULT ? mark : a->config->ingest.ack_timeout_ms;
    op->ack = INGEST_ACK_CLICKHOUSE;
    op->ack_until_ns = io_monotonic_ns() + wait_ms * NS_PER_MS;
}

/* ---- which record is which in the answer ---- */

void ingest_ack_reset(struct ingest_op *op)
{
    buf_reset(&op->ack_places);
}

int ingest_ack_record(struct ingest_op *op, struct ingest_part *part)
{
    buf_put_le32(&part->ack_numbers, (uint32_t)(op->ack_places.len / sizeof(uint32_t)));
    /* The place of its entry in the answer: known when the outcome is written. */
    buf_put_le32(&op->ack_places, UINT32_MAX);
    return buf_ok(&part->ack_numbers) && buf_ok(&op->ack_places) ? 0 : -ENOMEM;
}

void ingest_ack_placed(struct ingest_op *op)
{
    if (op->outcomes.total > LIMIT_BATCH_RESULTS || op->ack_places.len < sizeof(uint32_t))
        return;
    le32_put(op->ack_places.ptr + op->ack_places.len - sizeof(uint32_t),
             (uint32_t)op->outcomes.entries.len);
}

/* ---- waiting ---- */

int ingest_ack_watch(struct api_loop *a, struct ingest_part *part)
{
    part->watch.done = &a->watched;
    int rc = flush_watch_add(flush_watches_of(a->shared->flush), &part->watch,
                             wal_batch_first_ns(&part->batch));
    part->watched = rc == 0;
    part->op->watching += rc == 0;
    if (rc == WH_EFULL)
        metric_add(a->metrics.ack_refused, 1);
    return rc;
}

void ingest_ack_forget(struct api_loop *a, struct ingest_part *part)
{
    if (!part->watched || !flush_watch_cancel(flush_watches_of(a->shared->flush), &part->watch))
        return; /* it is on its way to us */
    part->watched = false;
    part->op->watching--;
    part->op->ack = INGEST_ACK_COMMITTED;
}

static void forget_all(struct api_loop *a, struct ingest_op *op)
{
    for (struct ingest_part *part = op->parts; part != NULL; part = part->next)
        ingest_ack_forget(a, part);
}

static void list_put(struct api_loop *a, struct ingest_op *op)
{
    op->ack_prev = NULL;
    op->ack_next = a->ack_first;
    if (a->ack_first != NULL)
        a->ack_first->ack_prev = op;
    a->ack_first = op;
    op->ack_waits = true;
    a->in_flight_bytes -= op->body_bytes;
    a->ack_bytes += op->body_bytes;
    metric_add(a->metrics.ack_waiting, 1);
}

static void list_take(struct api_loop *a, struct ingest_op *op)
{
    if (op->ack_prev != NULL)
        op->ack_prev->ack_next = op->ack_next;
    else
        a->ack_first = op->ack_next;
    if (op->ack_next != NULL)
        op->ack_next->ack_prev = op->ack_prev;
    op->ack_waits = false;
    a->in_flight_bytes += op->body_bytes;
    a->ack_bytes -= op->body_bytes;
    metric_add(a->metrics.ack_waiting, -1);
}

bool ingest_ack_wait(struct api_loop *a, struct ingest_op *op)
{
    if (op->worst != 0)
        forget_all(a, op);
    if (op->watching == 0)
        return false;
    if (a->ack_draining) {
        uint64_t until = io_monotonic_ns() + ACK_DRAIN_MS * NS_PER_MS;
        op->ack_until_ns = until < op->ack_until_ns ? until : op->ack_until_ns;
    }
    list_put(a, op);
    return true;
}

static void watch_back(struct api_loop *a, struct ingest_part *part)
{
    struct ingest_op *op = part->op;
    must(part->watched && op->watching > 0);
    part->watched = false;
    op->watching--;
    if (part->watch.end != FLUSH_WATCH_FLUSHED || part->watch.out_of_memory)
        op->ack = INGEST_ACK_COMMITTED;
    if (op->watching > 0 || !op->ack_waits)
        return;
    list_take(a, op);
    ingest_answer(a, op);
}

void ingest_on_watched(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->watched)) != NULL)
        watch_back(a, QUEUE_ITEM(QUEUE_ITEM(link, struct flush_watch, link), struct ingest_part,
                                 watch));
}

void ingest_ack_timer(void *api_loop)
{
    struct api_loop *a = api_loop;
    uint64_t now = a->ack_first != NULL ? io_monotonic_ns() : 0;
    for (struct ingest_op *op = a->ack_first, *next; op != NULL; op = next) {
        next = op->ack_next;
        if (now < op->ack_until_ns)
            continue;
        forget_all(a, op);
        if (op->watching > 0)
            continue; /* just now on its way */
        list_take(a, op);
        ingest_answer(a, op);
    }
}

void ingest_ack_drain(struct api_loop *a)
{
    uint64_t until = io_monotonic_ns() + ACK_DRAIN_MS * NS_PER_MS;
    a->ack_draining = true;
    for (struct ingest_op *op = a->ack_first; op != NULL; op = op->ack_next)
        op->ack_until_ns = until < op->ack_until_ns ? until : op->ack_until_ns;
}

/* ---- the verdicts ---- */

/* A record that is a dead letter, and where its entry of the answer ends; UINT32_MAX: not listed.
 */
struct verdict {
    uint32_t place;
    struct flush_watch_dead dead;
};

static int by_place(const void *a, const void *b)
{
    const struct verdict *va = a, *vb = b;
    return (va->place > vb->place) - (va->place < vb->place);
}

static uint32_t dead_total(const struct ingest_op *op)
{
    uint32_t n = 0;
    for (const struct ingest_part *part = op->parts; part != NULL; part = part->next)
        n += part->watch.dead_count;
    return n;
}

static void verdicts_fill(const struct ingest_op *op, struct verdict *list)
{
    for (const struct ingest_part *part = op->parts; part != NULL; part = part->next) {
        struct slice at = buf_slice(&part->watch.dead);
        struct flush_watch_dead dead;
        while (flush_watch_next_dead(&at, &dead)) {
            must((dead.ordinal + 1) * sizeof(uint32_t) <= part->ack_numbers.len);
            uint32_t number = le32_get(part->ack_numbers.ptr + dead.ordinal * sizeof(uint32_t));
            *list++ =
                (struct verdict){.place = le32_get(op->ack_places.ptr + number * sizeof(uint32_t)),
                                 .dead = dead};
        }
    }
}

/* The answer's entries with those of dead letters saying so. */
static int entries_rewrite(struct ingest_op *op, uint32_t count)
{
    static const char taken[] = ",\"ok\":true}";
    struct verdict *list = calloc(count, sizeof(*list));
    struct buf out, *entries = &op->outcomes.entries;
    size_t done = 0;
    if (list == NULL)
        return -ENOMEM;
    buf_init(&out, SIZE_MAX);
    verdicts_fill(op, list);
    qsort(list, count, sizeof(*list), by_place);
    for (uint32_t i = 0; i < count && list[i].place != UINT32_MAX; i++) {
        size_t end = list[i].place, from = end - (sizeof(taken) - 1);
        must(end <= entries->len && from >= done);
        buf_put(&out, entries->ptr + done, from - done);
        buf_put_slice(&out, SLICE_LIT(",\"error\":"));
        buf_put_json_string(&out, list[i].dead.text);
        buf_printf(&out, ",\"exception_code\":%" PRId32 "}", list[i].dead.code);
        done = end;
    }
    free(list);
    buf_put(&out, entries->ptr + done, entries->len - done);
    if (!buf_ok(&out)) {
        buf_fini(&out);
        return -ENOMEM;
    }
    buf_fini(entries);
    *entries = out;
    return 0;
}

/* The only record is a dead letter: the request is refused like one that was looked at earlier. */
static bool refuse_single(struct api_loop *a, struct ingest_op *op)
{
    struct slice at = buf_slice(&op->parts->watch.dead);
    struct flush_watch_dead dead;
    if (!flush_watch_next_dead(&at, &dead))
        return false;
    struct ingest_refusal why = {.reason = INGEST_RECORD,
                                 .status = 400,
                                 .code = dead.code,
                                 .dead_letter = true,
                                 .dropped = dead.dropped,
                                 .text = dead.text};
    ingest_refuse_why(a, op->door, op->request, &why);
    return true;
}

bool ingest_ack_settle(struct api_loop *a, struct ingest_op *op)
{
    if (op->duplicate || op->outcomes.duplicates > 0)
        op->ack = INGEST_ACK_COMMITTED; /* the originals are; nobody watches them here */
    uint32_t dead = op->ack == INGEST_ACK_CLICKHOUSE ? dead_total(op) : 0;
    metric_add(op->ack == INGEST_ACK_CLICKHOUSE ? a->metrics.ack_clickhouse
                                                : a->metrics.ack_committed,
               1);
    if (dead == 0)
        return true;
    if (op->single)
        return !refuse_single(a, op);
    if (entries_rewrite(op, dead) != 0) {
        op->ack = INGEST_ACK_COMMITTED; /* true as well, and says less */
        return true;
    }
    op->outcomes.succeeded -= dead;
    op->outcomes.failed += dead;
    return true;
}
