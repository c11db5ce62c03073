/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's side: who listens here, and how much they have taken.
 *
 *   live (in a channel) ── more queued than STREAM_BEHIND_BYTES ──► behind
 *        ▲                                                            │ less than
 * STREAM_ROOM_BYTES: └── the hub: level with the log, in this channel again ◄── ask, get a slice,
 * ask …
 */
#include "stream/priv.h"

#include "io/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMER_MS          200
#define KEEPALIVES_A_TURN 1000 /* of one loop: 5000 a second */
#define EXPIRY_EVERY_MS   1000
#define NOTE_CAP          128

static uint64_t now_ms(void)
{
    return io_monotonic_ns() / 1000000;
}

/* ---- members ---- */

static void member_add(struct stream_sub *sub, struct stream_channel *ch)
{
    struct stream_channel_loop *at = &ch->loops[sub->loop->number];
    must(sub->in == NULL);
    sub->in = ch;
    sub->member.prev = NULL;
    sub->member.next = at->members;
    if (at->members != NULL)
        at->members->member.prev = sub;
    at->members = sub;
}

static void member_remove(struct stream_sub *sub)
{
    if (sub->in == NULL)
        return;
    struct stream_channel_loop *at = &sub->in->loops[sub->loop->number];
    *(sub->member.prev != NULL ? &sub->member.prev->member.next : &at->members) = sub->member.next;
    if (sub->member.next != NULL)
        sub->member.next->member.prev = sub->member.prev;
    sub->in = NULL;
}

/* ---- to the hub ---- */

static void tell_hub(struct stream_sub *sub, enum stream_verb verb)
{
    must(!sub->asked);
    sub->asked = true;
    sub->msg.verb = verb;
    queue_push(&sub->loop->hub->inbox, &sub->msg.link);
}

/* More of the log, from where it is. */
static void ask(struct stream_sub *sub)
{
    sub->msg.at = sub->pos;
    sub->msg.total = sub->fell_total;
    tell_hub(sub, STREAM_WANT);
}

/* The stream is gone, whoever ended it. */
static void gone(struct stream_sub *sub)
{
    struct stream_hub *h = sub->loop->hub;
    must(!sub->leaving);
    sub->http = NULL;
    sub->leaving = true;
    metric_add(h->metrics.active, -1);
    metric_observe(h->metrics.seconds, io_monotonic_ns() - sub->began_ns);
    atomic_fetch_sub(&h->subscribers, 1);
    if (h->stopped) {
        sub->in = NULL; /* channels are the hub's to free */
        return;
    }
    member_remove(sub);
    if (!sub->asked)
        tell_hub(sub, STREAM_LEAVE);
}

static void on_closed(void *ctx)
{
    struct stream_sub *sub = ctx;
    CHECK_MAGIC(sub, STREAM_SUB_MAGIC);
    gone(sub);
}

static void on_room(void *ctx)
{
    struct stream_sub *sub = ctx;
    CHECK_MAGIC(sub, STREAM_SUB_MAGIC);
    if (sub->in == NULL && !sub->asked && !sub->leaving)
        ask(sub);
}

/* ---- from the hub ---- */

static void fall_behind(struct stream_sub *sub, const struct stream_msg *m)
{
    sub->msg.channel = sub->in;
    member_remove(sub);
    sub->pos = m->at;
    sub->fell_total = m->total;
    metric_add(sub->loop->hub->metrics.behind, 1);
    if (http_stream_queued(sub->http) <= STREAM_ROOM_BYTES)
        ask(sub); /* else when there is room */
}

static void on_frames(struct stream_loop *l, const struct stream_msg *m)
{
    const struct stream_metrics *metrics = &l->hub->metrics;
    int64_t written = 0;
    struct stream_sub *next;
    for (struct stream_sub *sub = m->channel->loops[l->number].members; sub != NULL; sub = next) {
        next = sub->member.next;
        if (m->block == NULL || http_stream_queued(sub->http) > STREAM_BEHIND_BYTES)
            fall_behind(sub, m);
        else if (http_stream_write_block(sub->http, m->block) != 0)
            gone(sub);
        else
            written++;
    }
    if (written == 0)
        return;
    metric_add(metrics->frames_event, written * (int64_t)m->frames);
    metric_add(metrics->bytes_event, written * (int64_t)http_block_bytes(m->block).len);
}

static bool write_to(struct stream_sub *sub, struct http_block *block)
{
    if (block == NULL || http_stream_write_block(sub->http, block) == 0)
        return true;
    gone(sub);
    return false;
}

static void on_move(struct stream_msg *m)
{
    struct stream_sub *sub = m->sub;
    if (sub->leaving || !write_to(sub, m->block) || sub->in == NULL)
        return;
    member_remove(sub);
    member_add(sub, m->channel);
}

static void on_slice(struct stream_sub *sub)
{
    struct stream_hub *h = sub->loop->hub;
    struct stream_msg *m = &sub->msg;
    struct http_block *block = m->block;
    m->block = NULL;
    sub->asked = false;
    sub->pos = m->at;
    if (!sub->leaving && m->verb == STREAM_FAIL) {
        http_stream_end(sub->http, false);
        gone(sub);
    } else if (sub->leaving) {
        tell_hub(sub, STREAM_LEAVE);
    } else if (write_to(sub, block)) {
        metric_add(sub->replay ? h->metrics.frames_replay : h->metrics.frames_event,
                   (int64_t)m->frames);
        if (block != NULL)
            metric_add(sub->replay ? h->metrics.bytes_replay : h->metrics.bytes_event,
                       (int64_t)http_block_bytes(block).len);
        if (m->attach) {
            sub->replay = false;
            member_add(sub, m->channel);
        } else if (http_stream_queued(sub->http) <= STREAM_ROOM_BYTES) {
            ask(sub);
        }
    }
    http_block_unref(block);
}

static void sub_drop(struct stream_loop *l, struct stream_sub *sub)
{
    STREAM_LIST_REMOVE(&l->all, sub, all);
    stream_sub_free(sub);
}

static void on_messages(void *arg)
{
    struct stream_loop *l = arg;
    struct queue_link *link;
    uint64_t taken = 0;
    CHECK_MAGIC(l, STREAM_LOOP_MAGIC);
    while ((link = queue_pop(&l->inbox)) != NULL) {
        struct stream_msg *m = QUEUE_ITEM(link, struct stream_msg, link);
        taken += m->block != NULL ? http_block_bytes(m->block).len : 0;
        switch (m->verb) {
        case STREAM_FRAMES:
            on_frames(l, m);
            stream_msg_free(m);
            break;
        case STREAM_MOVE:
            on_move(m);
            stream_msg_free(m);
            break;
        case STREAM_END:
            queue_push(&l->hub->inbox, &m->link);
            break;
        case STREAM_WANT:
        case STREAM_FAIL:
            on_slice(m->sub);
            break;
        case STREAM_LEAVE:
            sub_drop(l, m->sub);
            break;
        }
    }
    uint64_t before = atomic_fetch_sub(&l->in_flight, taken);
    if (before > STREAM_FLIGHT_BYTES && before - taken <= STREAM_FLIGHT_BYTES)
        queue_wake_sleeper(&l->hub->inbox);
}

/* ---- time ---- */

/* Silence is at most keepalive_ms long: the instants are multiples of a part of it, so that
 * subscribers share wake-ups, and a crowd is spread over the parts. */
static uint64_t keepalive_next(const struct stream_loop *l, uint64_t ms)
{
    uint64_t part = l->settings.keepalive_ms / l->settings.keepalive_buckets;
    part = part > 0 ? part : 1;
    return (ms + l->settings.keepalive_ms) / part * part;
}

static void keepalives(struct stream_loop *l, uint64_t ms)
{
    const struct stream_metrics *m = &l->hub->metrics;
    static const struct slice comment = {":\n\n", 3};
    for (int i = 0; i < KEEPALIVES_A_TURN && l->all.first != NULL; i++) {
        struct stream_sub *sub = l->all.first;
        if (sub->keepalive_at_ms > ms)
            break;
        STREAM_LIST_REMOVE(&l->all, sub, all);
        sub->keepalive_at_ms = keepalive_next(l, ms);
        STREAM_LIST_APPEND(&l->all, sub, all);
        if (sub->leaving)
            continue;
        if (http_stream_queued(sub->http) > 0) { /* it has enough to read */
            metric_add(m->dropped_keepalive, 1);
        } else if (http_stream_write(sub->http, comment) != 0) {
            gone(sub);
        } else {
            metric_add(m->frames_keepalive, 1);
            metric_add(m->bytes_keepalive, (int64_t)comment.len);
        }
    }
}

static void expiries(struct stream_loop *l, uint64_t ms)
{
    if (!l->settings.close_on_token_expiry || ms - l->expiry_looked_ms < EXPIRY_EVERY_MS)
        return;
    l->expiry_looked_ms = ms;
    uint64_t now_ns = io_realtime_ns();
    for (struct stream_sub *sub = l->all.first; sub != NULL; sub = sub->all.next)
        if (!sub->leaving && sub->expires_ns != 0 && sub->expires_ns <= now_ns) {
            http_stream_end(sub->http, true);
            gone(sub);
        }
}

static void on_timer(void *arg)
{
    struct stream_loop *l = arg;
    CHECK_MAGIC(l, STREAM_LOOP_MAGIC);
    if (l->all.first == NULL)
        return;
    uint64_t ms = now_ms();
    keepalives(l, ms);
    expiries(l, ms);
}

/* ---- subscribing ---- */

static struct stream_sub *sub_new(struct stream_loop *l, const struct stream_ask *ask_for)
{
    const struct access_caller *caller = ask_for->caller;
    size_t text = caller->role.len;
    for (uint32_t i = 0; i < ask_for->table_count; i++)
        text += ask_for->tables[i].len;
    size_t list = ask_for->table_count * sizeof(struct slice);
    struct stream_sub *sub = calloc(1, sizeof(*sub) + list + text);
    if (sub == NULL)
        return NULL;
    char *at = (char *)(sub + 1) + list;
    sub->magic = STREAM_SUB_MAGIC;
    sub->loop = l;
    sub->msg.sub = sub;
    sub->caller = *caller;
    if (caller->role.len > 0)
        memcpy(at, caller->role.ptr, caller->role.len);
    sub->caller.role = (struct slice){at, caller->role.len};
    at += caller->role.len;
    sub->tables = (struct slice *)(void *)(sub + 1);
    sub->table_count = ask_for->table_count;
    for (uint32_t i = 0; i < ask_for->table_count; i++) {
        struct slice name = ask_for->tables[i];
        if (name.len > 0)
            memcpy(at, name.ptr, name.len);
        sub->tables[i] = (struct slice){at, name.len};
        at += name.len;
    }
    sub->claims = ask_for->claims != NULL ? access_claims_ref(ask_for->claims) : NULL;
    sub->unrestricted = ask_for->unrestricted;
    sub->positional = ask_for->positional;
    sub->from = ask_for->from;
    sub->from_ns = ask_for->from_ns;
    sub->replay = ask_for->from != STREAM_LIVE;
    sub->expires_ns = ask_for->expires_ns;
    sub->began_ns = io_monotonic_ns();
    /* What is committed from here on is live, although the hub learns of it a little later. */
    sub->pos.index = wal_commit_index(l->hub->options.wal) + 1;
    return sub;
}

int stream_subscribe(struct stream_loop *l, struct http_request *r,
                     const struct stream_ask *ask_for)
{
    struct stream_hub *h = l->hub;
    CHECK_MAGIC(l, STREAM_LOOP_MAGIC);
    must(ask_for->table_count <= STREAM_TABLES_MAX);
    if (h->stopped)
        return WH_EFULL;
    if (atomic_fetch_add(&h->subscribers, 1) >= l->settings.max_subscribers) {
        atomic_fetch_sub(&h->subscribers, 1);
        return WH_EFULL;
    }
    struct stream_sub *sub = sub_new(l, ask_for);
    if (sub == NULL) {
        atomic_fetch_sub(&h->subscribers, 1);
        return -ENOMEM;
    }
    char first[NOTE_CAP];
    int n =
        snprintf(first, sizeof(first), ": connected\n\n%s%s%s", ask_for->note != NULL ? ": " : "",
                 ask_for->note != NULL ? ask_for->note : "", ask_for->note != NULL ? "\n\n" : "");
    must(n > 0 && (size_t)n < sizeof(first));
    const struct http_reply head = {.status = 200,
                                    .content_type = "text/event-stream",
                                    .extra = SLICE_LIT("Cache-Control: no-cache\r\n"
                                                       "X-Accel-Buffering: no\r\n"),
                                    .body = {first, (size_t)n}};
    const struct http_stream_events events = {.ctx = sub,
                                              .on_room = on_room,
                                              .on_closed = on_closed,
                                              .room_bytes = STREAM_ROOM_BYTES,
                                              .endless = true};
    if (http_stream_begin(r, &head, &events, &sub->http) != 0) {
        atomic_fetch_sub(&h->subscribers, 1);
        stream_sub_free(sub);
        return 0; /* answered, or nobody is there */
    }
    metric_add(h->metrics.active, 1);
    sub->keepalive_at_ms = keepalive_next(l, now_ms());
    STREAM_LIST_APPEND(&l->all, sub, all);
    ask(sub);
    return 0;
}

/* ---- life ---- */

void stream_loop_reload(struct stream_loop *l, const struct stream_settings *settings)
{
    must(settings->keepalive_buckets > 0);
    l->settings = *settings;
}

int stream_loop_new(struct stream_loop **out, struct stream_hub *h, struct loop *loop,
                    const struct stream_settings *settings, struct err *e)
{
    uint32_t number = atomic_load(&h->loop_count);
    must(number < h->options.loops);
    struct stream_loop *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return err_set(e, -ENOMEM, "no memory for streams");
    l->magic = STREAM_LOOP_MAGIC;
    l->number = number;
    l->hub = h;
    l->inbox.fd = -1;
    stream_loop_reload(l, settings);
    int rc = queue_init(&l->inbox, SIZE_MAX);
    if (rc == 0)
        rc = loop_watch_queue(loop, &l->inbox, on_messages, l);
    if (rc == 0)
        rc = loop_every(loop, TIMER_MS, on_timer, l);
    if (rc != 0) {
        if (l->inbox.fd >= 0)
            queue_fini(&l->inbox);
        free(l);
        return err_set_errno(e, rc, "making a socket loop");
    }
    h->loops[number] = l;
    atomic_store(&h->loop_count, number + 1);
    *out = l;
    return 0;
}

void stream_loop_free(struct stream_loop *l)
{
    struct queue_link *link;
    if (l == NULL)
        return;
    CHECK_MAGIC(l, STREAM_LOOP_MAGIC);
    must(l->hub->stopped || l->all.first == NULL); /* a start that failed has no subscribers */
    while ((link = queue_pop(&l->inbox)) != NULL) {
        struct stream_msg *m = QUEUE_ITEM(link, struct stream_msg, link);
        if (m->verb == STREAM_FRAMES || m->verb == STREAM_MOVE) {
            stream_msg_free(m);
        } else if (m->verb == STREAM_END) {
            queue_push(&l->hub->inbox, &m->link);
        } else { /* in the subscriber itself */
            http_block_unref(m->block);
            m->block = NULL;
        }
    }
    while (l->all.first != NULL)
        sub_drop(l, l->all.first);
    queue_fini(&l->inbox);
    atomic_fetch_sub(&l->hub->loop_count, 1);
    l->magic = 0;
    free(l);
}
