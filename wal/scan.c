/* SPDX-License-Identifier: Apache-2.0 */
#include "wal/scan.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "base/magic.h"

#include <inttypes.h>

void wal_scan_init(struct wal_scan *s, const char *base, const struct wal_head *head)
{
    *s = (struct wal_scan){.base = base, .head = head, .offset = WAL_HEAD_BYTES};
}

/* Check each entry of the group; adds the entry heads to *body_crc. */
static int group_entries(const struct wal_scan *s, const struct wal_group *g, uint64_t *last_term,
                         uint32_t *body_crc, struct err *e)
{
    uint64_t at = g->position + WAL_GROUP_HEAD_BYTES, end = g->position + g->length;
    struct wal_entry_head en;

    for (uint32_t i = 0; i < g->entry_count; i++) {
        int rc = wal_entry_get(s->base, s->head, at, end, &en, e);

        if (rc != 0)
            return rc;
        if (en.index != g->first_index + i || en.term < *last_term)
            return err_set(e, WH_ECORRUPT, "entry %" PRIu64 " term %" PRIu64 " out of order",
                           en.index, en.term);
        if (crc32c(0, s->base + at + WAL_ENTRY_HEAD_BYTES, en.payload_len) != en.payload_crc)
            return err_set(e, WH_ECORRUPT,
                           "entry %" PRIu64 ": checksum of the payload does not match", en.index);
        *last_term = en.term;
        *body_crc = crc32c(*body_crc, s->base + at, WAL_ENTRY_HEAD_BYTES);
        at += wal_entry_bytes(en.payload_len);
    }
    if (at != end)
        return err_set(e, WH_ECORRUPT, "group is longer than its entries");
    return 0;
}

static void group_hand_out(const struct wal_scan *s, const struct wal_group *g, wal_scan_fn fn,
                           void *arg)
{
    uint64_t at = g->position + WAL_GROUP_HEAD_BYTES, end = g->position + g->length;
    struct wal_entry_head en;

    for (uint32_t i = 0; i < g->entry_count; i++) {
        if (wal_entry_get(s->base, s->head, at, end, &en, NULL) != 0)
            return; /* the file changed since it was checked */
        fn(arg, g->position, &en,
           (struct slice){s->base + at + WAL_ENTRY_HEAD_BYTES, en.payload_len});
        at += wal_entry_bytes(en.payload_len);
    }
}

static int group_order(const struct wal_scan *s, const struct wal_group *g, struct err *e)
{
    bool first = s->offset == WAL_HEAD_BYTES;

    if (g->kind == WAL_GROUP_SEAL || (g->kind == WAL_GROUP_OPEN) != first)
        return err_set(e, WH_ECORRUPT, "group of kind %u at the wrong place", g->kind);
    if (g->prev_crc != s->last_crc)
        return err_set(e, WH_ECORRUPT, "group does not follow the one before it (stale or lost)");
    if (!first && g->first_index != s->next_index)
        return err_set(e, WH_ECORRUPT, "group begins at index %" PRIu64 ", expected %" PRIu64,
                       g->first_index, s->next_index);
    if (g->length > s->head->footer_offset - s->offset)
        return err_set(e, WH_ECORRUPT, "group reaches into the footer");
    return 0;
}

int wal_scan_next(struct wal_scan *s, struct wal_group *g, wal_scan_fn fn, void *arg, struct err *e)
{
    struct slice body;
    uint32_t body_crc = 0;
    uint64_t last_term = s->last_term;
    int rc;

    if (s->offset >= s->head->footer_offset)
        return WH_EEND;
    if ((rc = wal_group_get(s->base, s->head, s->offset, g, e)) != 0 ||
        (rc = group_order(s, g, e)) != 0)
        return rc;
    body = (struct slice){s->base + s->offset + WAL_GROUP_HEAD_BYTES,
                          g->length - WAL_GROUP_HEAD_BYTES};
    if (g->kind == WAL_GROUP_DATA)
        rc = group_entries(s, g, &last_term, &body_crc, e);
    else
        body_crc = crc32c(0, body.ptr, body.len);
    if (rc != 0)
        return rc;
    if (body_crc != g->body_crc)
        return err_set(e, WH_ECORRUPT, "group: checksum of the body does not match");
    if (g->kind == WAL_GROUP_OPEN) {
        if ((rc = wal_open_get(body, &s->open, e)) != 0)
            return rc;
        if (g->entry_count != 0 || s->open.first_index != g->first_index)
            return err_set(e, WH_ECORRUPT, "open record: impossible values");
        last_term = s->open.last_term;
    }
    s->last_term = last_term;
    s->last_crc = g->crc;
    s->next_index = g->first_index + (g->kind == WAL_GROUP_DATA ? g->entry_count : 0);
    s->synced_to = g->synced_to;
    s->offset = wal_block_align(s->offset + g->length);
    if (g->kind == WAL_GROUP_DATA && fn != NULL)
        group_hand_out(s, g, fn, arg);
    return 0;
}

int wal_scan_footer(const char *base, const struct wal_head *head, struct wal_group *g,
                    struct wal_footer *out, struct err *e)
{
    uint64_t offset = head->footer_offset;
    struct slice body;
    int rc = wal_group_get(base, head, offset, g, e);

    if (rc != 0)
        return rc;
    body = (struct slice){base + offset + WAL_GROUP_HEAD_BYTES, g->length - WAL_GROUP_HEAD_BYTES};
    if (g->kind != WAL_GROUP_SEAL)
        return err_set(e, WH_ECORRUPT, "footer: another kind of group");
    if (crc32c(0, body.ptr, body.len) != g->body_crc)
        return err_set(e, WH_ECORRUPT, "footer: checksum does not match");
    if ((rc = wal_footer_get(body, head, out, e)) != 0)
        return rc;
    if (out->last_crc != g->prev_crc || g->first_index != out->last_index + 1)
        return err_set(e, WH_ECORRUPT, "footer: does not agree with its own head");
    return 0;
}

bool wal_is_zero(const char *p, size_t n)
{
    while (n >= 8) {
        if (le64_get(p) != 0)
            return false;
        p += 8;
        n -= 8;
    }
    while (n-- > 0)
        if (*p++ != 0)
            return false;
    return true;
}

/* The end of what a block says of this segment's life; at when it says nothing.
 *
 * A file that began as zeros was written by this life wherever it is not zero. A reused one is full
 * of blocks of other lives; there only a group head with this segment's number speaks. (A group
 * whose head never arrived is not seen then. It needs not be: without that head nothing can make
 * its other blocks part of the log.) */
static uint64_t life_end(const char *base, const struct wal_head *head, uint64_t at, bool valid,
                         const struct wal_group *g)
{
    if (head->former == 0)
        return wal_is_zero(base + at, WAL_BLOCK_BYTES) ? at : at + WAL_BLOCK_BYTES;
    if (valid)
        return wal_block_align(at + g->length);
    return wal_group_claims(base, head, at) ? at + WAL_BLOCK_BYTES : at;
}

void wal_scan_tail(const char *base, const struct wal_head *head, uint64_t offset,
                   struct wal_tail_report *out)
{
    struct wal_group g;

    *out = (struct wal_tail_report){.tail = WAL_TAIL_CLEAN, .dirty_end = offset};
    for (uint64_t at = offset; at < head->segment_bytes; at += WAL_BLOCK_BYTES) {
        bool valid = wal_group_get(base, head, at, &g, NULL) == 0;
        uint64_t end = life_end(base, head, at, valid, &g);

        if (end == at)
            continue;
        if (end > out->dirty_end)
            out->dirty_end = end;
        if (out->tail == WAL_TAIL_CLEAN)
            out->tail = WAL_TAIL_TORN;
        if (out->tail == WAL_TAIL_TORN && valid && g.synced_to > offset) {
            out->tail = WAL_TAIL_ROT;
            out->evidence_offset = at;
            out->evidence_synced_to = g.synced_to;
        }
    }
}
