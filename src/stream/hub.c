/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's thread.
 *
 *   each turn: messages → other rights? → live: entries of the log to the channels, blocks out
 *                                       → some slices of the log for those who are behind
 *
 * Live and slices take turns, and slices go round, so that nobody waits for somebody else's
 * backlog. When a loop has more in flight than it should, the hub waits for it: the log keeps what
 * comes meanwhile. */
#include "stream/priv.h"

#include "base/log.h"
#include "flush/entry.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define CURSOR_RETRY_MS 200

/* ---- messages ---- */

struct stream_msg *stream_msg_new(enum stream_verb verb)
{
    struct stream_msg *m = calloc(1, sizeof(*m));
    if (m != NULL)
        m->verb = verb;
    return m;
}

void stream_msg_free(struct stream_msg *m)
{
    if (m == NULL)
        return;
    http_block_unref(m->block);
    free(m);
}

void stream_sub_free(struct stream_sub *sub)
{
    sub->magic = 0;
    access_claims_unref(sub->claims);
    free(sub);
}

void stream_post(struct stream_loop *l, struct stream_msg *m)
{
    if (m->block != NULL)
        atomic_fetch_add_explicit(&l->in_flight, http_block_bytes(m->block).len,
                                  memory_order_relaxed);
    queue_push(&l->inbox, &m->link);
}

/* A loop has enough to do. */
static bool loops_full(struct stream_hub *h)
{
    uint32_t count = atomic_load(&h->loop_count);
    for (uint32_t i = 0; i < count; i++)
        if (atomic_load(&h->loops[i]->in_flight) > STREAM_FLIGHT_BYTES)
            return true;
    return false;
}

/* ---- channels ---- */

/* Frames gathered for the channel go out. False: no memory, and its members were told to read the
 * log from there. */
static void channel_send(struct stream_hub *h, struct stream_channel *ch)
{
    uint32_t count = atomic_load(&h->loop_count);
    if (ch->frames == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        if (ch->loops[i].attached == 0)
            continue;
        struct stream_msg *m = stream_msg_new(STREAM_FRAMES);
        must(m != NULL); /* a hundred bytes */
        m->channel = ch;
        m->at = ch->start;
        m->frames = ch->frames;
        m->total = ch->total - ch->frames;
        /* Without a block, members are behind from there on. */
        m->block = buf_ok(&ch->out) ? http_block_new(buf_slice(&ch->out)) : NULL;
        stream_post(h->loops[i], m);
    }
    ch->frames = 0;
    if (ch->out.cap > 4 * STREAM_BLOCK_BYTES) {
        buf_fini(&ch->out);
        buf_init(&ch->out, SIZE_MAX);
    }
    buf_reset(&ch->out);
}

static void channels_send(struct stream_hub *h)
{
    while (h->dirty != NULL) {
        struct stream_channel *ch = h->dirty;
        h->dirty = ch->dirty_next;
        ch->dirty = false;
        channel_send(h, ch);
        stream_channel_unref(h, ch);
    }
}

static void channel_put(struct stream_hub *h, struct stream_channel *ch, struct stream_class *cl,
                        struct stream_record *rec, struct stream_pos at)
{
    if (!ch->dirty) {
        ch->dirty = true;
        ch->dirty_next = h->dirty;
        h->dirty = ch;
        ch->refs++;
    }
    if (ch->frames == 0)
        ch->start = at;
    stream_frame_put(h, cl, rec, ch->positional, &ch->out);
    ch->frames++;
    ch->total++;
    if (ch->out.len > STREAM_BLOCK_BYTES)
        channel_send(h, ch);
}

static void record_to_channels(struct stream_hub *h, struct stream_class *classes,
                               struct stream_record *rec, struct stream_pos at)
{
    h->record_seq++;
    for (struct stream_class *cl = classes; cl != NULL; cl = cl->next) {
        if (!stream_class_sees(h, cl, rec))
            continue;
        for (uint32_t i = 0; i < cl->channel_count; i++)
            channel_put(h, cl->channels[i], cl, rec, at);
    }
}

/* ---- records of an entry ---- */

/* Who takes the records: fn answers false to stop before this one. */
typedef bool (*record_fn)(struct stream_hub *h, void *arg, struct stream_record *rec,
                          struct stream_pos at);
struct entry_reader {
    record_fn fn;
    void *arg;
    uint32_t first; /* record of the entry */
    bool stopped;
};

static void bad_entry(const struct wal_view *v, const struct err *e)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    if (log_limit_pass(&limit, &dropped))
        log_error("stream.bad_entry",
                  "index=%" PRIu64 ": %s; subscribers do not get its events; repeated=%" PRIu64,
                  v->index, e->text, dropped);
}

static void read_batch(struct stream_hub *h, const struct wal_view *v, struct entry_reader *r)
{
    struct wal_batch b;
    struct err e;
    if (wal_batch_parse(v->payload, &b, &e) != 0) {
        bad_entry(v, &e);
        return;
    }
    for (uint32_t i = r->first; i < b.count && !r->stopped; i++) {
        struct wal_batch_record got = wal_batch_get(&b, i);
        struct stream_record rec = {.text = got.text, .id_ns = got.received_ns};
        r->stopped = !r->fn(h, r->arg, &rec, (struct stream_pos){v->index, i});
    }
}

static void read_dead_letters(struct stream_hub *h, const struct wal_view *v,
                              struct entry_reader *r)
{
    struct flush_dead dead;
    struct flush_dead_item item;
    struct err e = {0};
    int rc = flush_dead_get(v->payload, &dead, &e);
    if (rc == 0 && dead.fate != FLUSH_FATE_DEAD)
        return;
    for (uint32_t i = 0; rc == 0 && !r->stopped; i++) {
        rc = flush_dead_next(&dead, &item, &e);
        if (rc != 0 || i < r->first)
            continue;
        stream_frame_dead_letter(h, &item, &h->frame);
        if (!buf_ok(&h->frame))
            continue;
        struct stream_record rec = {.text = {h->frame.ptr, h->frame.len - LIMIT_JSON_PADDING},
                                    .id_ns = v->time_ns + i,
                                    .table = dead.table};
        r->stopped = !r->fn(h, r->arg, &rec, (struct stream_pos){v->index, i});
    }
    if (rc != 0 && rc != WH_EEND)
        bad_entry(v, &e);
}

/* The table of events that subscribers may see; false: this entry has none. */
static bool events_table(const struct wal_view *v, struct slice *table)
{
    uint32_t count;
    uint8_t flags;
    return v->type == WAL_EVENTS && wal_batch_head(v->payload, table, &count, &flags) &&
           (flags & (WAL_BATCH_HELD | WAL_BATCH_QUIET)) == 0;
}

/* ---- rights ---- */

static void sub_rights(struct stream_hub *h, struct stream_sub *sub)
{
    if (sub->policy_version == h->policy_version && sub->catalog_version == h->catalog_version)
        return;
    struct stream_channel *ch = stream_rights_channel(h, sub);
    if (ch == NULL) /* no memory to find out: nothing is shown, the client comes again */
        return;
    sub->policy_version = h->policy_version;
    sub->catalog_version = h->catalog_version;
    if (ch == sub->channel) {
        stream_channel_unref(h, ch);
        return;
    }
    struct stream_channel *old = sub->channel;
    sub->channel = ch;
    sub->schema_due = sub->positional;
    if (sub->live) {
        struct stream_msg *m = stream_msg_new(STREAM_MOVE);
        must(m != NULL);
        m->sub = sub;
        m->channel = ch;
        old->loops[sub->loop->number].attached--;
        ch->loops[sub->loop->number].attached++;
        if (sub->schema_due) {
            buf_reset(&h->schema);
            stream_frame_schema(ch, &h->schema);
            m->block = http_block_new(buf_slice(&h->schema));
            sub->schema_due = false;
        }
        stream_post(sub->loop, m);
    }
    stream_channel_unref(h, old);
}

/* Another policy, other tables: from the next event on. What a replay may show was decided when it
 * began. */
static void rights_refresh(struct stream_hub *h)
{
    const struct stream_options *o = &h->options;
    uint64_t policy = o->policy_version(o->ctx), catalog = o->catalog_version(o->ctx);
    if (policy == h->policy_version && catalog == h->catalog_version)
        return;
    channels_send(h); /* under the rights of before */
    access_policy_unref(h->policy);
    schema_catalog_unref(h->catalog);
    h->policy = o->policy(o->ctx);
    h->catalog = o->catalog(o->ctx);
    h->policy_version = policy;
    h->catalog_version = catalog;
    for (struct stream_sub *s = h->known.first; s != NULL; s = s->known.next)
        if (s->channel != NULL && s->was_live)
            sub_rights(h, s);
}

/* ---- live ---- */

static bool live_record(struct stream_hub *h, void *arg, struct stream_record *rec,
                        struct stream_pos at)
{
    record_to_channels(h, arg, rec, at);
    return true;
}

static bool cursor_ready(struct stream_hub *h)
{
    struct err e;
    if (h->known.first == NULL) { /* nobody listens: pin nothing */
        wal_cursor_close(h->cursor);
        h->cursor = NULL;
        return false;
    }
    if (h->cursor != NULL)
        return true;
    int rc = wal_cursor_open(&h->cursor, h->options.wal, h->live_index, &e);
    if (rc == WH_ENOTFOUND)
        rc = wal_cursor_open(&h->cursor, h->options.wal, 0, &e);
    h->cursor_failed = rc != 0;
    if (rc != 0) {
        h->cursor = NULL;
        static struct log_limit limit = LOG_LIMIT(10);
        uint64_t dropped;
        if (log_limit_pass(&limit, &dropped))
            log_error("stream.log", "%s; subscribers wait, tried again soon", e.text);
        return false;
    }
    return true;
}

/* True: there may be more. */
static bool live_turn(struct stream_hub *h)
{
    if (h->live_index > wal_commit_index(h->options.wal) || !cursor_ready(h))
        return false;
    uint64_t bytes = 0;
    int rc = 0;
    for (int i = 0; i < STREAM_TURN_ENTRIES && bytes < STREAM_TURN_BYTES; i++) {
        struct wal_view v;
        struct err e = {0};
        rc = wal_cursor_next(h->cursor, &v, &e);
        if (rc == WH_EEND)
            break;
        if (rc != 0) { /* whoever flushes it says more */
            v.index = wal_cursor_index(h->cursor);
            bad_entry(&v, &e);
            if (wal_cursor_seek(h->cursor, v.index + 1, &e) != 0) {
                wal_cursor_close(h->cursor);
                h->cursor = NULL;
                rc = WH_EEND;
                break;
            }
            h->live_index = v.index + 1;
            continue;
        }
        rights_refresh(h);
        struct slice table;
        struct entry_reader r = {.fn = live_record};
        if (events_table(&v, &table)) {
            if ((r.arg = stream_rights_classes(h, table)) != NULL)
                read_batch(h, &v, &r);
        } else if (v.type == WAL_DEAD_LETTER && (r.arg = stream_rights_dead_letters(h)) != NULL) {
            read_dead_letters(h, &v, &r);
        }
        bytes += v.payload.len;
        h->live_index = v.index + 1;
    }
    channels_send(h);
    return rc != WH_EEND;
}

/* ---- slices ---- */

struct slice_arg {
    struct stream_sub *sub;
    struct stream_channel *channel;
    struct slice table; /* of the entry at hand */
    uint64_t frames;
    struct stream_pos at; /* where it goes on */
};

static bool slice_record(struct stream_hub *h, void *arg, struct stream_record *rec,
                         struct stream_pos at)
{
    struct slice_arg *s = arg;
    s->at = at;
    if (h->slice.len >= STREAM_SLICE_BYTES)
        return false;
    s->at.ordinal++;
    if (rec->id_ns < s->sub->min_ns)
        return true;
    h->record_seq++;
    for (uint32_t i = 0; i < s->channel->class_count; i++) {
        struct stream_class *cl = s->channel->classes[i];
        if ((!cl->table->dead_letters && !slice_eq(cl->table->name, s->table)) ||
            !stream_class_sees(h, cl, rec))
            continue;
        stream_frame_put(h, cl, rec, s->channel->positional, &h->slice);
        s->frames++;
    }
    return true;
}

static bool wants_table(const struct stream_channel *ch, struct slice table)
{
    for (uint32_t i = 0; i < ch->class_count; i++)
        if (!ch->classes[i]->table->dead_letters && slice_eq(ch->classes[i]->table->name, table))
            return true;
    return false;
}

/* What it had not read yet has been trimmed: go on with the oldest entry. */
static int jump(struct stream_hub *h, struct stream_sub *sub, struct wal_cursor **cursor,
                struct stream_pos *at, struct err *e)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped, from = at->index;
    int rc = wal_cursor_open(cursor, h->options.wal, 0, e);
    if (rc != 0)
        return rc;
    *at = (struct stream_pos){wal_cursor_index(*cursor), 0};
    if (sub->was_live)
        sub->lost = true; /* counted exactly once it has caught up */
    else if (from != 0)
        metric_add(h->metrics.dropped_replay, (int64_t)(at->index - from));
    if (from != 0 && log_limit_pass(&limit, &dropped))
        log_warn("stream.lost",
                 "a subscriber was behind what the log still has: entries %" PRIu64 " to %" PRIu64
                 " are passed over for it (wal.retain, stream metrics); repeated=%" PRIu64,
                 from, at->index - 1, dropped);
    return 0;
}

/* Read on for sub from *at into h->slice, up to the live position. */
static int slice_read(struct stream_hub *h, struct stream_sub *sub, struct slice_arg *s)
{
    struct err e;
    struct wal_cursor *cursor = NULL;
    uint64_t scanned = 0;
    int rc = wal_cursor_open(&cursor, h->options.wal, s->at.index, &e);
    if (rc == WH_ENOTFOUND)
        rc = jump(h, sub, &cursor, &s->at, &e);
    while (rc == 0 && s->at.index < h->live_index && scanned < STREAM_SCAN_BYTES &&
           h->slice.len < STREAM_SLICE_BYTES) {
        struct wal_view v;
        rc = wal_cursor_next(cursor, &v, &e);
        if (rc == WH_ECORRUPT) {
            v.index = s->at.index;
            bad_entry(&v, &e);
            s->at = (struct stream_pos){v.index + 1, 0};
            rc = wal_cursor_seek(cursor, v.index + 1, &e);
            continue;
        }
        if (rc != 0)
            break;
        struct entry_reader r = {.fn = slice_record, .arg = s, .first = s->at.ordinal};
        scanned += v.payload.len + 64;
        if (v.time_ns >= sub->min_ns) {
            if (events_table(&v, &s->table) && wants_table(s->channel, s->table))
                read_batch(h, &v, &r);
            else if (v.type == WAL_DEAD_LETTER && s->channel->class_count == 1 &&
                     s->channel->classes[0]->table->dead_letters)
                read_dead_letters(h, &v, &r);
        }
        if (!r.stopped)
            s->at = (struct stream_pos){v.index + 1, 0};
    }
    wal_cursor_close(cursor);
    return rc == WH_EEND ? 0 : rc;
}

/* Where a replay begins: a seek by time, which never is behind the first event asked for. */
static int replay_begin(struct stream_hub *h, struct stream_sub *sub, struct stream_pos *at)
{
    struct err e;
    struct wal_cursor *cursor;
    sub->min_ns = sub->from == STREAM_AFTER ? sub->from_ns + 1 : sub->from_ns;
    int rc = wal_cursor_open(&cursor, h->options.wal, 0, &e);
    if (rc != 0)
        return rc;
    rc = wal_cursor_seek_time(cursor, sub->min_ns, &e);
    *at = (struct stream_pos){wal_cursor_index(cursor), 0};
    wal_cursor_close(cursor);
    return rc;
}

static void attach(struct stream_hub *h, struct stream_sub *sub)
{
    struct stream_channel *ch = sub->channel;
    if (sub->lost && sub->fell_from == ch) {
        uint64_t missed = ch->total - sub->behind_total;
        if (missed > sub->behind_got)
            metric_add(h->metrics.dropped_event, (int64_t)(missed - sub->behind_got));
    }
    sub->lost = false;
    sub->live = sub->was_live = true;
    sub->min_ns = 0;
    sub->msg.channel = ch;
    sub->msg.attach = true;
    ch->loops[sub->loop->number].attached++;
}

/* One slice for the first who waits; back to its loop, or to the end of the line. */
static void slice_next(struct stream_hub *h)
{
    struct stream_sub *sub = h->wants.first;
    struct stream_msg *m = &sub->msg;
    STREAM_LIST_REMOVE(&h->wants, sub, wants);
    struct slice_arg s = {.sub = sub, .channel = sub->channel, .at = m->at};
    int rc = 0;
    buf_reset(&h->slice);
    if (sub->schema_due) {
        stream_frame_schema(sub->channel, &h->slice);
        sub->schema_due = false;
    }
    if (s.at.index < h->live_index)
        rc = slice_read(h, sub, &s);
    m->at = s.at;
    m->frames = s.frames;
    sub->behind_got += s.frames;
    if (rc != 0 || !buf_ok(&h->slice)) {
        m->verb = STREAM_FAIL; /* its loop ends it; the client comes again with its last id */
        stream_post(sub->loop, m);
        return;
    }
    bool level = m->at.index >= h->live_index;
    if (level) {
        sub_rights(h, sub); /* a replay ends: from here on it is today's policy */
        attach(h, sub);
        if (sub->schema_due) {
            stream_frame_schema(sub->channel, &h->slice);
            sub->schema_due = false;
        }
    }
    if (h->slice.len == 0 && !level) {
        STREAM_LIST_APPEND(&h->wants, sub, wants);
        return;
    }
    if (h->slice.len > 0 && (m->block = http_block_new(buf_slice(&h->slice))) == NULL) {
        /* What it missed is read again. */
        if (level) {
            sub->live = false;
            sub->channel->loops[sub->loop->number].attached--;
        }
        m->verb = STREAM_FAIL;
        m->attach = false;
    }
    stream_post(sub->loop, m);
}

/* ---- the turn ---- */

static void on_want(struct stream_hub *h, struct stream_sub *sub)
{
    struct stream_msg *m = &sub->msg;
    if (sub->live) { /* it fell behind */
        sub->live = false;
        sub->channel->loops[sub->loop->number].attached--;
        sub->fell_from = m->channel;
        sub->behind_total = m->total;
        sub->behind_got = 0;
    }
    if (sub->channel == NULL) { /* new */
        if (h->known.first == NULL) {
            wal_cursor_close(h->cursor);
            h->cursor = NULL;
            h->live_index = wal_commit_index(h->options.wal) + 1;
        }
        if (m->at.index > h->live_index)
            m->at.index = h->live_index;
        STREAM_LIST_APPEND(&h->known, sub, known);
        sub->channel = stream_rights_channel(h, sub);
        sub->policy_version = h->policy_version;
        sub->catalog_version = h->catalog_version;
        sub->schema_due = sub->positional;
        if (sub->channel == NULL ||
            (sub->from != STREAM_LIVE && replay_begin(h, sub, &m->at) != 0)) {
            m->verb = STREAM_FAIL;
            stream_post(sub->loop, m);
            return;
        }
    }
    m->channel = NULL;
    m->attach = false;
    STREAM_LIST_APPEND(&h->wants, sub, wants);
}

static void on_leave(struct stream_hub *h, struct stream_sub *sub)
{
    if (sub->live)
        sub->channel->loops[sub->loop->number].attached--;
    sub->live = false;
    STREAM_LIST_REMOVE(&h->known, sub, known);
    stream_channel_unref(h, sub->channel);
    sub->channel = NULL;
    stream_post(sub->loop, &sub->msg);
}

static void messages(struct stream_hub *h)
{
    struct queue_link *link;
    while ((link = queue_pop(&h->inbox)) != NULL) {
        struct stream_msg *m = QUEUE_ITEM(link, struct stream_msg, link);
        if (m->verb == STREAM_END) {
            struct stream_channel *ch = m->channel;
            stream_msg_free(m);
            if (--ch->ends_out == 0)
                stream_channel_free(h, ch);
        } else if (m->verb == STREAM_LEAVE) {
            on_leave(h, m->sub);
        } else {
            on_want(h, m->sub);
        }
    }
}

static void wait_for_work(struct stream_hub *h)
{
    if (!queue_sleep(&h->inbox))
        return;
    /* A commit, or a loop that has room again, woke nobody between our last look and here. */
    bool work = (h->known.first != NULL && h->live_index <= wal_commit_index(h->options.wal)) ||
                h->wants.first != NULL;
    struct pollfd fd = {.fd = queue_fd(&h->inbox), .events = POLLIN};
    (void)poll(&fd, 1, !work || loops_full(h) ? -1 : h->cursor_failed ? CURSOR_RETRY_MS : 0);
    queue_wake_ack(&h->inbox);
}

static void *hub_main(void *arg)
{
    struct stream_hub *h = arg;
    (void)pthread_setname_np(pthread_self(), "wh-stream");
    while (!atomic_load(&h->stopping)) {
        rights_refresh(h);
        messages(h);
        if (loops_full(h)) {
            wait_for_work(h);
            continue;
        }
        bool more = live_turn(h);
        for (int i = 0; i < STREAM_TURN_SLICES && h->wants.first != NULL && !loops_full(h); i++)
            slice_next(h);
        if (!more && h->wants.first == NULL)
            wait_for_work(h);
    }
    messages(h);
    return NULL;
}

/* ---- life ---- */

/* Loops are at rest. What subscribers had a share in ends; they themselves are their loops'. */
static void let_go(struct stream_hub *h)
{
    while (h->known.first != NULL) {
        struct stream_sub *sub = h->known.first;
        STREAM_LIST_REMOVE(&h->known, sub, known);
        stream_channel_unref(h, sub->channel);
        sub->channel = NULL;
    }
    h->wants = (struct stream_list){NULL, NULL};
}

static struct metric *kind_metric(const char *name, const char *help, const char *kind)
{
    return metric_new(METRIC_COUNTER, name, help, "kind=\"%s\"", kind);
}

static void metrics_make(struct stream_metrics *m)
{
    static const char frames[] = "wavehouse_sse_frames_sent_total",
                      bytes[] = "wavehouse_sse_bytes_sent_total",
                      dropped[] = "wavehouse_sse_dropped_frames_total";
    static const char frames_help[] = "Frames given to subscribers' connections.",
                      bytes_help[] = "Bytes of these.",
                      dropped_help[] =
                          "Frames that a subscriber did not get: the log was trimmed before it had "
                          "read them (replay: entries of the log), or it would not take a "
                          "keepalive.";
    m->active = metric_new(METRIC_GAUGE, "wavehouse_sse_active_streams", "Open streams.", NULL);
    m->seconds = metric_new(METRIC_SECONDS, "wavehouse_sse_stream_duration_seconds",
                            "How long streams were open.", NULL);
    m->frames_event = kind_metric(frames, frames_help, "event");
    m->frames_replay = kind_metric(frames, frames_help, "replay");
    m->frames_keepalive = kind_metric(frames, frames_help, "keepalive");
    m->bytes_event = kind_metric(bytes, bytes_help, "event");
    m->bytes_replay = kind_metric(bytes, bytes_help, "replay");
    m->bytes_keepalive = kind_metric(bytes, bytes_help, "keepalive");
    m->dropped_event = kind_metric(dropped, dropped_help, "event");
    m->dropped_replay = kind_metric(dropped, dropped_help, "replay");
    m->dropped_keepalive = kind_metric(dropped, dropped_help, "keepalive");
    m->behind =
        metric_new(METRIC_COUNTER, "wavehouse_sse_fell_behind_total",
                   "Times that a subscriber read too slowly and was served from the log.", NULL);
    m->channels = metric_new(METRIC_GAUGE, "wavehouse_sse_channels",
                             "Kinds of subscribers: the same tables, the same rights.", NULL);
}

int stream_start(struct stream_hub **out, const struct stream_options *options, struct err *e)
{
    struct stream_hub *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return err_set(e, -ENOMEM, "no memory for streams");
    h->magic = STREAM_HUB_MAGIC;
    h->options = *options;
    h->inbox.fd = -1;
    h->live_index = 1;
    h->policy_version = h->catalog_version = UINT64_MAX;
    buf_init(&h->frame, SIZE_MAX);
    buf_init(&h->scratch, SIZE_MAX);
    buf_init(&h->slice, SIZE_MAX);
    buf_init(&h->schema, SIZE_MAX);
    metrics_make(&h->metrics);
    h->loops = calloc(options->loops, sizeof(struct stream_loop *));
    h->tables = calloc(STREAM_BUCKETS, sizeof(struct stream_table *));
    h->classes = calloc(STREAM_BUCKETS, sizeof(struct stream_class *));
    h->channels = calloc(STREAM_BUCKETS, sizeof(struct stream_channel *));
    h->predicates = access_predicates_new();
    h->reader = json_reader_new(LIMIT_INGEST_BODY_BYTES_HARD);
    int rc = h->loops != NULL && h->tables != NULL && h->classes != NULL && h->channels != NULL &&
                     h->predicates != NULL && h->reader != NULL
                 ? queue_init(&h->inbox, SIZE_MAX)
                 : -ENOMEM;
    if (rc == 0)
        rc = commit_subscribe(options->commit, &h->inbox);
    if (rc == 0) {
        rc = -pthread_create(&h->thread, NULL, hub_main, h);
        h->running = rc == 0;
        if (rc != 0)
            commit_unsubscribe(options->commit, &h->inbox);
    }
    if (rc != 0) {
        h->stopped = true;
        stream_free(h);
        return err_set_errno(e, rc, "starting the thread for streams");
    }
    *out = h;
    return 0;
}

void stream_stop(struct stream_hub *h)
{
    if (h == NULL || !h->running)
        return;
    CHECK_MAGIC(h, STREAM_HUB_MAGIC);
    atomic_store(&h->stopping, true);
    queue_wake(&h->inbox);
    (void)pthread_join(h->thread, NULL);
    commit_unsubscribe(h->options.commit, &h->inbox);
    wal_cursor_close(h->cursor);
    h->cursor = NULL;
    let_go(h);
    h->running = false;
    h->stopped = true;
}

void stream_free(struct stream_hub *h)
{
    if (h == NULL)
        return;
    CHECK_MAGIC(h, STREAM_HUB_MAGIC);
    must(!h->running && atomic_load(&h->loop_count) == 0);
    if (h->inbox.fd >= 0) {
        messages(h); /* of loops that are gone: subscribers are freed by them, channels here */
        queue_fini(&h->inbox);
    }
    access_policy_unref(h->policy);
    schema_catalog_unref(h->catalog);
    access_predicates_free(h->predicates);
    json_reader_free(h->reader);
    free(h->loops);
    free(h->tables);
    free(h->classes);
    free(h->channels);
    buf_fini(&h->frame);
    buf_fini(&h->scratch);
    buf_fini(&h->slice);
    buf_fini(&h->schema);
    h->magic = 0;
    free(h);
}
