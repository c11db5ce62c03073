/* SPDX-License-Identifier: Apache-2.0 */
/* Requests with long bodies take turns, so that a socket loop never reads one for longer than a
 * slice, and no table keeps it from the others:
 *
 *   ready    table A ─► request, request, request     one slice of its first request, then A goes
 *      │     table B ─► request                       behind B: a turn of the loop. What the
 * sockets ▼     …                                        have meanwhile is served between two turns
 *   desks    what a request has at hand while it is read: readers, columns, rules. DESKS_MAX tables
 *            have one each; others wait for one
 *   gate     requests that are read wait for the log to take long entries (cluster/pause.h), and
 *            are proposed many at a time: while short ones come, one lot of a loop is there
 *   log      a table with LOG_BYTES_MAX at the gate and the log thread waits, before its next
 *            request is begun, until they are back: who comes behind it waits for no more
 *
 * A request's connection is held meanwhile, so its requests take effect in the order sent, and a
 * table's backlog stays with its senders: there is at most one request of each connection here.
 *
 * Between two slices nothing of the loop's snapshots is kept: when settings or schema have changed,
 * the request is read from its beginning. */
#include "api/door_clickhouse.h"
#include "api/ingest.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/magic.h"
#include "cluster/pause.h"
#include "io/clock.h"

#include <errno.h>
#include <stdlib.h>

/* A slice: as long as a few single events take, and far longer than a turn of the loop costs. */
#define SLICE_WORK     (64 * KIB)
#define DESKS_MAX      16
#define DESKS_KEPT     2                          /* idle ones */
#define DESK_IDLE_NS   (UINT64_C(5) * 1000000000) /* and for how long */
#define LOG_BYTES_MAX  (2 * MIB)
#define GATE_NS_MAX    (3 * PAUSE_NS_MAX) /* pauses one after the other that a request waits for */
#define CHAINS         64                 /* hash chains of tables that have something here */
#define IDS_KEEP_BYTES (64 * KIB)

struct ingest_desk {
    struct ingest_desk *next; /* idle */
    uint64_t idle_since_ns;
    /* The loop's own are exchanged for these during a slice. */
    struct ingest_readers *readers;
    struct ingest_access_loop *access;
    struct door_clickhouse *clickhouse;
    struct dedupe_set ids;
    struct ingest_ask ask;
    bool asked, begun; /* ask is filled; op->source is open */
    uint64_t config_version, catalog_version;
};

struct list {
    struct ingest_turn_table *first, **end;
};

struct ingest_turn_table {
    struct ingest_turn_table *chain_next, *list_next;
    struct list *in; /* NULL: it waits for the log, or has no requests */
    struct ingest_op *first, *last;
    uint64_t key;
    uint64_t log_bytes; /* bodies of its requests at the gate and at the log thread */
};

struct ingest_turns {
    struct list ready, deskless;
    struct ingest_turn_table *chains[CHAINS], *spare;
    struct ingest_desk *idle;                 /* most recently used first */
    uint32_t begun;                           /* desks in use */
    struct ingest_op *gate_first, **gate_end; /* read, each on its desk */
    uint64_t gate_since_ns;                   /* monotonic; somebody has waited there since then */
    uint32_t at_log;                          /* requests at the log thread */
    struct wal_batch_builder scratch;
    struct metric *slices, *waiting, *gated;
};

/* ---- tables ---- */

static void list_init(struct list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_put(struct list *l, struct ingest_turn_table *t)
{
    must(t->in == NULL);
    t->in = l;
    t->list_next = NULL;
    *l->end = t;
    l->end = &t->list_next;
}

static struct ingest_turn_table *list_take(struct list *l)
{
    struct ingest_turn_table *t = l->first;
    l->first = t->list_next;
    if (l->first == NULL)
        l->end = &l->first;
    t->in = NULL;
    return t;
}

static void list_drop(struct ingest_turn_table *t)
{
    struct list *l = t->in;
    struct ingest_turn_table **at = &l->first;
    while (*at != t)
        at = &(*at)->list_next;
    *at = t->list_next;
    if (*at == NULL)
        l->end = at;
    t->in = NULL;
}

uint64_t ingest_turn_key(struct slice table)
{
    /* Two tables with one checksum would share their turns: no harm. */
    return (uint64_t)crc32c(0, table.ptr, table.len) << 32 | (uint32_t)table.len;
}

static struct ingest_turn_table **chain_of(struct ingest_turns *s, uint64_t key)
{
    return &s->chains[(key >> 32) % CHAINS];
}

/* NULL: out of memory. */
static struct ingest_turn_table *table_of(struct ingest_turns *s, uint64_t key)
{
    struct ingest_turn_table **chain = chain_of(s, key), *t = *chain;
    while (t != NULL && t->key != key)
        t = t->chain_next;
    if (t != NULL)
        return t;
    if ((t = s->spare) != NULL)
        s->spare = t->list_next;
    else if ((t = malloc(sizeof(*t))) == NULL)
        return NULL;
    *t = (struct ingest_turn_table){.chain_next = *chain, .key = key};
    return *chain = t;
}

/* After each change of t: into the list where it belongs, or away. */
static void table_settle(struct api_loop *a, struct ingest_turn_table *t)
{
    struct ingest_turns *s = a->turns;
    if (t->in != NULL)
        return;
    if (t->first != NULL && (t->first->desk != NULL || t->log_bytes < LOG_BYTES_MAX)) {
        list_put(&s->ready, t);
        if (s->ready.first == t)
            loop_next_turn(a->loop);
    } else if (t->first == NULL && t->log_bytes == 0) {
        struct ingest_turn_table **at = chain_of(s, t->key);
        while (*at != t)
            at = &(*at)->chain_next;
        *at = t->chain_next;
        t->list_next = s->spare;
        s->spare = t;
    }
}

/* The table's first request leaves. */
static void pop(struct ingest_turns *s, struct ingest_turn_table *t)
{
    struct ingest_op *op = t->first;
    t->first = op->turn_next;
    op->turns = NULL;
    metric_add(s->waiting, -1);
}

/* op is the table's first, with its desk, and is read anew. */
static void push_front(struct ingest_turns *s, struct ingest_turn_table *t, struct ingest_op *op)
{
    op->desk->begun = false;
    op->turns = t;
    op->turn_next = t->first;
    if (t->first == NULL)
        t->last = op;
    t->first = op;
    metric_add(s->waiting, 1);
    if (t->in == &s->deskless) /* it has one now, and nobody else might give one back */
        list_drop(t);
}

/* ---- desks ---- */

static void desk_free(struct api_loop *a, struct ingest_desk *d);

static void exchange(struct api_loop *a, struct ingest_desk *d)
{
    struct ingest_readers *readers = a->readers;
    struct ingest_access_loop *access = a->access;
    struct door_clickhouse *clickhouse = a->clickhouse;
    a->readers = d->readers;
    a->access = d->access;
    a->clickhouse = d->clickhouse;
    d->readers = readers;
    d->access = access;
    d->clickhouse = clickhouse;
}

static struct ingest_desk *desk_new(struct api_loop *a)
{
    struct ingest_desk *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return NULL;
    exchange(a, d);
    a->readers = ingest_readers_new();
    bool fine = a->readers != NULL && ingest_access_loop_new(a) == 0;
    exchange(a, d);
    if (fine)
        return d;
    desk_free(a, d);
    return NULL;
}

static void desk_free(struct api_loop *a, struct ingest_desk *d)
{
    exchange(a, d);
    ingest_readers_free(a->readers);
    ingest_access_loop_free(a);
    door_clickhouse_free(a);
    a->readers = NULL;
    exchange(a, d);
    dedupe_set_fini(&d->ids);
    free(d);
}

/* NULL: out of memory. */
static struct ingest_desk *desk_take(struct api_loop *a)
{
    struct ingest_turns *s = a->turns;
    struct ingest_desk *d = s->idle;
    if (d != NULL)
        s->idle = d->next;
    else if ((d = desk_new(a)) == NULL)
        return NULL;
    d->asked = d->begun = false;
    s->begun++;
    return d;
}

static void desk_forget(struct ingest_desk *d)
{
    if (d->asked)
        ingest_access_fini(&d->ask.access);
    d->asked = d->begun = false;
}

/* op is done with its desk; a table that waits for one is ready. */
static void desk_back(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_turns *s = a->turns;
    struct ingest_desk *d = op->desk;
    op->desk = NULL;
    op->source = NULL;
    desk_forget(d);
    dedupe_set_reset(&d->ids, IDS_KEEP_BYTES);
    d->idle_since_ns = io_monotonic_ns();
    d->next = s->idle;
    s->idle = d;
    s->begun--;
    if (s->deskless.first != NULL)
        table_settle(a, list_take(&s->deskless));
}

struct dedupe_set *ingest_desk_ids(struct ingest_desk *desk)
{
    return &desk->ids;
}

struct wal_batch_builder *ingest_turns_scratch(struct api_loop *a)
{
    return &a->turns->scratch;
}

/* ---- a turn ---- */

static bool is_stale(const struct api_loop *a, const struct ingest_desk *d)
{
    return d->asked &&
           (d->config_version != a->config_version || d->catalog_version != a->catalog_version);
}

/* From the beginning of the body. */
static enum ingest_collected begin(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_desk *d = op->desk;
    ingest_op_reset(op); /* gives back the ids of an earlier beginning */
    desk_forget(d);
    d->asked = true;
    bool fine = ingest_ask_again(a, op, &d->ask);
    d->config_version = a->config_version;
    d->catalog_version = a->catalog_version;
    d->begun = fine && (d->ask.dry_run || op->charged || ingest_limit_owed(a, op, &d->ask)) &&
               ingest_collect_begin(a, op, &d->ask, io_realtime_ns());
    return d->begun ? INGEST_MORE : INGEST_ANSWERED;
}

/* A slice of op, on its desk. */
static enum ingest_collected slice(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_desk *d = op->desk;
    enum ingest_collected how = INGEST_MORE;
    api_refresh(a);
    if (!d->begun || is_stale(a, d))
        how = begin(a, op);
    if (how == INGEST_MORE)
        how = ingest_collect(a, op, &d->ask, SLICE_WORK);
    return how;
}

/* op was read, on its desk. */
static enum ingest_collected submit(struct api_loop *a, struct ingest_op *op,
                                    enum ingest_collected how)
{
    struct ingest_desk *d = op->desk;
    how = ingest_submit(a, op, &d->ask, how);
    if (how == INGEST_MUST_WAIT) { /* no longer: the next slice begins again */
        d->begun = false;
        how = INGEST_MORE;
    }
    return how;
}

/* ---- the gate ---- */

/* *wait_ns, when it is closed: until when to ask again; 0: when the last request is back. */
static bool gate_is_open(struct api_loop *a, uint64_t *wait_ns)
{
    const struct ingest_turns *s = a->turns;
    bool shared;
    *wait_ns = commit_long_wait(a->shared->log, &shared);
    if (shared && s->at_log > 0) {
        *wait_ns = 0;
        return false;
    }
    /* The pauses of the other loops' lots must not keep this loop's out for ever. */
    bool long_enough = s->gate_first != NULL && io_monotonic_ns() - s->gate_since_ns >= GATE_NS_MAX;
    return *wait_ns == 0 || long_enough;
}

/* op has been read and has left its table's queue. */
static void gate_put(struct ingest_turns *s, struct ingest_turn_table *t, struct ingest_op *op)
{
    op->turns = t;
    op->turn_next = NULL;
    t->log_bytes += op->body_bytes;
    if (s->gate_first == NULL)
        s->gate_since_ns = io_monotonic_ns();
    *s->gate_end = op;
    s->gate_end = &op->turn_next;
    metric_add(s->waiting, 1);
    metric_add(s->gated, 1);
}

static struct ingest_op *gate_take(struct ingest_turns *s)
{
    struct ingest_op *op = s->gate_first;
    s->gate_first = op->turn_next;
    if (s->gate_first == NULL)
        s->gate_end = &s->gate_first;
    must(op->turns->log_bytes >= op->body_bytes);
    op->turns->log_bytes -= op->body_bytes;
    op->turns = NULL;
    metric_add(s->waiting, -1);
    return op;
}

/* op has left its table's queue, and is answered, or at the log thread, or waits for another's id.
 */
static void settle_op(struct api_loop *a, struct ingest_turn_table *t, struct ingest_op *op,
                      enum ingest_collected how)
{
    if (op->outstanding > 0) {
        op->turns = t;
        t->log_bytes += op->body_bytes;
        a->turns->at_log++;
        http_request_release(op->request);
    }
    desk_back(a, op);
    if (how != INGEST_WAITS)
        ingest_read(a, op, how);
}

/* One slice of the table's first request. */
static void turn(struct api_loop *a, struct ingest_turn_table *t)
{
    struct ingest_turns *s = a->turns;
    struct ingest_op *op = t->first;
    if (op->desk == NULL && s->begun == DESKS_MAX) {
        list_put(&s->deskless, t);
        return;
    }
    if (op->desk == NULL && (op->desk = desk_take(a)) == NULL) {
        pop(s, t);
        ingest_refuse_busy(a, op->door, op->request);
        ingest_op_release(a, op);
        return;
    }
    struct ingest_desk *d = op->desk;
    uint64_t wait_ns;
    metric_add(s->slices, 1);
    exchange(a, d);
    enum ingest_collected how = slice(a, op);
    /* Not past those who wait there: gate_pass comes next, and takes all of them as one lot. */
    bool gated = how == INGEST_COLLECTED && !d->ask.dry_run &&
                 (s->gate_first != NULL || !gate_is_open(a, &wait_ns));
    if (how != INGEST_MORE && !gated)
        how = submit(a, op, how);
    exchange(a, d);
    if (how == INGEST_MORE)
        return;
    pop(s, t);
    if (gated)
        gate_put(s, t, op);
    else
        settle_op(a, t, op, how);
}

/* One that has been read is proposed; or read again, if settings or schema have changed. */
static void pass(struct api_loop *a, struct ingest_turn_table *t, struct ingest_op *op)
{
    struct ingest_desk *d = op->desk;
    enum ingest_collected how = INGEST_MORE;
    exchange(a, d);
    api_refresh(a);
    if (!is_stale(a, d))
        how = submit(a, op, INGEST_COLLECTED);
    exchange(a, d);
    if (how == INGEST_MORE)
        push_front(a->turns, t, op);
    else
        settle_op(a, t, op, how);
    table_settle(a, t);
}

/* All that waits there, in the order in which it was read: one lot. */
static void gate_pass(struct api_loop *a)
{
    struct ingest_turns *s = a->turns;
    uint64_t wait_ns;
    if (s->gate_first == NULL)
        return;
    if (!gate_is_open(a, &wait_ns)) {
        if (wait_ns > 0)
            loop_later_turn(a->loop, wait_ns);
        return;
    }
    for (uint32_t lot = DESKS_MAX; lot > 0 && s->gate_first != NULL; lot--) {
        struct ingest_turn_table *t = s->gate_first->turns;
        pass(a, t, gate_take(s));
    }
    s->gate_since_ns = io_monotonic_ns();
}

static void on_turn(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct ingest_turns *s = a->turns;
    /* The end of a turn, where it is done otherwise, does not come while there is work. */
    if (a->quiet_count > 0)
        ingest_kick(a);
    if (s->ready.first != NULL) {
        struct ingest_turn_table *t = list_take(&s->ready);
        turn(a, t);
        table_settle(a, t);
    }
    gate_pass(a);
    if (a->quiet_count > 0)
        ingest_kick(a);
    if (s->ready.first != NULL)
        loop_next_turn(a->loop);
}

void ingest_turns_put(struct api_loop *a, struct ingest_op *op, uint64_t key)
{
    struct ingest_turns *s = a->turns;
    struct ingest_turn_table *t = table_of(s, key);
    if (t == NULL) {
        ingest_refuse_busy(a, op->door, op->request);
        ingest_op_release(a, op);
        return;
    }
    if (op->turn_key == 0) /* else it is held since it was here before */
        http_request_hold(op->request);
    op->turn_key = key;
    op->turns = t;
    op->turn_next = NULL;
    if (t->first != NULL)
        t->last->turn_next = op;
    else
        t->first = op;
    t->last = op;
    metric_add(s->waiting, 1);
    table_settle(a, t);
}

void ingest_turns_committed(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_turn_table *t = op->turns;
    if (t == NULL)
        return;
    op->turns = NULL;
    must(t->log_bytes >= op->body_bytes && a->turns->at_log > 0);
    t->log_bytes -= op->body_bytes;
    table_settle(a, t);
    if (--a->turns->at_log == 0 && a->turns->gate_first != NULL)
        loop_next_turn(a->loop);
}

/* ---- the loop's share ---- */

int ingest_turns_new(struct api_loop *a)
{
    struct ingest_turns *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    list_init(&s->ready);
    list_init(&s->deskless);
    s->gate_end = &s->gate_first;
    wal_batch_init(&s->scratch);
    s->slices = metric_new(METRIC_COUNTER, "wavehouse_ingest_slices_total",
                           "Slices in which long bodies were read.", NULL);
    s->waiting =
        metric_new(METRIC_GAUGE, "wavehouse_ingest_turns_waiting",
                   "Requests with long bodies that are read in turns, or wait for it.", NULL);
    s->gated = metric_new(METRIC_COUNTER, "wavehouse_ingest_gated_total",
                          "Requests with long bodies that were kept back from the log, to leave "
                          "time for short ones.",
                          NULL);
    a->turns = s;
    return loop_on_turn(a->loop, on_turn, a);
}

/* The requests of a list of tables end here; http drops the answers. */
static void refuse_all(struct api_loop *a, struct ingest_turn_table *t)
{
    while (t->first != NULL) {
        struct ingest_op *op = t->first;
        pop(a->turns, t);
        if (op->desk != NULL) {
            ingest_op_reset(op); /* ids go back while the request is known by its desk */
            desk_back(a, op);
        }
        ingest_refuse_busy(a, op->door, op->request);
        ingest_op_release(a, op);
    }
}

void ingest_turns_free(struct api_loop *a)
{
    struct ingest_turns *s = a->turns;
    if (s == NULL)
        return;
    while (s->gate_first != NULL) {
        struct ingest_turn_table *t = s->gate_first->turns;
        push_front(s, t, gate_take(s));
    }
    list_init(&s->ready);
    list_init(&s->deskless);
    for (size_t i = 0; i < CHAINS; i++)
        for (struct ingest_turn_table *t = s->chains[i], *next; t != NULL; t = next) {
            next = t->chain_next;
            refuse_all(a, t);
            free(t);
        }
    while (s->spare != NULL) {
        struct ingest_turn_table *t = s->spare;
        s->spare = t->list_next;
        free(t);
    }
    while (s->idle != NULL) {
        struct ingest_desk *d = s->idle;
        s->idle = d->next;
        desk_free(a, d);
    }
    wal_batch_fini(&s->scratch);
    free(s);
    a->turns = NULL;
}

void ingest_turns_shrink(struct api_loop *a)
{
    uint64_t now = io_monotonic_ns();
    struct ingest_desk **at = &a->turns->idle;
    for (int kept = 0;
         *at != NULL && kept < DESKS_KEPT && now - (*at)->idle_since_ns < DESK_IDLE_NS; kept++)
        at = &(*at)->next;
    while (*at != NULL) {
        struct ingest_desk *d = *at;
        *at = d->next;
        desk_free(a, d);
    }
    if (a->turns->scratch.text.cap > IDS_KEEP_BYTES) {
        wal_batch_fini(&a->turns->scratch);
        wal_batch_init(&a->turns->scratch);
    }
}
