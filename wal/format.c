/* SPDX-License-Identifier: Apache-2.0 */
#include "wal/format.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "base/magic.h"

#define HEAD_MAGIC  "WHWALSEG"
#define GROUP_MAGIC 0x50524757u /* "WGRP" */

enum { /* head page */
    H_MAGIC = 0,
    H_VERSION = 8,
    H_BLOCK = 12,
    H_CLUSTER = 16,
    H_INCARNATION = 32,
    H_NUMBER = 40,
    H_SALT = 48,
    H_SIZE = 56,
    H_FOOTER = 64,
    H_CREATED = 72,
    H_DURABLE = 80,
    H_FORMER = 88,
    H_CRC = 4092
};
_Static_assert(H_CRC + 4 == LIMIT_WAL_BLOCK, "the CRC ends the head page");

enum { /* group head */
    G_MAGIC = 0,
    G_KIND = 4, /* three zero bytes follow */
    G_POSITION = 8,
    G_SYNCED = 16,
    G_NUMBER = 24,
    G_FIRST = 32,
    G_LENGTH = 40,
    G_COUNT = 44,
    G_PREV = 48,
    G_BODY = 52,
    G_ZERO = 56,
    G_CRC = 60
};
_Static_assert(G_CRC + 4 == WAL_GROUP_HEAD_BYTES, "the CRC ends the group head");

enum { /* entry head */
    E_LENGTH = 0,
    E_PAYLOAD_CRC = 4,
    E_INDEX = 8,
    E_TERM = 16,
    E_TIME = 24,
    E_TYPE = 32,
    E_FLAGS = 33, /* two zero bytes follow */
    E_CRC = 36
};
_Static_assert(E_CRC + 4 == WAL_ENTRY_HEAD_BYTES, "the CRC ends the entry head");

enum { /* body of OPEN */
    O_FIRST = 0,
    O_LAST_TERM = 8,
    O_HARD_TERM = 16,
    O_HARD_VOTE = 24,
    O_PREV_NUMBER = 32,
    O_PREV_END = 40,
    O_PREV_CRC = 48,
    O_MEMBERSHIP_LEN = 52,
    O_ZERO = 56
};
_Static_assert(O_ZERO + 8 == WAL_OPEN_BODY_BYTES, "open record");

enum { /* body of SEAL */
    F_FIRST = 0,
    F_LAST = 8,
    F_COUNT = 16,
    F_TIME_MIN = 24,
    F_TIME_MAX = 32,
    F_END = 40,
    F_LAST_TERM = 48,
    F_HARD_TERM = 56,
    F_HARD_VOTE = 64,
    F_LAST_CRC = 72,
    F_SPARSE = 76,
    F_TABLES = 80,
    F_FLAGS = 84, /* 1: tables incomplete */
    F_ZERO = 88
};
_Static_assert(F_ZERO + 8 == WAL_FOOT_BODY_BYTES, "footer");

uint64_t wal_footer_offset(uint64_t segment_bytes)
{
    uint64_t reserve = wal_block_align(segment_bytes / 64);

    if (reserve > WAL_FOOTER_BYTES_MAX)
        reserve = WAL_FOOTER_BYTES_MAX;
    return segment_bytes - reserve;
}

bool wal_segment_bytes_valid(uint64_t n)
{
    return n >= WAL_SEGMENT_BYTES_MIN && n <= WAL_SEGMENT_BYTES_MAX && n % WAL_BLOCK_BYTES == 0;
}

static uint32_t head_seed(const struct wal_head *head)
{
    char b[16];

    le64_put(b, head->salt);
    le64_put(b + 8, head->number);
    return crc32c(0, b, sizeof(b));
}

/* The CRC of n bytes that belong at offset: right bytes at a wrong place do not pass. */
static uint32_t placed_crc(const struct wal_head *head, uint64_t offset, const char *p, size_t n)
{
    char b[8];

    le64_put(b, offset);
    return crc32c(crc32c(head->seed, b, sizeof(b)), p, n);
}

void wal_head_put(char *page, struct wal_head *head)
{
    must(wal_segment_bytes_valid(head->segment_bytes));
    memset(page, 0, WAL_HEAD_BYTES);
    memcpy(page + H_MAGIC, HEAD_MAGIC, 8);
    le32_put(page + H_VERSION, WAL_FORMAT_VERSION);
    le32_put(page + H_BLOCK, LIMIT_WAL_BLOCK);
    memcpy(page + H_CLUSTER, head->cluster_id, sizeof(head->cluster_id));
    le64_put(page + H_INCARNATION, head->incarnation);
    le64_put(page + H_NUMBER, head->number);
    le64_put(page + H_SALT, head->salt);
    le64_put(page + H_SIZE, head->segment_bytes);
    le64_put(page + H_FOOTER, head->footer_offset);
    le64_put(page + H_CREATED, head->created_ns);
    le64_put(page + H_DURABLE, head->durable_index);
    le64_put(page + H_FORMER, head->former);
    le32_put(page + H_CRC, crc32c(0, page, H_CRC));
    head->seed = head_seed(head);
}

int wal_head_get(const char *page, struct wal_head *out, struct err *e)
{
    if (memcmp(page + H_MAGIC, HEAD_MAGIC, 8) != 0)
        return err_set(e, WH_ECORRUPT, "head: not a segment (bad magic)");
    if (le32_get(page + H_CRC) != crc32c(0, page, H_CRC))
        return err_set(e, WH_ECORRUPT, "head: checksum does not match");
    if (le32_get(page + H_VERSION) != WAL_FORMAT_VERSION)
        return err_set(e, WH_EUNSUPPORTED, "head: format version %u, this program reads %u",
                       le32_get(page + H_VERSION), WAL_FORMAT_VERSION);
    memcpy(out->cluster_id, page + H_CLUSTER, sizeof(out->cluster_id));
    out->incarnation = le64_get(page + H_INCARNATION);
    out->number = le64_get(page + H_NUMBER);
    out->salt = le64_get(page + H_SALT);
    out->segment_bytes = le64_get(page + H_SIZE);
    out->footer_offset = le64_get(page + H_FOOTER);
    out->created_ns = le64_get(page + H_CREATED);
    out->durable_index = le64_get(page + H_DURABLE);
    out->former = le64_get(page + H_FORMER);
    out->seed = head_seed(out);
    if (le32_get(page + H_BLOCK) != LIMIT_WAL_BLOCK ||
        !wal_segment_bytes_valid(out->segment_bytes) ||
        out->footer_offset != wal_footer_offset(out->segment_bytes))
        return err_set(e, WH_ECORRUPT, "head: impossible sizes");
    return 0;
}

void wal_group_put(char *p, const struct wal_head *head, struct wal_group *g)
{
    must(g->position % WAL_BLOCK_BYTES == 0 && g->synced_to <= g->position);
    memset(p, 0, WAL_GROUP_HEAD_BYTES);
    le32_put(p + G_MAGIC, GROUP_MAGIC);
    p[G_KIND] = (char)g->kind;
    le64_put(p + G_POSITION, g->position);
    le64_put(p + G_SYNCED, g->synced_to);
    le64_put(p + G_NUMBER, head->number);
    le64_put(p + G_FIRST, g->first_index);
    le32_put(p + G_LENGTH, g->length);
    le32_put(p + G_COUNT, g->entry_count);
    le32_put(p + G_PREV, g->prev_crc);
    le32_put(p + G_BODY, g->body_crc);
    g->crc = placed_crc(head, g->position, p, G_CRC);
    le32_put(p + G_CRC, g->crc);
}

int wal_group_get(const char *base, const struct wal_head *head, uint64_t offset,
                  struct wal_group *out, struct err *e)
{
    char p[WAL_GROUP_HEAD_BYTES];

    must(offset + WAL_GROUP_HEAD_BYTES <= head->segment_bytes);
    memcpy(p, base + offset, sizeof(p));
    if (le32_get(p + G_MAGIC) != GROUP_MAGIC)
        return err_set(e, WH_ECORRUPT, "no group head");
    out->crc = le32_get(p + G_CRC);
    if (out->crc != placed_crc(head, offset, p, G_CRC))
        return err_set(e, WH_ECORRUPT,
                       "group head: checksum does not match (damaged, or of another place)");
    out->kind = (uint8_t)p[G_KIND];
    out->position = le64_get(p + G_POSITION);
    out->synced_to = le64_get(p + G_SYNCED);
    out->first_index = le64_get(p + G_FIRST);
    out->length = le32_get(p + G_LENGTH);
    out->entry_count = le32_get(p + G_COUNT);
    out->prev_crc = le32_get(p + G_PREV);
    out->body_crc = le32_get(p + G_BODY);
    if (out->position != offset || le64_get(p + G_NUMBER) != head->number ||
        out->kind > WAL_GROUP_SEAL || out->length < WAL_GROUP_HEAD_BYTES ||
        out->synced_to > offset || out->length > head->segment_bytes - offset)
        return err_set(e, WH_ECORRUPT, "group head: impossible values");
    return 0;
}

bool wal_group_claims(const char *base, const struct wal_head *head, uint64_t offset)
{
    char p[WAL_GROUP_HEAD_BYTES];

    must(offset + WAL_GROUP_HEAD_BYTES <= head->segment_bytes);
    memcpy(p, base + offset, sizeof(p));
    return le32_get(p + G_MAGIC) == GROUP_MAGIC && le64_get(p + G_POSITION) == offset &&
           le64_get(p + G_NUMBER) == head->number;
}

void wal_entry_put(char *p, const struct wal_head *head, uint64_t offset, struct wal_entry_head *en)
{
    le32_put(p + E_LENGTH, en->payload_len);
    le32_put(p + E_PAYLOAD_CRC, en->payload_crc);
    le64_put(p + E_INDEX, en->index);
    le64_put(p + E_TERM, en->term);
    le64_put(p + E_TIME, en->time_ns);
    p[E_TYPE] = (char)en->type;
    p[E_FLAGS] = (char)en->flags;
    le16_put(p + E_FLAGS + 1, 0);
    en->crc = placed_crc(head, offset, p, E_CRC);
    le32_put(p + E_CRC, en->crc);
}

int wal_entry_get(const char *base, const struct wal_head *head, uint64_t offset, uint64_t end,
                  struct wal_entry_head *out, struct err *e)
{
    char p[WAL_ENTRY_HEAD_BYTES];

    must(end <= head->segment_bytes);
    if (offset > end || end - offset < sizeof(p))
        return err_set(e, WH_ECORRUPT, "entry head: outside of its group");
    memcpy(p, base + offset, sizeof(p));
    out->crc = le32_get(p + E_CRC);
    if (out->crc != placed_crc(head, offset, p, E_CRC))
        return err_set(e, WH_ECORRUPT, "entry head: checksum does not match");
    out->payload_len = le32_get(p + E_LENGTH);
    out->payload_crc = le32_get(p + E_PAYLOAD_CRC);
    out->index = le64_get(p + E_INDEX);
    out->term = le64_get(p + E_TERM);
    out->time_ns = le64_get(p + E_TIME);
    out->type = (uint8_t)p[E_TYPE];
    out->flags = (uint8_t)p[E_FLAGS];
    if (out->payload_len > LIMIT_WAL_PAYLOAD_BYTES ||
        wal_entry_bytes(out->payload_len) > end - offset)
        return err_set(e, WH_ECORRUPT, "entry head: payload longer than its group");
    return 0;
}

void wal_open_put(char *p, const struct wal_open_record *open)
{
    must(open->membership.len <= WAL_MEMBERSHIP_BYTES_MAX);
    memset(p, 0, WAL_OPEN_BODY_BYTES);
    le64_put(p + O_FIRST, open->first_index);
    le64_put(p + O_LAST_TERM, open->last_term);
    le64_put(p + O_HARD_TERM, open->hard_term);
    le64_put(p + O_HARD_VOTE, open->hard_vote);
    le64_put(p + O_PREV_NUMBER, open->prev_number);
    le64_put(p + O_PREV_END, open->prev_end);
    le32_put(p + O_PREV_CRC, open->prev_crc);
    le32_put(p + O_MEMBERSHIP_LEN, (uint32_t)open->membership.len);
    if (open->membership.len > 0)
        memcpy(p + WAL_OPEN_BODY_BYTES, open->membership.ptr, open->membership.len);
}

int wal_open_get(struct slice body, struct wal_open_record *out, struct err *e)
{
    const char *p = body.ptr;

    if (body.len < WAL_OPEN_BODY_BYTES)
        return err_set(e, WH_ECORRUPT, "open record: too short");
    out->first_index = le64_get(p + O_FIRST);
    out->last_term = le64_get(p + O_LAST_TERM);
    out->hard_term = le64_get(p + O_HARD_TERM);
    out->hard_vote = le64_get(p + O_HARD_VOTE);
    out->prev_number = le64_get(p + O_PREV_NUMBER);
    out->prev_end = le64_get(p + O_PREV_END);
    out->prev_crc = le32_get(p + O_PREV_CRC);
    out->membership = (struct slice){p + WAL_OPEN_BODY_BYTES, le32_get(p + O_MEMBERSHIP_LEN)};
    if (out->first_index == 0 || out->membership.len != body.len - WAL_OPEN_BODY_BYTES ||
        out->membership.len > WAL_MEMBERSHIP_BYTES_MAX)
        return err_set(e, WH_ECORRUPT, "open record: impossible values");
    return 0;
}

void wal_footer_put(char *p, const struct wal_footer *foot)
{
    memset(p, 0, WAL_FOOT_BODY_BYTES);
    le64_put(p + F_FIRST, foot->first_index);
    le64_put(p + F_LAST, foot->last_index);
    le64_put(p + F_COUNT, foot->entry_count);
    le64_put(p + F_TIME_MIN, foot->time_min_ns);
    le64_put(p + F_TIME_MAX, foot->time_max_ns);
    le64_put(p + F_END, foot->end_offset);
    le64_put(p + F_LAST_TERM, foot->last_term);
    le64_put(p + F_HARD_TERM, foot->hard_term);
    le64_put(p + F_HARD_VOTE, foot->hard_vote);
    le32_put(p + F_LAST_CRC, foot->last_crc);
    le32_put(p + F_SPARSE, foot->sparse_count);
    le32_put(p + F_TABLES, foot->table_count);
    le32_put(p + F_FLAGS, foot->tables_incomplete ? 1 : 0);
}

/* Sparse items ascend in both columns and lie inside the segment's data. */
static bool sparse_valid(const struct wal_footer *foot)
{
    uint64_t index = 0, offset = 0;

    for (uint32_t i = 0; i < foot->sparse_count; i++) {
        const char *item = foot->sparse + (size_t)i * WAL_SPARSE_BYTES;
        uint64_t item_index = le64_get(item), item_offset = le64_get(item + 8);

        if (item_index < index || item_offset <= offset || item_offset >= foot->end_offset ||
            item_offset % WAL_BLOCK_BYTES != 0)
            return false;
        index = item_index;
        offset = item_offset;
    }
    return true;
}

int wal_footer_get(struct slice body, const struct wal_head *head, struct wal_footer *out,
                   struct err *e)
{
    const char *p = body.ptr;
    uint64_t sparse_bytes;
    struct wal_table_item item;
    size_t at = 0;
    uint32_t tables = 0;

    if (body.len < WAL_FOOT_BODY_BYTES)
        return err_set(e, WH_ECORRUPT, "footer: too short");
    out->first_index = le64_get(p + F_FIRST);
    out->last_index = le64_get(p + F_LAST);
    out->entry_count = le64_get(p + F_COUNT);
    out->time_min_ns = le64_get(p + F_TIME_MIN);
    out->time_max_ns = le64_get(p + F_TIME_MAX);
    out->end_offset = le64_get(p + F_END);
    out->last_term = le64_get(p + F_LAST_TERM);
    out->hard_term = le64_get(p + F_HARD_TERM);
    out->hard_vote = le64_get(p + F_HARD_VOTE);
    out->last_crc = le32_get(p + F_LAST_CRC);
    out->sparse_count = le32_get(p + F_SPARSE);
    out->table_count = le32_get(p + F_TABLES);
    out->tables_incomplete = (le32_get(p + F_FLAGS) & 1) != 0;
    sparse_bytes = (uint64_t)out->sparse_count * WAL_SPARSE_BYTES;
    if (out->first_index == 0 || out->last_index + 1 < out->first_index ||
        out->last_index + 1 - out->first_index != out->entry_count ||
        out->end_offset > head->footer_offset || out->end_offset < WAL_HEAD_BYTES ||
        sparse_bytes > body.len - WAL_FOOT_BODY_BYTES)
        return err_set(e, WH_ECORRUPT, "footer: impossible values");
    out->sparse = p + WAL_FOOT_BODY_BYTES;
    out->tables = (struct slice){out->sparse + sparse_bytes,
                                 body.len - WAL_FOOT_BODY_BYTES - (size_t)sparse_bytes};
    while (wal_footer_table(out, &at, &item))
        tables++;
    if (!sparse_valid(out) || tables != out->table_count || at != out->tables.len)
        return err_set(e, WH_ECORRUPT, "footer: impossible lists");
    return 0;
}

bool wal_footer_table(const struct wal_footer *foot, size_t *at, struct wal_table_item *out)
{
    const char *p = foot->tables.ptr + *at;
    size_t left = foot->tables.len - *at;
    uint64_t name_len;

    if (left < WAL_TABLE_BYTES)
        return false;
    out->first_index = le64_get(p);
    out->last_index = le64_get(p + 8);
    out->records = le64_get(p + 16);
    out->batches = le32_get(p + 24);
    name_len = le32_get(p + 28);
    if (wal_align(name_len, 8) > left - WAL_TABLE_BYTES)
        return false;
    out->name = (struct slice){p + WAL_TABLE_BYTES, (size_t)name_len};
    *at += WAL_TABLE_BYTES + (size_t)wal_align(name_len, 8);
    return true;
}

uint32_t wal_crc_copy(uint32_t crc, char *to, const char *from, size_t n)
{
    /* The piece just copied is still in the first-level cache when the CRC reads it; the size suits
     * the three lanes of crc32c. */
    const size_t piece = 12 * 1024;

    while (n > 0) {
        size_t k = n < piece ? n : piece;

        memcpy(to, from, k);
        crc = crc32c(crc, to, k);
        to += k;
        from += k;
        n -= k;
    }
    return crc;
}
