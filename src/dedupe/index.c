/* SPDX-License-Identifier: Apache-2.0 */
/* Which entries must be read from the log at a start? The files end with "through": the ids of all
 * entries up to it are in them. Where a file is damaged or missing in the middle, the log is read
 * again from there, and only ids that the table lacks are written anew; the damaged tail is cut off
 * after that, so that a crash in between finds it again. */
#include "dedupe/index.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "io/clock.h"
#include "wal/batch.h"

#include <errno.h>
#include <inttypes.h>

#define BUCKETS_PER_RETENTION 24
#define BUCKETS_PER_MAX_IDS   16
#define BUCKET_NS_MIN         UINT64_C(1000000000)
#define TURN_ENTRIES_MAX      16384
#define WRITE_IDS_BYTES       (4 * MIB)  /* so many are written at once */
#define WAITING_BYTES_FULL    (16 * MIB) /* the log is not read on before they are written */
#define WRITE_EVERY_NS        (UINT64_C(2) * 1000000000)
#define MARK_EVERY_NS         (UINT64_C(10) * 1000000000)
#define RETRY_NS              UINT64_C(1000000000)
#define AHEAD                 8
#define FOREIGN               WH_ESTOPPED /* of a file: of another log, or from another future */

_Static_assert(WAL_BATCH_ID_BYTES == DEDUPE_ID_BYTES, "ids in the log are ids");
_Static_assert(WAL_LOG_ID_BYTES == DEDUPE_LOG_ID_BYTES, "a log's identity");

static struct dedupe_held *current(struct dedupe_index *x)
{
    return x->held_count > 0 ? &x->held[x->held_count - 1] : NULL;
}

static bool is_over(const struct dedupe_index *x, uint64_t last_ns, uint64_t now)
{
    return now > x->options.limits.retention_ns && last_ns < now - x->options.limits.retention_ns;
}

/* ---- buckets ---- */

/* There is a free number: held_count is below DEDUPE_BUCKETS. */
static struct dedupe_held *bucket_open(struct dedupe_index *x, uint64_t seq)
{
    must(x->held_count < DEDUPE_BUCKETS);
    struct dedupe_held *h = &x->held[x->held_count];
    for (bool taken = true; taken;) {
        x->next_number = (uint8_t)((x->next_number + 1) % DEDUPE_BUCKETS);
        taken = false;
        for (uint32_t i = 0; i < x->held_count; i++)
            taken = taken || x->held[i].number == x->next_number;
    }
    *h = (struct dedupe_held){.seq = seq, .number = x->next_number};
    dedupe_table_open_bucket(x->options.table, h->number);
    x->held_count++;
    return h;
}

static void file_remove(struct dedupe_index *x, uint64_t seq)
{
    const struct io *io = x->options.io;
    char path[DEDUPE_PATH_CAP];
    dedupe_bucket_path(x->options.path, seq, path);
    int rc = io->unlink(io->ctx, path);
    if (rc != 0 && rc != -ENOENT)
        log_warn("dedupe.store", "removing %s: %s; it is tried again at the next start", path,
                 err_text(rc));
}

/* Forget the oldest bucket, which is not the current one. Returns its ids. */
static uint64_t bucket_drop(struct dedupe_index *x)
{
    must(x->held_count > 1);
    struct dedupe_held h = x->held[0];
    dedupe_table_barrier(x->options.table);
    uint64_t n = dedupe_table_forget(x->options.table, h.number);
    if (h.good_bytes > 0)
        file_remove(x, h.seq);
    x->held_count--;
    memmove(x->held, x->held + 1, x->held_count * sizeof(x->held[0]));
    bool written = false;
    for (uint32_t i = 0; i < x->held_count; i++)
        written = written || x->held[i].good_bytes > 0;
    if (!written)
        x->durable = 0; /* no file says any more how far the log was read: the next turn does */
    return n;
}

static void drop_early(struct dedupe_index *x)
{
    static struct log_limit limit = LOG_LIMIT(60);
    uint64_t repeated, last_ns = x->held[0].last_ns, now = x->options.now_ns();
    uint64_t n = bucket_drop(x);
    metric_add(x->dropped_early, (int64_t)n);
    if (log_limit_pass(&limit, &repeated))
        log_warn("dedupe.early",
                 "ids=%" PRIu64 ": forgotten %" PRIu64
                 " s after they came, before dedupe.retention, to stay below dedupe.max_ids; raise "
                 "it if repeats come later than that; repeated=%" PRIu64,
                 n, now > last_ns ? (now - last_ns) / UINT64_C(1000000000) : 0, repeated);
}

/* ---- writing ---- */

static int file_ready(struct dedupe_index *x, struct dedupe_held *h, struct err *e)
{
    if (x->file.fd >= 0)
        return 0;
    x->mark_at = 0;
    if (h->good_bytes > 0)
        return dedupe_bucket_reopen(&x->file, x->options.io, x->options.path, h->seq, h->good_bytes,
                                    e);
    struct dedupe_bucket_head head = {.seq = h->seq, .key = x->options.key};
    wal_log_id(x->options.wal, head.log_id);
    int rc = dedupe_bucket_create(&x->file, x->options.io, x->options.path, &head, e);
    if (rc == 0)
        h->good_bytes = x->file.end;
    return rc;
}

/* What waits, in pieces; only the last says that everything up to applied is there. */
static int append_waiting(struct dedupe_index *x, struct err *e)
{
    const uint8_t *ids = (const uint8_t *)x->waiting.ptr;
    uint64_t left = x->waiting.len / DEDUPE_ID_BYTES;
    do {
        uint32_t n = left < DEDUPE_CHUNK_IDS_MAX ? (uint32_t)left : DEDUPE_CHUNK_IDS_MAX;
        struct dedupe_chunk c = {.count = n,
                                 .through = n == left ? x->applied : x->durable,
                                 .first_ns = x->waiting_first_ns,
                                 .last_ns = x->waiting_last_ns,
                                 .ids = ids};
        int rc = dedupe_bucket_append(&x->file, &c, e);
        if (rc != 0)
            return rc;
        left -= n;
        if (left > 0) /* with nothing waiting there is no pointer to move */
            ids += (size_t)n * DEDUPE_ID_BYTES;
    } while (left > 0);
    return 0;
}

/* Everything that waits becomes durable, or at least the position. */
static int write_down(struct dedupe_index *x)
{
    struct dedupe_held *h = current(x);
    struct err e = {0};
    bool mark = x->waiting.len == 0;
    uint64_t now = io_monotonic_ns();
    if (now < x->retry_ns)
        return WH_EAGAIN;
    int rc = file_ready(x, h, &e);
    if (rc == 0) {
        if (mark && x->mark_at != 0) /* positions alone do not make the file grow */
            h->good_bytes = x->file.end = x->mark_at;
        x->mark_at = mark ? x->file.end : 0;
        rc = append_waiting(x, &e);
    }
    if (rc == 0)
        rc = dedupe_bucket_sync(&x->file, &e);
    if (rc != 0) {
        static struct log_limit limit = LOG_LIMIT(60);
        uint64_t repeated;
        dedupe_bucket_close(&x->file);
        x->retry_ns = now + RETRY_NS;
        if (log_limit_pass(&limit, &repeated))
            log_error("dedupe.store",
                      "%s; tried again every second, the log keeps what is not stored; "
                      "repeated=%" PRIu64,
                      e.text, repeated);
        return rc;
    }
    h->good_bytes = x->file.end;
    x->durable = x->applied;
    x->written_ns = now;
    buf_reset(&x->waiting);
    x->waiting_first_ns = x->waiting_last_ns = 0;
    return 0;
}

/* Start a new bucket. */
static int rotate(struct dedupe_index *x)
{
    int rc = x->waiting.len > 0 ? write_down(x) : 0;
    if (rc != 0)
        return rc;
    if (x->held_count == DEDUPE_BUCKETS - 1)
        drop_early(x);
    dedupe_bucket_close(&x->file);
    struct dedupe_held *h = current(x);
    /* The loops have been putting ids into it until now. */
    if (h != NULL && x->caught_up && x->options.now_ns() > h->last_ns)
        h->last_ns = x->options.now_ns();
    atomic_store(&x->current, bucket_open(x, x->next_seq++)->number);
    return 0;
}

uint64_t dedupe_index_bucket_max(const struct dedupe_limits *l)
{
    return l->max_ids / BUCKETS_PER_MAX_IDS;
}

/* The bucket for an entry of this time is the current one. */
static int bucket_for(struct dedupe_index *x, uint64_t time_ns)
{
    const struct dedupe_limits *l = &x->options.limits;
    struct dedupe_held *h = current(x);
    uint64_t width_ns = l->retention_ns / BUCKETS_PER_RETENTION;
    width_ns = width_ns < BUCKET_NS_MIN ? BUCKET_NS_MIN : width_ns;
    if (h == NULL || (h->ids > 0 &&
                      (time_ns > h->first_ns + width_ns || h->ids >= dedupe_index_bucket_max(l)))) {
        return rotate(x);
    }
    return 0;
}

/* ---- the log ---- */

static int take_ids(struct dedupe_index *x, const struct wal_batch *batch, uint64_t *taken)
{
    const uint8_t *ids = (const uint8_t *)batch->ids;
    for (uint32_t i = 0; i < batch->count; i++, ids += DEDUPE_ID_BYTES) {
        struct dedupe_id id;
        if (!x->caught_up && i + AHEAD < batch->count) {
            memcpy(id.bytes, ids + (size_t)AHEAD * DEDUPE_ID_BYTES, sizeof(id.bytes));
            dedupe_table_prefetch(x->options.table, &id);
        }
        if (dedupe_id_is_none(ids))
            continue;
        memcpy(id.bytes, ids, sizeof(id.bytes));
        int rc = x->caught_up ? 1 : dedupe_table_put(x->options.table, &id, current(x)->number);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        buf_put(&x->waiting, id.bytes, sizeof(id.bytes));
        ++*taken;
    }
    return buf_ok(&x->waiting) ? 0 : -ENOMEM;
}

static int read_entry(struct dedupe_index *x, const struct wal_view *v, struct err *e)
{
    struct slice table;
    uint32_t count;
    uint8_t flags;
    struct wal_batch batch;
    if (v->type != WAL_EVENTS || !wal_batch_head(v->payload, &table, &count, &flags) ||
        (flags & WAL_BATCH_IDS) == 0 || wal_batch_parse(v->payload, &batch, e) != 0)
        return 0; /* one that does not parse is reported by the flusher */
    if (!x->caught_up && is_over(x, v->time_ns, x->options.now_ns()))
        return 0;
    if (bucket_for(x, v->time_ns) != 0)
        return WH_EFULL; /* what waits must be written first */
    size_t before = x->waiting.len;
    uint64_t taken = 0;
    int rc = take_ids(x, &batch, &taken);
    if (rc == 0)
        rc = wal_cursor_check(x->cursor, e);
    if (rc != 0) {
        x->waiting.len = before;
        x->waiting.failed = false;
        return rc;
    }
    if (taken == 0)
        return 0;
    struct dedupe_held *h = current(x);
    h->ids += taken;
    if (h->first_ns == 0 || v->time_ns < h->first_ns)
        h->first_ns = v->time_ns;
    if (v->time_ns > h->last_ns)
        h->last_ns = v->time_ns;
    if (x->waiting_first_ns == 0 || v->time_ns < x->waiting_first_ns)
        x->waiting_first_ns = v->time_ns;
    if (v->time_ns > x->waiting_last_ns)
        x->waiting_last_ns = v->time_ns;
    return 0;
}

static void cursor_drop(struct dedupe_index *x)
{
    if (x->cursor != NULL)
        wal_cursor_close(x->cursor);
    x->cursor = NULL;
}

/* Nobody has ids on the way, and all that anybody had have been read: whatever else was committed
 * has none. Who reserves an id does so before its entry is committed, and says so before it lets go
 * of the reservation. */
static bool nothing_to_read(struct dedupe_index *x)
{
    return x->caught_up && dedupe_table_pending(x->options.table) == 0 &&
           atomic_load(&x->settled) <= x->applied;
}

static void stalled(struct dedupe_index *x, int rc, const struct err *e)
{
    cursor_drop(x);
    if (!x->stalled)
        log_error("dedupe.stalled",
                  "index=%" PRIu64 ": %s; ids after it are not written down before this entry can "
                  "be read; it is tried again every second",
                  x->applied + 1, e->text[0] != '\0' ? e->text : err_text(rc));
    x->stalled = true;
}

/* True when there is more to read at once. */
static bool read_log(struct dedupe_index *x)
{
    uint64_t end = wal_commit_index(x->options.wal);
    struct err e = {0};
    struct wal_view v;
    int rc = 0;
    if (nothing_to_read(x)) {
        x->applied = end > x->applied ? end : x->applied;
        cursor_drop(x);
        return false;
    }
    for (uint32_t n = 0; n < TURN_ENTRIES_MAX; n++) {
        if (x->waiting.len >= WAITING_BYTES_FULL)
            return false;
        if (x->cursor == NULL)
            rc = wal_cursor_open(&x->cursor, x->options.wal, x->applied + 1, &e);
        if (rc == 0)
            rc = wal_cursor_next(x->cursor, &v, &e);
        if (rc == WH_EEND) {
            x->caught_up = x->caught_up || current(x) != NULL || rotate(x) == 0;
            x->stalled = false;
            return false;
        }
        if (rc == 0)
            rc = read_entry(x, &v, &e);
        if (rc == WH_EFULL) {
            cursor_drop(x);
            return false;
        }
        if (rc != 0) {
            stalled(x, rc, &e);
            return false;
        }
        x->applied = v.index;
    }
    x->stalled = false;
    return true;
}

/* ---- start ---- */

struct loading {
    struct dedupe_index *x;
    struct dedupe_held *h;
    const struct dedupe_bucket_found *found;
    uint64_t now;
};

static bool is_foreign(const struct dedupe_index *x, const struct dedupe_bucket_head *head)
{
    uint8_t log_id[WAL_LOG_ID_BYTES];
    wal_log_id(x->options.wal, log_id);
    return memcmp(head->log_id, log_id, sizeof(log_id)) != 0 ||
           memcmp(head->key.bytes, x->options.key.bytes, DEDUPE_KEY_BYTES) != 0;
}

static int load_chunk(void *ctx, const struct dedupe_chunk *c)
{
    struct loading *l = ctx;
    if (is_foreign(l->x, &l->found->head) || c->through > wal_commit_index(l->x->options.wal))
        return FOREIGN;
    if (is_over(l->x, c->last_ns, l->now))
        return 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct dedupe_id id;
        if (i + AHEAD < c->count) {
            memcpy(id.bytes, c->ids + (size_t)(i + AHEAD) * DEDUPE_ID_BYTES, sizeof(id.bytes));
            dedupe_table_prefetch(l->x->options.table, &id);
        }
        memcpy(id.bytes, c->ids + (size_t)i * DEDUPE_ID_BYTES, sizeof(id.bytes));
        int rc = dedupe_table_put(l->x->options.table, &id, l->h->number);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What a crash tore from the newest file was not counted on by anybody. */
static void cut(struct dedupe_index *x, uint64_t seq, uint64_t good_bytes)
{
    struct dedupe_bucket b;
    struct err e = {0};
    if (good_bytes == 0)
        file_remove(x, seq);
    else if (dedupe_bucket_reopen(&b, x->options.io, x->options.path, seq, good_bytes, &e) == 0)
        dedupe_bucket_close(&b);
    else
        log_warn("dedupe.store", "%s; its damaged end is met again at the next start", e.text);
}

/* What the newest file shows may be in memory only, when the process before was killed between
 * write and sync. Once anything else counts on it, it must not go away any more. */
static int make_durable(struct dedupe_index *x, uint64_t seq)
{
    const struct io *io = x->options.io;
    char path[DEDUPE_PATH_CAP];
    dedupe_bucket_path(x->options.path, seq, path);
    int fd = io->open(io->ctx, path, IO_WRITE);
    if (fd == -ENOENT)
        return 0; /* it had no head, and was removed */
    int rc = fd < 0 ? fd : io->fdatasync(io->ctx, fd);
    if (fd >= 0)
        (void)io->close(io->ctx, fd); /* what counts was synced */
    if (rc == 0)
        rc = io->sync_dir(io->ctx, x->options.path);
    if (rc != 0)
        log_warn("dedupe.store", "syncing %s: %s; its ids are read from the log", path,
                 err_text(rc));
    return rc;
}

/* *through: of the files before this one; becomes that of this one too. *safe: the log must be read
 * from behind it. */
static int load_file(struct dedupe_index *x, uint64_t seq, bool newest, uint64_t *through,
                     uint64_t *safe, struct err *e)
{
    struct dedupe_bucket_found found;
    struct loading l = {.x = x, .found = &found, .now = x->options.now_ns()};
    l.h = bucket_open(x, seq);
    int rc = dedupe_bucket_read(x->options.io, x->options.path, seq, &x->scratch, load_chunk, &l,
                                &found, e);
    if (rc == 0 && found.good_bytes > 0 && is_foreign(x, &found.head))
        rc = FOREIGN;
    if (rc == FOREIGN || rc == -ENOMEM)
        return rc;
    if (rc != 0) { /* as good as damaged */
        log_warn("dedupe.damaged", "%s", e->text);
        found.whole = false;
    }
    *l.h = (struct dedupe_held){.seq = seq,
                                .first_ns = found.first_ns,
                                .last_ns = found.last_ns,
                                .ids = found.ids,
                                .good_bytes = found.good_bytes,
                                .number = l.h->number,
                                .torn = !found.whole && !newest};
    if (!found.whole && newest)
        cut(x, seq, found.good_bytes);
    if (newest && make_durable(x, seq) != 0)
        *safe = *through < *safe ? *through : *safe;
    if (found.through > *through)
        *through = found.through;
    if (!found.whole && !newest) {
        log_warn("dedupe.damaged",
                 "%s/%016" PRIx64 ".ids: damaged after byte %" PRIu64
                 "; the ids behind it are taken from the log, as far as it has them",
                 x->options.path, seq, found.good_bytes);
        *safe = *through < *safe ? *through : *safe;
    }
    return 0;
}

static void forget_all(struct dedupe_index *x, const struct buf *seqs)
{
    for (uint32_t i = 0; i < x->held_count; i++)
        (void)dedupe_table_forget(x->options.table, x->held[i].number);
    x->held_count = 0;
    for (size_t i = 0; i < seqs->len; i += sizeof(uint64_t))
        file_remove(x, le64_get(seqs->ptr + i));
}

/* Files in number order. *position: where the log must be read on from. */
static int load_files(struct dedupe_index *x, const struct buf *seqs, uint64_t *position,
                      struct err *e)
{
    size_t count = seqs->len / sizeof(uint64_t), skip = 0;
    uint64_t through = 0, safe = UINT64_MAX;
    for (; count - skip > DEDUPE_BUCKETS - 2; skip++)
        file_remove(x, le64_get(seqs->ptr + skip * sizeof(uint64_t)));
    for (size_t i = skip; i < count; i++) {
        uint64_t seq = le64_get(seqs->ptr + i * sizeof(uint64_t));
        if (i > skip && seq != x->next_seq) {
            log_warn("dedupe.damaged",
                     "%s: a file before %016" PRIx64
                     ".ids is missing; its ids are taken from the log, as far as it has them",
                     x->options.path, seq);
            safe = through < safe ? through : safe;
        }
        int rc = load_file(x, seq, i + 1 == count, &through, &safe, e);
        if (rc != 0)
            return rc;
        x->next_seq = seq + 1;
    }
    *position = through < safe ? through : safe;
    return 0;
}

int dedupe_index_load(struct dedupe_index *x, struct err *e)
{
    struct buf seqs;
    struct wal_stats stats;
    uint64_t position = 0;
    buf_init(&seqs, SIZE_MAX);
    int rc = dedupe_bucket_list(x->options.io, x->options.path, &seqs, e);
    if (rc == 0)
        rc = load_files(x, &seqs, &position, e);
    if (rc == FOREIGN) {
        log_warn("dedupe.rebuilt",
                 "%s belongs to another log, or to a later state of this one; the ids are taken "
                 "from the log, those older than it are forgotten",
                 x->options.path);
        forget_all(x, &seqs);
        position = 0;
        rc = 0;
    }
    buf_fini(&seqs);
    wal_stats_get(x->options.wal, &stats);
    if (current(x) != NULL)
        atomic_store(&x->current, current(x)->number);
    x->durable = position;
    x->applied = position + 1 > stats.first_index ? position : stats.first_index - 1;
    return rc;
}

int dedupe_index_init(struct dedupe_index *x, const struct dedupe_index_options *options,
                      struct err *e)
{
    *x = (struct dedupe_index){.options = *options, .file = {.fd = -1}, .next_seq = 1};
    buf_init(&x->waiting, SIZE_MAX);
    buf_init(&x->scratch, SIZE_MAX);
    x->holder = options->commit != NULL ? commit_hold(options->commit, 0) : 0;
    if (x->holder < 0)
        return err_set(e, x->holder, "dedupe: too many hold the log");
    x->ids = metric_new(METRIC_GAUGE, "wavehouse_dedupe_ids", "Ids that are known.", NULL);
    x->bytes = metric_new(METRIC_GAUGE, "wavehouse_dedupe_memory_bytes",
                          "Memory of the ids that are known.", NULL);
    x->lag = metric_new(METRIC_GAUGE, "wavehouse_dedupe_index_lag_entries",
                        "Committed log entries whose ids are not in the index files yet.", NULL);
    x->dropped_early =
        metric_new(METRIC_COUNTER, "wavehouse_dedupe_dropped_early_total",
                   "Ids forgotten before dedupe.retention, for dedupe.max_ids.", NULL);
    return 0;
}

void dedupe_index_close(struct dedupe_index *x)
{
    cursor_drop(x);
    dedupe_bucket_close(&x->file);
    buf_fini(&x->waiting);
    buf_fini(&x->scratch);
}

/* ---- a turn ---- */

static bool write_due(const struct dedupe_index *x, bool all)
{
    uint64_t age = io_monotonic_ns() - x->written_ns;
    if (x->waiting.len > 0)
        return all || x->waiting.len >= WRITE_IDS_BYTES || age > WRITE_EVERY_NS;
    return x->applied > x->durable && (all || age > MARK_EVERY_NS);
}

/* What was read again is in the files: the damage that led there can go. */
static void cut_torn(struct dedupe_index *x)
{
    for (uint32_t i = 0; i + 1 < x->held_count; i++) {
        struct dedupe_held *h = &x->held[i];
        if (h->torn)
            cut(x, h->seq, h->good_bytes);
        h->torn = false;
    }
}

static void forget_old(struct dedupe_index *x)
{
    uint64_t now = x->options.now_ns();
    while (x->held_count > 1 && is_over(x, x->held[0].last_ns, now))
        (void)bucket_drop(x);
    struct dedupe_held *h = current(x);
    if (h != NULL && h->ids > 0 && is_over(x, h->last_ns, now) &&
        x->applied == wal_commit_index(x->options.wal) &&
        dedupe_table_pending(x->options.table) == 0)
        (void)rotate(x); /* and the next turn drops it */
}

static void forget_too_many(struct dedupe_index *x)
{
    while (x->caught_up && dedupe_table_count(x->options.table) > x->options.limits.max_ids) {
        if (x->held_count < 2 && rotate(x) != 0)
            return;
        drop_early(x);
    }
}

bool dedupe_index_turn(struct dedupe_index *x, bool write_all)
{
    bool more = read_log(x);
    if (current(x) != NULL && write_due(x, write_all && !more) && write_down(x) == 0 &&
        x->caught_up)
        cut_torn(x);
    forget_old(x);
    forget_too_many(x);
    if (x->waiting.len == 0 && x->waiting.cap > MIB && !more) {
        buf_fini(&x->waiting);
        buf_init(&x->waiting, SIZE_MAX);
    }
    if (x->options.commit != NULL)
        commit_hold_move(x->options.commit, x->holder,
                         (x->waiting.len == 0 ? x->applied : x->durable) + 1);
    uint64_t end = wal_commit_index(x->options.wal);
    metric_set(x->ids, (int64_t)dedupe_table_count(x->options.table));
    metric_set(x->bytes, (int64_t)dedupe_table_bytes(x->options.table));
    uint64_t safe = x->waiting.len == 0 ? x->applied : x->durable;
    metric_set(x->lag, end > safe ? (int64_t)(end - safe) : 0);
    return more;
}
