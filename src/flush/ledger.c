/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/ledger.h"

#include "base/crc32c.h"
#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEDGER_MAGIC 0x4c454447u
#define HEAP_NONE    UINT32_MAX

struct flush_ledger {
    uint32_t magic;
    struct flush_rules rules;
    /* Most in one plan. A table that reaches max_rows or max_bytes within spacing_ns of its last
     * cut gathers on, up to here: few large blocks cost ClickHouse much less (fewer parts to merge)
     * than the same rows in many. */
    uint64_t burst_rows, burst_bytes;
    struct flush_table **hash; /* chains; hash_cap is a power of two */
    uint32_t hash_cap, table_count;
    struct flush_table **heap; /* by due_ns; room for every table */
    uint32_t heap_count;
    struct flush_totals totals;
};

/* ---- heap of times ---- */

static void heap_put(struct flush_ledger *l, uint32_t at, struct flush_table *t)
{
    l->heap[at] = t;
    t->heap_at = at;
}

static void heap_up(struct flush_ledger *l, uint32_t at, struct flush_table *t)
{
    while (at > 0 && l->heap[(at - 1) / 2]->due_ns > t->due_ns) {
        heap_put(l, at, l->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(l, at, t);
}

static void heap_down(struct flush_ledger *l, uint32_t at, struct flush_table *t)
{
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= l->heap_count)
            break;
        if (child + 1 < l->heap_count && l->heap[child + 1]->due_ns < l->heap[child]->due_ns)
            child++;
        if (l->heap[child]->due_ns >= t->due_ns)
            break;
        heap_put(l, at, l->heap[child]);
        at = child;
    }
    heap_put(l, at, t);
}

static void heap_set(struct flush_ledger *l, struct flush_table *t, uint64_t due_ns)
{
    if (t->heap_at == HEAP_NONE) {
        if (due_ns == UINT64_MAX)
            return;
        t->due_ns = due_ns;
        heap_up(l, l->heap_count++, t);
        return;
    }
    uint64_t before = t->due_ns;
    uint32_t at = t->heap_at;
    t->due_ns = due_ns;
    if (due_ns == UINT64_MAX) {
        struct flush_table *last = l->heap[--l->heap_count];
        t->heap_at = HEAP_NONE;
        if (last != t) {
            heap_up(l, at, last);
            heap_down(l, last->heap_at, last);
        }
    } else if (due_ns < before) {
        heap_up(l, at, t);
    } else {
        heap_down(l, at, t);
    }
}

/* ---- when is a table due ---- */

static struct flush_run *run_at(const struct flush_table *t, uint32_t i)
{
    return &t->runs[(t->run_head + i) & (t->run_cap - 1)];
}

static uint64_t idle_due(const struct flush_ledger *l, const struct flush_table *t)
{
    const struct flush_rules *r = &l->rules;
    if (t->run_count == 0)
        return UINT64_MAX;
    uint64_t due = run_at(t, 0)->seen_ns + r->interval_ns;
    if (run_at(t, 0)->seen_ns == 0 || t->rows >= l->burst_rows || t->bytes >= l->burst_bytes)
        due = 0;
    else if (t->rows >= r->eager_rows || t->rows >= r->max_rows || t->bytes >= r->max_bytes) {
        uint64_t eager = t->cut_ns == 0 ? 0 : t->cut_ns + r->spacing_ns;
        due = eager < due ? eager : due;
    }
    if (t->wanted) {
        uint64_t soon = t->cut_ns == 0 ? 0 : t->cut_ns + r->wanted_ns;
        due = soon < due ? soon : due;
    }
    return due > t->hold_ns ? due : t->hold_ns;
}

static void reschedule(struct flush_ledger *l, struct flush_table *t)
{
    uint64_t due = UINT64_MAX;
    if (t->phase == FLUSH_IDLE)
        due = idle_due(l, t);
    else if (t->phase == FLUSH_WAITING)
        due = t->hold_ns;
    heap_set(l, t, due);
}

/* ---- tables ---- */

struct flush_ledger *flush_ledger_new(const struct flush_rules *rules)
{
    struct flush_ledger *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->magic = LEDGER_MAGIC;
    l->hash_cap = 64;
    l->hash = calloc(l->hash_cap, sizeof(struct flush_table *));
    l->heap = calloc(l->hash_cap, sizeof(struct flush_table *));
    if (l->hash == NULL || l->heap == NULL) {
        flush_ledger_free(l);
        return NULL;
    }
    flush_ledger_set_rules(l, rules);
    return l;
}

static void open_free(struct flush_open *o)
{
    if (o == NULL)
        return;
    for (uint32_t i = 0; i < o->unit_count; i++)
        flush_rows_fini(&o->units[i]);
    free(o->units);
    free(o->spans);
    free(o->token);
    flush_rows_fini(&o->dead);
    free(o);
}

void flush_ledger_free(struct flush_ledger *l)
{
    if (l == NULL)
        return;
    CHECK_MAGIC(l, LEDGER_MAGIC);
    for (uint32_t i = 0; l->hash != NULL && i < l->hash_cap; i++)
        for (struct flush_table *t = l->hash[i], *next; t != NULL; t = next) {
            next = t->hash_next;
            open_free(t->open);
            free(t->runs);
            free(t->name);
            free(t->metrics);
            free(t);
        }
    free(l->hash);
    free(l->heap);
    l->magic = 0;
    free(l);
}

static void set_rules_of(void *ctx, struct flush_table *t)
{
    reschedule(ctx, t);
}

void flush_ledger_set_rules(struct flush_ledger *l, const struct flush_rules *rules)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    l->rules = *rules;
    if (l->rules.max_rows > FLUSH_PLAN_ROWS_MAX / 2)
        l->rules.max_rows = FLUSH_PLAN_ROWS_MAX / 2; /* a single entry may go beyond */
    if (l->rules.max_rows == 0)
        l->rules.max_rows = 1;
    l->burst_rows = l->rules.max_rows * FLUSH_BURST;
    if (l->burst_rows > FLUSH_PLAN_ROWS_MAX / 2)
        l->burst_rows = FLUSH_PLAN_ROWS_MAX / 2;
    l->burst_bytes = l->rules.max_bytes * FLUSH_BURST;
    flush_ledger_each(l, set_rules_of, l);
}

void flush_ledger_each(struct flush_ledger *l, void (*each)(void *ctx, struct flush_table *t),
                       void *ctx)
{
    for (uint32_t i = 0; i < l->hash_cap; i++)
        for (struct flush_table *t = l->hash[i]; t != NULL; t = t->hash_next)
            each(ctx, t);
}

static int ledger_grow(struct flush_ledger *l)
{
    uint32_t cap = l->hash_cap * 2;
    struct flush_table **heap = realloc(l->heap, cap * sizeof(struct flush_table *));
    if (heap == NULL)
        return -ENOMEM;
    l->heap = heap;
    struct flush_table **hash = calloc(cap, sizeof(struct flush_table *));
    if (hash == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->hash_cap; i++)
        for (struct flush_table *t = l->hash[i], *next; t != NULL; t = next) {
            next = t->hash_next;
            t->hash_next = hash[t->hash & (cap - 1)];
            hash[t->hash & (cap - 1)] = t;
        }
    free(l->hash);
    l->hash = hash;
    l->hash_cap = cap;
    return 0;
}

static struct flush_table *table_find(struct flush_ledger *l, struct slice name, uint32_t hash)
{
    for (struct flush_table *t = l->hash[hash & (l->hash_cap - 1)]; t != NULL; t = t->hash_next)
        if (t->hash == hash && slice_eq(flush_table_name(t), name))
            return t;
    return NULL;
}

struct flush_table *flush_ledger_find(struct flush_ledger *l, struct slice name)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    return table_find(l, name, crc32c(0, name.ptr, name.len));
}

struct flush_table *flush_ledger_table(struct flush_ledger *l, struct slice name)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    uint32_t hash = crc32c(0, name.ptr, name.len);
    struct flush_table *t = table_find(l, name, hash);
    if (t != NULL)
        return t;
    if (l->table_count == l->hash_cap && ledger_grow(l) != 0)
        return NULL;
    t = calloc(1, sizeof(*t));
    if (t == NULL || (t->name = malloc(name.len + 1)) == NULL) {
        free(t);
        return NULL;
    }
    memcpy(t->name, name.ptr, name.len);
    t->name[name.len] = '\0';
    t->name_len = (uint32_t)name.len;
    t->hash = hash;
    t->heap_at = HEAP_NONE;
    t->hash_next = l->hash[hash & (l->hash_cap - 1)];
    l->hash[hash & (l->hash_cap - 1)] = t;
    l->table_count++;
    return t;
}

int flush_ledger_position(struct flush_ledger *l, struct slice name, uint64_t through)
{
    struct flush_table *t = flush_ledger_table(l, name);
    if (t == NULL)
        return -ENOMEM;
    t->through = t->through_stored = through;
    return 0;
}

/* ---- log entries ---- */

static struct flush_totals sum_of(const struct flush_table *t)
{
    const struct flush_open *o = t->open;
    return (struct flush_totals){t->rows + (o != NULL ? o->rows : 0),
                                 t->bytes + (o != NULL ? o->bytes : 0), o != NULL};
}

/* Unsigned differences wrap and come out right. */
static void sum_changed(struct flush_ledger *l, const struct flush_table *t,
                        struct flush_totals before)
{
    struct flush_totals now = sum_of(t);
    l->totals.rows += now.rows - before.rows;
    l->totals.bytes += now.bytes - before.bytes;
    l->totals.open_plans += now.open_plans - before.open_plans;
}

static int run_push(struct flush_table *t, const struct flush_run *run)
{
    if (t->run_count == t->run_cap) {
        uint32_t cap = t->run_cap == 0 ? 4 : t->run_cap * 2;
        struct flush_run *runs = malloc(cap * sizeof(*runs));
        if (runs == NULL)
            return -ENOMEM;
        for (uint32_t i = 0; i < t->run_count; i++)
            runs[i] = *run_at(t, i);
        free(t->runs);
        t->runs = runs;
        t->run_cap = cap;
        t->run_head = 0;
    }
    t->run_count++;
    *run_at(t, t->run_count - 1) = *run;
    return 0;
}

static bool run_takes(const struct flush_rules *r, const struct flush_table *t, uint64_t index,
                      uint64_t rows, uint64_t bytes)
{
    if (t->run_count == 0)
        return false;
    const struct flush_run *last = run_at(t, t->run_count - 1);
    return last->last > t->sealed && last->rows + rows <= r->max_rows / FLUSH_RUN_PARTS &&
           last->bytes + bytes <= r->max_bytes / FLUSH_RUN_PARTS &&
           (index - last->last <= FLUSH_RUN_GAP || t->run_count > FLUSH_RUNS_GAPPY);
}

int flush_ledger_events(struct flush_ledger *l, uint64_t index, struct slice table, uint64_t rows,
                        uint64_t bytes, uint64_t time_ns, uint64_t now_ns)
{
    struct flush_table *t = flush_ledger_table(l, table);
    if (t == NULL)
        return -ENOMEM;
    if (index <= t->through || rows == 0)
        return 0;
    struct flush_totals before = sum_of(t);
    if (run_takes(&l->rules, t, index, rows, bytes)) {
        struct flush_run *last = run_at(t, t->run_count - 1);
        last->last = index;
        last->rows += rows;
        last->bytes += bytes;
    } else {
        struct flush_run run = {index, index, rows, bytes, time_ns, now_ns};
        if (run_push(t, &run) != 0)
            return -ENOMEM;
    }
    t->rows += rows;
    t->bytes += bytes;
    sum_changed(l, t, before);
    if (t->phase == FLUSH_IDLE)
        reschedule(l, t);
    return 0;
}

static void run_pop(struct flush_table *t)
{
    const struct flush_run *run = run_at(t, 0);
    t->rows -= run->rows;
    t->bytes -= run->bytes;
    t->run_head = (t->run_head + 1) & (t->run_cap - 1);
    t->run_count--;
}

/* Take everything up to index `last` off the queue. A run that reaches beyond it keeps its sums
 * until they are counted again. */
static void runs_take(struct flush_table *t, uint64_t last)
{
    while (t->run_count > 0 && run_at(t, 0)->last <= last)
        run_pop(t);
    if (t->run_count > 0 && run_at(t, 0)->first <= last) {
        run_at(t, 0)->first = last + 1;
        t->recount = true;
    }
}

void flush_ledger_recount(struct flush_ledger *l, struct flush_table *t, uint64_t rows,
                          uint64_t bytes)
{
    must(t->recount && t->run_count > 0);
    struct flush_totals before = sum_of(t);
    struct flush_run *run = run_at(t, 0);
    t->rows += rows - run->rows;
    t->bytes += bytes - run->bytes;
    run->rows = rows;
    run->bytes = bytes;
    if (rows == 0)
        run_pop(t);
    t->recount = false;
    sum_changed(l, t, before);
    reschedule(l, t);
}

static struct flush_open *open_new(uint64_t index, const struct flush_plan *p, uint64_t time_ns)
{
    struct flush_open *o = calloc(1, sizeof(*o));
    if (o == NULL || (o->token = malloc(p->token.len + 1)) == NULL) {
        free(o);
        return NULL;
    }
    memcpy(o->token, p->token.ptr, p->token.len);
    o->token[p->token.len] = '\0';
    o->index = index;
    o->first = p->first;
    o->last = p->last;
    o->rows = p->rows;
    o->piece_rows = p->piece_rows;
    o->bytes = p->bytes;
    o->fingerprint = p->fingerprint;
    o->time_ns = time_ns;
    return o;
}

/* Where the plan's entries are, while their runs are still queued; neighbours without a wide gap
 * are one span. */
static int open_spans(struct flush_open *o, const struct flush_table *t)
{
    o->spans = malloc((t->run_count + 1) * sizeof(*o->spans));
    if (o->spans == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->run_count && run_at(t, i)->first <= o->last; i++) {
        const struct flush_run *run = run_at(t, i);
        uint64_t last = run->last < o->last ? run->last : o->last;
        if (o->span_count > 0 && run->first - o->spans[o->span_count - 1].last <= FLUSH_RUN_GAP)
            o->spans[o->span_count - 1].last = last;
        else
            o->spans[o->span_count++] = (struct flush_span){run->first, last};
    }
    return 0;
}

int flush_ledger_plan(struct flush_ledger *l, uint64_t index, const struct flush_plan *p,
                      uint64_t now_ns, struct flush_table **out)
{
    struct flush_table *t = *out = flush_ledger_table(l, p->table);
    if (t == NULL)
        return -ENOMEM;
    if (t->open != NULL || p->first <= t->through || p->last >= index) {
        flush_ledger_cut_failed(l, t, now_ns);
        return 1;
    }
    struct flush_totals before = sum_of(t);
    struct flush_open *o = open_new(index, p, t->run_count > 0 ? run_at(t, 0)->time_ns : 0);
    if (o == NULL || open_spans(o, t) != 0) {
        open_free(o);
        return -ENOMEM;
    }
    runs_take(t, p->last);
    t->open = o;
    t->phase = FLUSH_WAITING;
    t->hold_ns = 0;
    t->attempts = t->schema_attempts = 0;
    sum_changed(l, t, before);
    reschedule(l, t);
    return 0;
}

/* The table whose open plan this is, or NULL. */
static struct flush_table *open_of(struct flush_ledger *l, struct slice table, uint64_t plan_index)
{
    struct flush_table *t = table_find(l, table, crc32c(0, table.ptr, table.len));
    return t != NULL && t->open != NULL && t->open->index == plan_index ? t : NULL;
}

static void units_free(struct flush_rows *units, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        flush_rows_fini(&units[i]);
    free(units);
}

int flush_ledger_progress(struct flush_ledger *l, const struct flush_progress *p)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    struct flush_table *t = open_of(l, p->table, p->plan_index);
    if (t == NULL)
        return 1;
    struct flush_rows *units = calloc((size_t)p->unit_count + 1, sizeof(*units));
    struct flush_rows all;
    struct slice at = p->units;
    int rc = units == NULL ? -ENOMEM : 0;
    flush_rows_init(&all);
    for (uint32_t i = 0; i < p->unit_count && rc == 0; i++) {
        rc = flush_rows_get(&all, &at);
        if (rc == 0)
            rc = flush_rows_minus(&units[i], &all, &t->open->dead);
    }
    flush_rows_fini(&all);
    if (rc != 0) {
        if (units != NULL)
            units_free(units, p->unit_count);
        return rc == -ENOMEM ? rc : 1;
    }
    units_free(t->open->units, t->open->unit_count);
    t->open->units = units;
    t->open->unit_count = p->unit_count;
    return 0;
}

static int units_minus_dead(struct flush_open *o)
{
    for (uint32_t i = 0; i < o->unit_count; i++) {
        struct flush_rows left;
        flush_rows_init(&left);
        if (flush_rows_minus(&left, &o->units[i], &o->dead) != 0) {
            flush_rows_fini(&left);
            return -ENOMEM;
        }
        flush_rows_fini(&o->units[i]);
        o->units[i] = left;
    }
    return 0;
}

int flush_ledger_dead(struct flush_ledger *l, const struct flush_dead *d)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    struct flush_table *t = open_of(l, d->table, d->plan_index);
    if (t == NULL)
        return 1;
    struct flush_dead_item item;
    struct flush_dead at = *d;
    int rc;
    while ((rc = flush_dead_next(&at, &item, NULL)) == 0)
        if (flush_rows_insert(&t->open->dead, item.row) != 0)
            return -ENOMEM;
    int units = units_minus_dead(t->open);
    return units != 0 ? units : rc == WH_EEND ? 0 : 1;
}

int flush_ledger_done(struct flush_ledger *l, const struct flush_done *d, struct flush_table **out)
{
    struct flush_table *t = *out = flush_ledger_table(l, d->table);
    if (t == NULL)
        return -ENOMEM;
    if (d->last <= t->through)
        return 1;
    struct flush_totals before = sum_of(t);
    t->through = d->last;
    if (t->open != NULL && t->open->index == d->plan_index) {
        open_free(t->open);
        t->open = NULL;
        if (t->phase != FLUSH_RUNNING)
            t->phase = FLUSH_IDLE;
    } else {
        /* The plan entry was before the first one read. */
        runs_take(t, d->last);
    }
    t->hold_ns = 0;
    sum_changed(l, t, before);
    reschedule(l, t);
    return 0;
}

/* ---- decisions ---- */

struct flush_table *flush_ledger_due(struct flush_ledger *l, uint64_t now_ns, uint64_t *next_ns)
{
    CHECK_MAGIC(l, LEDGER_MAGIC);
    *next_ns = l->heap_count > 0 ? l->heap[0]->due_ns : UINT64_MAX;
    return *next_ns <= now_ns ? l->heap[0] : NULL;
}

void flush_ledger_want(struct flush_ledger *l, struct flush_table *t)
{
    t->wanted = true;
    if (t->phase == FLUSH_IDLE)
        reschedule(l, t);
}

/* So many rows of this plan are a piece: about FLUSH_PIECE times max_rows or max_bytes, whichever
 * comes first when all rows are of average size. */
static uint32_t piece_of(const struct flush_rules *r, uint64_t rows, uint64_t bytes)
{
    uint64_t piece = r->max_rows * FLUSH_PIECE, fit = rows;
    if (bytes > r->max_bytes * FLUSH_PIECE)
        fit = (uint64_t)((double)rows * (double)(r->max_bytes * FLUSH_PIECE) / (double)bytes);
    piece = fit < piece ? fit : piece;
    uint64_t least = (rows - 1) / FLUSH_PIECES_MAX + 1;
    piece = piece > least ? piece : least;
    return piece < rows ? (uint32_t)piece : 0;
}

/* A backlog is cut in larger plans that go in pieces: while one is sent
 * the next is encoded, and there is no waiting for plan and done entries in between. */
void flush_ledger_cut(struct flush_ledger *l, struct flush_table *t, uint64_t now_ns,
                      struct flush_plan *plan)
{
    must(t->phase == FLUSH_IDLE && t->run_count > 0 && t->open == NULL);
    uint64_t rows = 0, bytes = 0, last = 0, rows_max = l->burst_rows, bytes_max = l->burst_bytes;
    bool backlog = t->rows > FLUSH_BACKLOG * rows_max || t->bytes > FLUSH_BACKLOG * bytes_max;
    if (backlog) {
        rows_max = l->rules.max_rows * FLUSH_PIECES;
        rows_max = rows_max < FLUSH_PLAN_ROWS_MAX ? rows_max : FLUSH_PLAN_ROWS_MAX;
        bytes_max = l->rules.max_bytes * FLUSH_PIECES;
    }
    for (uint32_t i = 0; i < t->run_count; i++) {
        const struct flush_run *run = run_at(t, i);
        if (i > 0 && (rows + run->rows > rows_max || bytes + run->bytes > bytes_max))
            break;
        rows += run->rows;
        bytes += run->bytes;
        last = run->last;
    }
    plan->table = flush_table_name(t);
    plan->first = run_at(t, 0)->first;
    plan->last = last;
    plan->rows = (uint32_t)rows;
    plan->bytes = bytes;
    plan->piece_rows = backlog ? piece_of(&l->rules, rows, bytes) : 0;
    t->sealed = last;
    t->cut_ns = now_ns;
    t->wanted = false;
    t->phase = FLUSH_PROPOSED;
    reschedule(l, t);
}

void flush_ledger_cut_failed(struct flush_ledger *l, struct flush_table *t, uint64_t until_ns)
{
    if (t->phase != FLUSH_PROPOSED)
        return;
    t->phase = FLUSH_IDLE;
    t->hold_ns = until_ns;
    reschedule(l, t);
}

void flush_ledger_ready(struct flush_ledger *l, struct flush_table *t)
{
    must(t->phase == FLUSH_WAITING && t->open != NULL);
    t->phase = FLUSH_READY;
    reschedule(l, t);
}

void flush_ledger_running(struct flush_ledger *l, struct flush_table *t)
{
    must(t->phase == FLUSH_READY && t->open != NULL);
    t->phase = FLUSH_RUNNING;
    reschedule(l, t);
}

void flush_ledger_ended(struct flush_ledger *l, struct flush_table *t, uint64_t until_ns)
{
    must(t->phase == FLUSH_RUNNING);
    t->phase = t->open == NULL ? FLUSH_IDLE : FLUSH_WAITING;
    t->hold_ns = t->open == NULL ? 0 : until_ns;
    reschedule(l, t);
}

static void hurry_table(void *ctx, struct flush_table *t)
{
    if (t->phase != FLUSH_WAITING)
        return;
    t->hold_ns = 0;
    reschedule(ctx, t);
}

void flush_ledger_hurry(struct flush_ledger *l)
{
    flush_ledger_each(l, hurry_table, l);
}

uint64_t flush_backoff_ns(uint64_t min_ms, uint64_t max_ms, uint32_t attempts, uint64_t random)
{
    uint64_t ms = min_ms;
    for (uint32_t i = 1; i < attempts && ms < max_ms; i++)
        ms *= 2;
    ms = ms < max_ms ? ms : max_ms;
    uint64_t ns = ms * 1000000u, spread = ns / 4;
    return ns - spread + (spread > 0 ? random % (2 * spread) : 0);
}

/* ---- sums ---- */

uint64_t flush_table_first(const struct flush_table *t)
{
    return t->open != NULL ? t->open->first : t->run_count > 0 ? run_at(t, 0)->first : UINT64_MAX;
}

uint64_t flush_ledger_low(const struct flush_ledger *l, uint64_t next_index)
{
    uint64_t low = next_index;
    for (uint32_t i = 0; i < l->hash_cap; i++)
        for (const struct flush_table *t = l->hash[i]; t != NULL; t = t->hash_next) {
            uint64_t first = flush_table_first(t);
            low = first < low ? first : low;
        }
    return low;
}

struct flush_totals flush_ledger_totals(const struct flush_ledger *l)
{
    return l->totals;
}

uint64_t flush_table_pending(const struct flush_table *t, uint64_t *oldest_ns)
{
    *oldest_ns = t->open != NULL ? t->open->time_ns : t->run_count > 0 ? run_at(t, 0)->time_ns : 0;
    return t->rows + (t->open != NULL ? t->open->rows : 0);
}
