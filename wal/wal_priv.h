/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of struct wal, for the files of this room.
 *
 *   segs[0 … seg_count-1]   opened segments, oldest first; the last one is active
 *   spare[…]                prepared segments, taken in order of number
 *
 * Lock order: map_lock, then lock. lock is held for pointer work only, never over a system call
 * that can reach the disk; map_lock is never taken by the writer. */
#ifndef WH_WAL_PRIV_H
#define WH_WAL_PRIV_H

#include "wal/format.h"
#include "wal/scan.h"
#include "wal/tables.h"
#include "wal/wal.h"

#include <pthread.h>

#define WAL_MAGIC    0x57414c31u
#define CURSOR_MAGIC 0x57414c43u

#define WAL_GROUP_BYTES_DEFAULT MIB
#define WAL_PIECE_BYTES_MAX     (2 * MIB)
#define WAL_PATH_CAP            1024
#define WAL_NAME_CAP            32
#define WAL_TMP_NAME            "prepare.tmp"
#define WAL_LOCK_NAME           "lock"
/* A trimmed segment that waits for its next life, under its former number. */
#define WAL_POOL_FMT "reuse-%020" PRIu64 ".tmp"
#define WAL_POOL_MAX 2
/* Prepared segments at a time: one from wal_prepare, one more after a crash during a switch. */
#define WAL_SPARE_MAX 4

struct wal_sparse {
    uint64_t index, offset;
};

struct wal_segment {
    struct wal_head head;
    uint64_t first_index;
    uint64_t last_index;     /* set by the writer before sealed */
    uint64_t time_max_ns;    /* same */
    _Atomic bool sealed;     /* writer → cursors, housekeeping */
    bool dying;              /* lock: being deleted, not to be found any more */
    unsigned refs;           /* lock: cursors that pin it */
    const char *map;         /* map_lock; stable while pinned */
    _Atomic uint32_t faults; /* pages that vanished under map */
    int fd;                  /* writer's; -1 once sealed */
    struct wal_footer foot;  /* map_lock; points into map */
    bool foot_checked, foot_valid;
    struct wal_sparse *sparse; /* writer fills; freed when sealed and not pinned */
    _Atomic uint32_t sparse_count;
    uint32_t sparse_cap;
};

/* Facts about the active segment that end in its footer. Writer only. */
struct wal_active {
    uint64_t offset; /* of the next group; all below is written */
    uint64_t synced; /* all below is durable */
    uint32_t last_crc;
    uint64_t entry_count, time_min_ns, time_max_ns;
    uint64_t sparse_next; /* a group at or above this offset gets an item */
    bool unmarked;        /* the last group is not vouched for by a later one */
};

struct wal {
    uint32_t magic;
    const struct io *io;
    char path[WAL_PATH_CAP];
    bool read_only;
    int lock_fd;
    uint64_t segment_bytes;
    uint64_t group_bytes_max, piece_bytes;
    uint8_t cluster_id[16];
    uint64_t incarnation;

    /* writer */
    struct wal_segment *active; /* also the last of segs */
    struct wal_active act;
    char *group;        /* open group: head room, entries, padding */
    uint64_t group_len; /* 0: none open */
    uint64_t group_cap;
    uint32_t group_count, group_body_crc;
    uint64_t group_first_index;
    char *foot; /* room for a footer */
    uint64_t foot_cap;
    struct wal_tables tables;
    uint64_t last_index, last_term;
    uint64_t hard_term, hard_vote;
    char membership[WAL_MEMBERSHIP_BYTES_MAX];
    size_t membership_len;
    struct err poison; /* code 0: healthy */

    /* watermarks: written by the writer, read by all */
    _Atomic uint64_t appended_index, durable_index, commit_index;
    _Atomic uint64_t active_free; /* bytes for groups */
    _Atomic uint64_t spare_free;

    pthread_mutex_t map_lock;  /* mappings come and go; taken before lock, held over mmap */
    pthread_mutex_t lock;      /* the fields below that say so; short, never over I/O */
    struct wal_segment **segs; /* lock; grown by housekeeping */
    size_t seg_count, seg_cap;
    struct wal_segment *spare[WAL_SPARE_MAX]; /* lock */
    size_t spare_count;
    uint64_t next_number;        /* housekeeping: of the next segment to prepare */
    uint64_t pool[WAL_POOL_MAX]; /* lock; changed by housekeeping: former numbers */
    size_t pool_count;           /* same */
    uint64_t bytes;              /* lock: all segment files, those of the pool included */
    uint64_t bytes_max, free_bytes_min;
    _Atomic bool hurry; /* wal_set_hurry */
    bool dir_dirty;     /* housekeeping: a name changed and the folder is not synced */
    uint64_t told;      /* housekeeping: number of the last segment whose completion was logged */
    unsigned cursors;   /* lock */
};

/* segment.c */
void wal_lock(pthread_mutex_t *m);
void wal_unlock(pthread_mutex_t *m);
int wal_path(const struct wal *w, const char *name, char *out); /* out: WAL_PATH_CAP */
int wal_segment_path(const struct wal *w, uint64_t number, char *out);
struct wal_segment *wal_segment_new(const struct wal_head *head);
void wal_segment_free(struct wal *w, struct wal_segment *seg);
/* Remember that the group at offset begins with index, if it is time for an item. */
void wal_segment_sparse(struct wal_segment *seg, struct wal_active *act, uint64_t offset,
                        uint64_t index);
/* Make sure that segs has room for one more. */
int wal_segs_reserve(struct wal *w);
/* The segment that holds, or will hold, index: pinned and mapped. WH_ENOTFOUND when trimmed. */
int wal_segment_pin(struct wal *w, uint64_t index, struct wal_segment **out, struct err *e);
/* First index of the oldest segment that may hold an entry of this time or later. */
uint64_t wal_segment_at_time(struct wal *w, uint64_t time_ns);
void wal_segment_unpin(struct wal *w, struct wal_segment *seg);
/* Free sparse indexes that nobody needs any more. Housekeeping. */
void wal_segments_sweep(struct wal *w);

/* writer.c */
int wal_fail(struct wal *w, int code, const char *what, uint64_t offset, uint64_t n);
/* Write the OPEN group of seg, which becomes the active one. */
int wal_activate(struct wal *w, struct wal_segment *seg);
/* Write a MARK group when the last group has no later one; no sync. */
int wal_mark(struct wal *w);
void wal_publish_free(struct wal *w);
/* Bytes for groups in a segment that is not opened yet. */
uint64_t wal_segment_room(const struct wal *w, const struct wal_segment *seg);
/* Fold one entry into the footer facts and the state copied into OPEN groups. */
void wal_note_entry(struct wal *w, const struct wal_entry_head *en, struct slice payload);

/* keep.c */
/* What other threads are told about a prepared segment: the room without a membership copy. */
uint64_t wal_spare_room(const struct wal_segment *seg);
/* Make, fill and sync the file of segment number; the name is durable when it returns 0. */
int wal_segment_create(struct wal *w, uint64_t number, struct wal_segment **out, struct err *e);

/* Names changed so far become durable. Housekeeping. */
int wal_sync_names(struct wal *w);

/* pace.c; housekeeping */
/* The head page and zeros to the end; what was written last is the caller's to sync. Sleeps, unless
 * the file is urgent. */
int wal_fill(const struct wal *w, int fd, const char *head_page, uint64_t size);
/* Unlink path, a file of size bytes, and give its blocks back. Sleeps, while a prepared segment
 * waits and nobody is in a hurry; otherwise what is left goes at once. wal_sync_names may still be
 * to do.
 */
int wal_delete(struct wal *w, const char *path, uint64_t size);

/* pool.c; housekeeping */
bool wal_pool_name(const char *name);
/* Room for one more file of this size, within the budget. */
bool wal_pool_wants(struct wal *w, uint64_t segment_bytes);
/* Rename a segment's file out of the log; it counts as trimmed once the folder is synced. The
 * caller enters its number into pool when nobody has it mapped any more. */
int wal_pool_put(struct wal *w, const char *path, uint64_t number);
/* Give a waiting file its new head, durable, and then the name path. 0 and *fd; *fd is -1 when none
 * waits. */
int wal_pool_take(struct wal *w, struct wal_head *head, const char *path, int *fd);
/* Delete waiting files while the budget or the free space is not kept. */
void wal_pool_yield(struct wal *w);

/* open.c */
/* The writer's memory, for segments of at most this size: it never allocates later. */
int wal_buffers_make(struct wal *w, uint64_t segment_bytes);

/* recover.c */
int wal_recover(struct wal *w, struct wal_recovery *report, struct err *e);

#endif
