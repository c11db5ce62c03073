/* SPDX-License-Identifier: Apache-2.0 */
/* Walking the groups of one segment in memory and judging what is found. Pure: bytes in, facts out.
 *
 * Used by recovery, by wavehousectl and by the fuzz target. A group counts only as a whole: head,
 * chain to the group before, every entry head, every payload. */
#ifndef WH_WAL_SCAN_H
#define WH_WAL_SCAN_H

#include "wal/format.h"

/* One entry of a group that passed all its checks; payload is borrowed from the segment. */
typedef void (*wal_scan_fn)(void *arg, uint64_t group_offset, const struct wal_entry_head *en,
                            struct slice payload);

struct wal_scan {
    const char *base;            /* segment_bytes readable bytes */
    const struct wal_head *head; /* already checked */
    uint64_t offset;             /* of the next group */
    uint64_t next_index;
    uint64_t last_term;
    uint32_t last_crc;           /* of the group before; 0 at the start */
    uint64_t synced_to;          /* highest seen */
    struct wal_open_record open; /* valid after the first group */
};

/* What lies at and after an offset at which no valid group is. */
enum wal_tail {
    WAL_TAIL_CLEAN, /* nothing of this segment: zeros, or what is left of the file's former life */
    WAL_TAIL_TORN,  /* bytes that were never known to be durable */
    WAL_TAIL_ROT    /* a later group says that this place had been durable */
};

struct wal_tail_report {
    enum wal_tail tail;
    uint64_t dirty_end;       /* end of what is torn; offset when clean */
    uint64_t evidence_offset; /* WAL_TAIL_ROT: the later group */
    uint64_t evidence_synced_to;
};

void wal_scan_init(struct wal_scan *s, const char *base, const struct wal_head *head);

/* Take the next group; fn (may be NULL) gets its entries. 0 and *g; WH_EEND when the room for data
 * is used up; WH_ECORRUPT with the cause as a phrase (also where the unwritten part begins). */
int wal_scan_next(struct wal_scan *s, struct wal_group *g, wal_scan_fn fn, void *arg,
                  struct err *e) WH_MUST_CHECK;

/* The footer at its fixed place: 0, or WH_ECORRUPT with the cause (also when all zero). */
int wal_scan_footer(const char *base, const struct wal_head *head, struct wal_group *g,
                    struct wal_footer *out, struct err *e) WH_MUST_CHECK;

/* Judge the bytes from offset, where wal_scan_next refused, to the end of the segment. */
void wal_scan_tail(const char *base, const struct wal_head *head, uint64_t offset,
                   struct wal_tail_report *out);

/* True when the n bytes at p are zero. */
bool wal_is_zero(const char *p, size_t n);

#endif
