/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the stream room.
 *
 *   rights.c   who may see what: table → class (grant, predicate) → channel
 *   frame.c    an event as text, as much of it as a class may see
 *   hub.c      the thread: live events, slices of the log for those behind, messages
 *   fan.c      the loop's side: subscribers, back-pressure, keepalive
 *
 * A subscriber belongs to its loop; the hub has what is marked as its own, and learns of everything
 * else by messages. Messages from the hub to a loop keep their order, so "from now on you are in
 * this channel" is exact. */
#ifndef WH_STREAM_PRIV_H
#define WH_STREAM_PRIV_H

#include "base/limits.h"
#include "base/magic.h"
#include "base/metric.h"
#include "stream/stream.h"
#include "wal/batch.h"
#include "json/json.h"

#include <pthread.h>

#define STREAM_HUB_MAGIC  0x53485542u
#define STREAM_LOOP_MAGIC 0x534c4f50u
#define STREAM_SUB_MAGIC  0x53535542u

/* A subscriber with more than this queued is served from the log from there on; with less than
 * STREAM_ROOM_BYTES it gets more. What the kernel's socket buffer holds comes on top. */
#define STREAM_BEHIND_BYTES (128 * KIB)
#define STREAM_ROOM_BYTES   (32 * KIB)
/* One slice of the log for one subscriber: frames, and log bytes looked at. */
#define STREAM_SLICE_BYTES (64 * KIB)
#define STREAM_SCAN_BYTES  (4 * MIB)
/* A channel's frames go out at the end of a turn, or when they are so many. */
#define STREAM_BLOCK_BYTES (256 * KIB)
/* A turn of the hub: entries of the log, and bytes. Then it looks at its messages. */
#define STREAM_TURN_ENTRIES 1024
#define STREAM_TURN_BYTES   (1 * MIB)
#define STREAM_TURN_SLICES  64
/* Blocks on their way to one loop; beyond, the hub waits for it. */
#define STREAM_FLIGHT_BYTES (4 * MIB)
#define STREAM_BUCKETS      4096 /* of the hash tables */
#define STREAM_TIME_LEN     30   /* 2026-03-24T12:00:00.123456789Z */
/* Reasons of withholding are the values of enum access_match. */
#define STREAM_REASONS (ACCESS_OPERAND + 1)

/* The next record to look at: its entry, and place in it. */
struct stream_pos {
    uint64_t index;
    uint32_t ordinal;
};

/* ---- who may see what; the hub's ---- */

struct stream_table {
    struct stream_table *next; /* in its bucket */
    struct stream_class *classes;
    uint32_t refs;
    bool dead_letters; /* the stream of dead letters, not a table */
    struct buf prefix; /* {"table_name":"…","received_timestamp":" */
    struct slice name;
    char text[];
};

/* What of a record is shown, and its last rendering. */
struct stream_projection {
    struct stream_projection *next; /* of its table's */
    uint32_t refs;
    const struct access_policy *policy; /* holds the grant; NULL for grant NULL */
    const struct access_grant *grant;   /* NULL: every column */
    struct schema_catalog *catalog;     /* NULL: none was loaded */
    const struct schema_table *schema;  /* NULL: not known */
    bool identity;                      /* the record as it is */
    uint64_t seen[2];                   /* the record that text is of; [1]: positional */
    struct buf text[2];
};

struct stream_class {
    struct stream_class *next, *hash_next; /* of its table; in its bucket */
    struct stream_table *table;
    struct stream_projection *projection;
    struct access_predicate *predicate; /* NULL: every row */
    struct slice role;                  /* for the metric; in projection->policy. Empty: none */
    uint32_t refs;
    uint64_t seen; /* the record that match is of */
    enum access_match match;
    struct metric *withheld[STREAM_REASONS]; /* made when needed */
    struct stream_channel **channels;
    uint32_t channel_count, channel_cap;
};

struct stream_link { /* in a list of subscribers */
    struct stream_sub *prev, *next;
};

struct stream_channel {
    struct stream_channel *hash_next, *dirty_next;
    uint32_t refs; /* subscribers and turns */
    bool positional, dirty, ending;
    uint32_t ends_out; /* loops that have not yet let go */
    struct buf out;    /* frames of this turn */
    struct stream_pos start;
    uint64_t frames, total; /* in out; rendered so far, those in out included */
    uint32_t class_count;
    struct stream_class **classes; /* sorted by address */
    struct stream_channel_loop {
        struct stream_sub *members; /* the loop's: who is served live */
        uint32_t attached;          /* the hub's: how many it has sent there */
        struct stream_msg *end;     /* made with the channel: an end needs no memory */
    } loops[];
};

/* ---- messages ---- */

enum stream_verb {
    STREAM_WANT, /* loop → hub: more, from here; back: a slice, and perhaps that it is live now */
    STREAM_FAIL, /* hub → loop: a want that cannot be met, and will not be later */
    STREAM_LEAVE,  /* loop → hub: it has left; back: it may be freed */
    STREAM_FRAMES, /* hub → loop: for a channel's members */
    STREAM_MOVE,   /* hub → loop: this subscriber is in another channel now */
    STREAM_END     /* hub → loop and back: this channel is no more */
};

struct stream_msg {
    struct queue_link link;
    enum stream_verb verb;
    struct stream_sub *sub;
    struct stream_channel *channel;
    struct http_block *block; /* NULL: nothing to say */
    struct stream_pos at;     /* WANT: from here, back: go on here; FRAMES: where they begin */
    uint64_t frames;
    uint64_t total; /* FRAMES: the channel's before these; WANT: where it fell behind */
    bool attach;    /* WANT, back: from now on it is in channel */
};

struct stream_sub {
    uint32_t magic;
    struct stream_loop *loop;
    /* constant */
    struct access_caller caller;
    struct access_claims *claims;
    bool unrestricted, positional;
    enum stream_from from;
    uint64_t from_ns;
    uint64_t expires_ns, began_ns;
    uint32_t table_count;
    struct slice *tables; /* in the same allocation, and their text */
    struct stream_msg msg;
    /* the loop's */
    struct http_stream *http;
    struct stream_link all;    /* of the loop, by keepalive_ms */
    struct stream_link member; /* of in */
    struct stream_channel *in; /* served live from there; NULL: behind */
    struct stream_pos pos;     /* when behind */
    uint64_t fell_total;       /* the channel's total there */
    uint64_t keepalive_at_ms;
    bool asked, leaving, replay; /* msg is out; going away; has not been live yet */
    /* the hub's */
    struct stream_link known; /* all of the hub's */
    struct stream_link wants; /* msg waits for its next slice */
    struct stream_channel *channel;
    uint64_t policy_version, catalog_version; /* that channel was found with */
    bool live, was_live, lost;
    uint64_t min_ns;                   /* of a replay: earlier ones were not asked for */
    struct stream_channel *fell_from;  /* in which it fell behind; only compared */
    uint64_t behind_total, behind_got; /* the channel's total where it fell behind; got since */
    bool schema_due;                   /* positional: the columns must be said first */
};

struct stream_metrics {
    struct metric *active, *seconds;
    struct metric *frames_event, *frames_replay, *frames_keepalive;
    struct metric *bytes_event, *bytes_replay, *bytes_keepalive;
    struct metric *dropped_event, *dropped_replay, *dropped_keepalive;
    struct metric *behind, *channels;
};

struct stream_list {
    struct stream_sub *first, *last;
};

/* One event at hand. */
struct stream_record {
    struct slice text;  /* canonical JSON, LIMIT_JSON_PADDING readable bytes follow */
    uint64_t id_ns;     /* its instant */
    struct slice table; /* that it names */
    bool parsed, bad;
    struct json_doc doc;
};

struct stream_hub {
    uint32_t magic;
    struct stream_options options;
    pthread_t thread;
    bool running;
    _Atomic bool stopping; /* written by stream_stop */
    bool stopped;          /* the thread is gone: loops free what they have */
    struct queue inbox;
    struct stream_loop **loops; /* options.loops of them */
    _Atomic uint32_t loop_count;
    _Atomic uint32_t subscribers; /* over all loops */

    struct wal_cursor *cursor; /* NULL while nobody listens */
    bool cursor_failed;
    uint64_t live_index; /* everything before went to the channels */
    const struct access_policy *policy;
    struct schema_catalog *catalog;
    uint64_t policy_version, catalog_version;
    struct access_predicates *predicates;
    struct json_reader *reader;
    struct stream_table **tables;     /* STREAM_BUCKETS */
    struct stream_class **classes;    /* " */
    struct stream_channel **channels; /* " */
    struct stream_projection *projections;
    struct stream_channel *dirty;
    struct stream_list known, wants;
    uint32_t class_total, dead_letter_classes;
    uint64_t record_seq;
    struct buf frame, scratch, slice, schema;
    uint64_t clock_s; /* that clock_text is of */
    char clock_text[STREAM_TIME_LEN];
    struct stream_metrics metrics;
};

struct stream_loop {
    uint32_t magic;
    uint32_t number;
    struct stream_hub *hub;
    struct queue inbox;
    _Atomic uint64_t in_flight; /* block bytes in inbox; hub adds, loop takes off */
    struct stream_settings settings;
    struct stream_list all; /* next keepalive first */
    uint64_t expiry_looked_ms;
};

/* Lists of subscribers through one of their links. */
#define STREAM_LIST_APPEND(list, sub, field)                                          \
    do {                                                                              \
        (sub)->field.next = NULL;                                                     \
        (sub)->field.prev = (list)->last;                                             \
        *((list)->last != NULL ? &(list)->last->field.next : &(list)->first) = (sub); \
        (list)->last = (sub);                                                         \
    } while (0)
#define STREAM_LIST_REMOVE(list, sub, field)                                             \
    do {                                                                                 \
        *((sub)->field.prev != NULL ? &(sub)->field.prev->field.next : &(list)->first) = \
            (sub)->field.next;                                                           \
        *((sub)->field.next != NULL ? &(sub)->field.next->field.prev : &(list)->last) =  \
            (sub)->field.prev;                                                           \
        (sub)->field.prev = (sub)->field.next = NULL;                                    \
    } while (0)

/* rights.c. One more reference to the channel for what sub may see now; NULL: no memory. */
struct stream_channel *stream_rights_channel(struct stream_hub *h, const struct stream_sub *sub);
void stream_channel_unref(struct stream_hub *h, struct stream_channel *ch);
void stream_channel_free(struct stream_hub *h, struct stream_channel *ch); /* every loop let go */
/* Classes of the table; NULL: nobody listens to it. */
struct stream_class *stream_rights_classes(struct stream_hub *h, struct slice table);
struct stream_class *stream_rights_dead_letters(struct stream_hub *h);

/* frame.c. May the class see this record? Counts what is withheld. */
bool stream_class_sees(struct stream_hub *h, struct stream_class *cl, struct stream_record *rec);
/* Append the frame of a record that the class may see. */
void stream_frame_put(struct stream_hub *h, struct stream_class *cl, struct stream_record *rec,
                      bool positional, struct buf *out);
/* Append the frames that say the columns of a positional channel. */
void stream_frame_schema(const struct stream_channel *ch, struct buf *out);
/* The record of a dead letter as its own stream shows it, into out. */
struct flush_dead_item;
void stream_frame_dead_letter(struct stream_hub *h, const struct flush_dead_item *item,
                              struct buf *out);

/* hub.c */
void stream_post(struct stream_loop *l, struct stream_msg *m);
struct stream_msg *stream_msg_new(enum stream_verb verb);
void stream_msg_free(struct stream_msg *m);
void stream_sub_free(struct stream_sub *sub);

#endif
