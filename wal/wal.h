/* SPDX-License-Identifier: Apache-2.0 */
/* The log: numbered entries in fixed-size mapped segments; format in doc/wal-format.md.
 *
 *   writer thread   wal_append … wal_append, wal_sync  one pwritev and one fdatasync per group
 *   readers         wal_cursor_next                    from the mapping, up to the commit mark
 *   housekeeping    wal_prepare, wal_trim              next segment ready before it is needed, if
 *                                                      possible in the file of a trimmed one
 *
 * Words: an appended entry is *accepted*; after wal_sync it is *durable* on this disk; whoever owns
 * consensus calls wal_commit and it is *committed*. Cursors see committed entries only.
 *
 * A failed write or fdatasync poisons the writer: every later call answers WH_EPOISON. A full disk
 * is noticed in wal_prepare, never in wal_append: wal_append answers WH_EAGAIN while no segment
 * with room is ready. */
#ifndef WH_WAL_WAL_H
#define WH_WAL_WAL_H

#include "base/err.h"
#include "base/slice.h"
#include "io/io.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum wal_type {
    WAL_EVENTS = 1, /* one request's accepted records for one table, wal/batch.h */
    WAL_NOOP = 2,
    WAL_MEMBERSHIP = 3,
    WAL_HARD_STATE = 4, /* Raft term and vote */
    WAL_CONTROL = 5,    /* policy, pipe, setting */
    WAL_FLUSH_PLAN = 6,
    WAL_FLUSH_DONE = 7,
    WAL_DEAD_LETTER = 8,
    WAL_SEAL = 9,
    WAL_SYNC_MARK = 10
};

/* To append. The payload is read during wal_append only. */
struct wal_entry {
    uint8_t type;              /* enum wal_type */
    uint8_t flags;             /* the type's own */
    uint64_t index;            /* must be the last index + 1 */
    uint64_t term;             /* not below the last term */
    uint64_t time_ns;          /* wall clock, nanoseconds since 1970 UTC */
    const struct iovec *parts; /* payload, in pieces */
    int part_count;
};

/* As read. payload points into the mapping: valid until the cursor moves on or closes, and at least
 * LIMIT_JSON_PADDING readable bytes follow it. */
struct wal_view {
    uint8_t type, flags;
    uint64_t index, term, time_ns;
    struct slice payload;
};

struct wal_options {
    const char *path;            /* folder, made when missing (mode 0700) */
    uint64_t segment_size_bytes; /* multiple of 4 KiB, 64 KiB … 4 GiB; default 64 MiB */
    uint64_t group_bytes_max;    /* a group larger than this is closed; default 1 MiB. One entry may
                                    be larger */
    uint64_t piece_bytes;        /* of a file that is filled or deleted: so much between two syncs;
                                    a multiple of 4 KiB, default and most 2 MiB */
    uint64_t bytes_max;          /* budget for all segments; wal_prepare answers WH_EFULL beyond */
    uint64_t free_bytes_min;     /* free space of the file system that wal_prepare leaves */
    bool read_only;              /* for tools: no lock, no recovery writes; the tail is read as far
                                    as it is intact */
};

struct wal_recovery { /* what wal_open found, for the log line and for tests */
    uint64_t first_index, last_index, last_term;
    uint64_t segments, bytes;
    uint64_t torn_bytes; /* cut from the tail; what can be told from an earlier life of the file */
    uint64_t hard_term, hard_vote;
    uint64_t duration_us;
    bool created;
};

struct wal_stats {
    uint64_t first_index, last_index, durable_index, commit_index;
    uint64_t segments, bytes; /* on disk, prepared ones and files kept for reuse included */
    uint64_t free_bytes;      /* room left in the open and prepared segments */
    uint64_t budget_bytes;    /* bytes_max */
};

struct wal;
struct wal_cursor;

/* Open or create; recovers (blocks: reads the active segment). On failure e says file, position,
 * cause and remedy: WH_ECORRUPT rot below a later synced-to mark, a missing or foreign segment;
 * -EWOULDBLOCK another process has the lock; -errno. */
int wal_open(struct wal **out, const struct io *io, const struct wal_options *options,
             struct wal_recovery *report, struct err *e) WH_MUST_CHECK;
/* Identity of this log, random, made with it: tokens and positions of another log do not match. */
#define WAL_LOG_ID_BYTES 16
void wal_log_id(const struct wal *w, uint8_t id[WAL_LOG_ID_BYTES]);
/* Stops without syncing what was only appended; writes a last sync mark when all is durable
 * (blocks: pwritev, fdatasync). Every cursor must be closed before. NULL is fine. */
void wal_close(struct wal *w);

/* Writer thread only. Copies the entry into the open group; when the group is full it is written
 * (not synced). WH_EAGAIN: no room and no prepared segment, nothing was taken; WH_ELIMIT: payload
 * over LIMIT_WAL_PAYLOAD_BYTES; WH_EPOISON. */
int wal_append(struct wal *w, const struct wal_entry *entry) WH_MUST_CHECK;
/* Writer thread only. Write the open group and make everything appended durable. Blocks: pwritev,
 * fdatasync. Any failure poisons. With nothing appended since the last call it writes a sync mark,
 * once: call it when the log goes idle, so that damage to the last acknowledged group can be told
 * from a torn tail (doc/wal-format.md, Sync marks). */
int wal_sync(struct wal *w, struct err *e) WH_MUST_CHECK;
/* Everything up to index is committed: readers may see it. index ≤ durable. Writer thread only. */
void wal_commit(struct wal *w, uint64_t index);

/* Any thread; never blocks. */
uint64_t wal_durable_index(const struct wal *w);
uint64_t wal_commit_index(const struct wal *w);
void wal_stats_get(struct wal *w, struct wal_stats *out);
/* The highest time of an entry, 0 when there is none. The thread that appends, or before it runs.
 */
uint64_t wal_time_max(struct wal *w);
/* True when n more payload bytes find room without another prepared segment. Any thread. */
bool wal_has_room(const struct wal *w, uint64_t n);
/* False when not even an empty segment would have that room. The thread that appends. */
bool wal_can_have_room(const struct wal *w, uint64_t n);

/* Housekeeping thread. Make the next segment ready if none is (blocks: a new head page and two
 * syncs on the file of a trimmed segment; without one it allocates and zero-fills, which takes
 * long: in pieces with pauses between them, while the active segment has room enough). 0 also when
 * nothing was to do; WH_EFULL budget; -ENOSPC. Not fatal: call again. */
int wal_prepare(struct wal *w, struct err *e) WH_MUST_CHECK;
/* Housekeeping thread. Delete sealed segments all of whose entries are below index and whose newest
 * entry is older than before_ns, oldest first, in pieces with pauses as well: at most 16 a call,
 * and no more once the prepared segment has come into use. Segments under an open cursor stay until
 * it leaves. Returns how many went through *deleted: call again when there were any. */
int wal_trim(struct wal *w, uint64_t index, uint64_t before_ns, uint64_t *deleted,
             struct err *e) WH_MUST_CHECK;
/* The same, oldest first, but at most two a call and only while fewer than two files wait to be
 * used again: what wal_prepare needs next, and no more. Cheap when nothing can go. */
int wal_trim_for_reuse(struct wal *w, uint64_t index, uint64_t before_ns, uint64_t *deleted,
                       struct err *e) WH_MUST_CHECK;
/* A prepared segment waits to be used. Any thread. */
bool wal_next_ready(const struct wal *w);
/* While set none of these pauses to leave the disk to others: somebody waits for room, or for them
 * to end. Any thread, one at a time. */
void wal_set_hurry(struct wal *w, bool hurry);
void wal_set_budget(struct wal *w, uint64_t bytes_max, uint64_t free_bytes_min);
/* The most bytes that the log may come to by its budget and by what the file system has to give
 * now; 0: neither is known. Any thread; asks the file system. */
uint64_t wal_capacity(struct wal *w);

/* A cursor pins the segment that it reads. Any thread, one thread at a time. from_index 0 means the
 * first retained entry. WH_ENOTFOUND: from_index was trimmed. */
int wal_cursor_open(struct wal_cursor **out, struct wal *w, uint64_t from_index,
                    struct err *e) WH_MUST_CHECK;
/* 0 and *view; WH_EEND at the commit mark (call again later); WH_ECORRUPT: this entry fails its
 * checks (also when the page vanished under the mapping). Never blocks but on a page fault. */
int wal_cursor_next(struct wal_cursor *c, struct wal_view *view, struct err *e) WH_MUST_CHECK;
/* After using a view: 0 when its bytes were there all the time; WH_ECORRUPT when a page of its
 * segment vanished after wal_cursor_next had checked it, so that what was read may have been zeros.
 * To be asked before acting on what cannot be taken back. */
int wal_cursor_check(const struct wal_cursor *c, struct err *e) WH_MUST_CHECK;
/* Continue at index (forward or backward). WH_ENOTFOUND: trimmed. An index that does not exist yet
 * is fine. After WH_ECORRUPT a reader that can do without the entry may seek beyond it. */
int wal_cursor_seek(struct wal_cursor *c, uint64_t index, struct err *e) WH_MUST_CHECK;
/* Continue at an entry that is not behind the first one whose time is at or after time_ns, and not
 * far before it (one step of the sparse index). For logs in which times never fall. What is trimmed
 * is passed over: then it continues at the first retained entry. */
int wal_cursor_seek_time(struct wal_cursor *c, uint64_t time_ns, struct err *e) WH_MUST_CHECK;
/* The index that wal_cursor_next goes for. */
uint64_t wal_cursor_index(const struct wal_cursor *c);
void wal_cursor_close(struct wal_cursor *c);

#endif
