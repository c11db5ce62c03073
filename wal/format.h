/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a segment: encoders and decoders, nothing else. doc/wal-format.md is the text to
 * this.
 *
 *   0      4096                                       footer_offset    segment_size
 *   ┌──────┬──────┬───────┬───────┬────┬──── … ───────┬─────────────────┐
 *   │ head │ OPEN │ group │ group │mark│ zeros, stale │ SEAL (footer)   │
 *   └──────┴──────┴───────┴───────┴────┴──── … ───────┴─────────────────┘
 *            each padded with zeros to 4 KiB
 *
 * Decoders take untrusted bytes: every field is copied out once and checked before use. */
#ifndef WH_WAL_FORMAT_H
#define WH_WAL_FORMAT_H

#include "base/err.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

#define WAL_FORMAT_VERSION 1
/* File of segment number n (with PRIu64 of inttypes.h). */
#define WAL_NAME_FMT "seg-%020" PRIu64 ".wal"

#define WAL_BLOCK_BYTES      ((uint64_t)LIMIT_WAL_BLOCK)
#define WAL_HEAD_BYTES       WAL_BLOCK_BYTES
#define WAL_GROUP_HEAD_BYTES 64u
#define WAL_ENTRY_HEAD_BYTES 40u
#define WAL_OPEN_BODY_BYTES  64u /* before the membership copy */
#define WAL_FOOT_BODY_BYTES  96u /* before the sparse index */
#define WAL_SPARSE_BYTES     16u
#define WAL_TABLE_BYTES      32u /* before the name */

/* One sparse index item per this many bytes of segment. */
#define WAL_SPARSE_STEP (64 * KIB)

#define WAL_SEGMENT_BYTES_MIN     (64 * KIB)
#define WAL_SEGMENT_BYTES_MAX     (4 * GIB)
#define WAL_SEGMENT_BYTES_DEFAULT (64 * MIB)
#define WAL_FOOTER_BYTES_MAX      (2 * MIB)

/* A membership payload is copied into the OPEN group of every segment. */
#define WAL_MEMBERSHIP_BYTES_MAX (16 * KIB)
/* WAL_HARD_STATE: u64 term, u64 vote. */
#define WAL_HARD_STATE_BYTES 16u

enum wal_group_kind {
    WAL_GROUP_DATA = 0,
    WAL_GROUP_OPEN = 1, /* first of a segment */
    WAL_GROUP_MARK = 2, /* nothing but a synced-to position */
    WAL_GROUP_SEAL = 3  /* footer */
};

struct wal_head {
    uint8_t cluster_id[16];
    uint64_t incarnation; /* drawn when the log was created */
    uint64_t number;      /* of the segment, from 1 */
    uint64_t salt;        /* random */
    uint64_t segment_bytes;
    uint64_t footer_offset;
    uint64_t created_ns;
    uint64_t durable_index; /* the log reached at least so far when this file was prepared */
    uint64_t former;        /* number that this file had in its life before; 0: it began as zeros */
    uint32_t seed;          /* not stored: CRC of salt and number, start of every other CRC */
};

struct wal_group {
    uint8_t kind;         /* enum wal_group_kind */
    uint64_t position;    /* offset of the group in its segment */
    uint64_t synced_to;   /* everything below was durable when this group was made */
    uint64_t first_index; /* of the first entry; the next index when there is none */
    uint32_t length;      /* bytes, head included, padding not */
    uint32_t entry_count;
    uint32_t prev_crc; /* crc of the group before, 0 for OPEN */
    uint32_t body_crc; /* DATA: over the entry heads; else over the body */
    uint32_t crc;      /* of this head */
};

struct wal_entry_head {
    uint32_t payload_len;
    uint32_t payload_crc;
    uint64_t index, term, time_ns;
    uint8_t type, flags;
    uint32_t crc;
};

/* What a segment knows of the time before it. */
struct wal_open_record {
    uint64_t first_index; /* of this segment */
    uint64_t last_term;
    uint64_t hard_term, hard_vote;
    uint64_t prev_number; /* 0: this is where the log began */
    uint64_t prev_end;    /* end of the last group there */
    uint32_t prev_crc;    /* of that group */
    struct slice membership;
};

struct wal_footer {
    uint64_t first_index, last_index; /* last = first - 1 when empty */
    uint64_t entry_count;
    uint64_t time_min_ns, time_max_ns;
    uint64_t end_offset; /* of the data groups */
    uint64_t last_term;
    uint64_t hard_term, hard_vote;
    uint32_t last_crc; /* of the last group before the footer */
    uint32_t sparse_count, table_count;
    bool tables_incomplete; /* more tables than there was room for */
    const char *sparse;     /* sparse_count × { u64 index, u64 offset }, ascending */
    struct slice tables;    /* table_count × { u64 first, u64 last, u64 records, u32 batches,
                               u32 name_len, name, pad to 8 } */
};

struct wal_table_item {
    uint64_t first_index, last_index, records;
    uint32_t batches;
    struct slice name;
};

static inline uint64_t wal_align(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}
static inline uint64_t wal_block_align(uint64_t n)
{
    return wal_align(n, WAL_BLOCK_BYTES);
}
/* Bytes of an entry inside a group. */
static inline uint64_t wal_entry_bytes(uint64_t payload_len)
{
    return WAL_ENTRY_HEAD_BYTES + wal_align(payload_len, 8);
}
/* Where the footer of a segment of this size starts. */
uint64_t wal_footer_offset(uint64_t segment_bytes);
bool wal_segment_bytes_valid(uint64_t segment_bytes);

/* page: WAL_HEAD_BYTES */
void wal_head_put(char *page, struct wal_head *head); /* sets head->seed */
/* 0 or WH_ECORRUPT/WH_EUNSUPPORTED with the cause as a phrase in e ("bad magic"). */
int wal_head_get(const char *page, struct wal_head *out, struct err *e) WH_MUST_CHECK;

/* p: WAL_GROUP_HEAD_BYTES. Sets g->crc. */
void wal_group_put(char *p, const struct wal_head *head, struct wal_group *g);
/* The group head at offset, offset + WAL_GROUP_HEAD_BYTES ≤ segment_bytes. */
int wal_group_get(const char *base, const struct wal_head *head, uint64_t offset,
                  struct wal_group *out, struct err *e) WH_MUST_CHECK;
/* Says that it is a group of this segment at this place, whatever its checksum says. */
bool wal_group_claims(const char *base, const struct wal_head *head, uint64_t offset);

/* p: WAL_ENTRY_HEAD_BYTES that will be at offset. Sets en->crc. */
void wal_entry_put(char *p, const struct wal_head *head, uint64_t offset,
                   struct wal_entry_head *en);
/* The entry head at offset; it and its payload must end at or before end. */
int wal_entry_get(const char *base, const struct wal_head *head, uint64_t offset, uint64_t end,
                  struct wal_entry_head *out, struct err *e) WH_MUST_CHECK;

/* Bodies of the groups of kind OPEN and SEAL, without the group head. */
void wal_open_put(char *p, const struct wal_open_record *open);
int wal_open_get(struct slice body, struct wal_open_record *out, struct err *e) WH_MUST_CHECK;
void wal_footer_put(char *p, const struct wal_footer *foot); /* fixed part only */
int wal_footer_get(struct slice body, const struct wal_head *head, struct wal_footer *out,
                   struct err *e) WH_MUST_CHECK;
/* Walk the table items: *at starts at 0. False at the end. */
bool wal_footer_table(const struct wal_footer *foot, size_t *at, struct wal_table_item *out);

/* memcpy and CRC in one pass over memory. Returns the CRC continued from crc. */
uint32_t wal_crc_copy(uint32_t crc, char *to, const char *from, size_t n);

#endif
