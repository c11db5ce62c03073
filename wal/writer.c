/* SPDX-License-Identifier: Apache-2.0 */
/* The writer's half: append, sync, switch to the next segment.
 *
 * An entry is copied into the open group together with its checksum. A group is written with one
 * pwritev when it is full, when wal_sync asks, or when the segment ends; each group starts on a
 * fresh 4 KiB block, so a sector that was acknowledged is never written again. Its head says up to
 * where the segment was durable at that moment; recovery lives on that sentence. */
#include "base/crc32c.h"
#include "base/le.h"
#include "base/log.h"
#include "base/magic.h"
#include "wal/wal_priv.h"

#include <inttypes.h>

int wal_fail(struct wal *w, int code, const char *what, uint64_t offset, uint64_t n)
{
    if (w->poison.code == 0) {
        (void)err_set_errno(&w->poison, code,
                            "%s/" WAL_NAME_FMT ": %s of %" PRIu64 " bytes at %" PRIu64
                            " failed; nothing more is acknowledged, the process must restart and "
                            "trust only the disk",
                            w->path, w->active->head.number, what, n, offset);
        log_error("wal.poisoned", "%s", w->poison.text);
    }
    return code;
}

static int poisoned(const struct wal *w, struct err *e)
{
    return err_set(e, WH_EPOISON, "%s", w->poison.text);
}

static int write_at(struct wal *w, const char *p, uint64_t n, uint64_t offset)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = (size_t)n};
    int rc = w->io->pwritev(w->io->ctx, w->active->fd, &iov, 1, offset);

    return rc == 0 ? 0 : wal_fail(w, rc, "write", offset, n);
}

static int sync_active(struct wal *w)
{
    int rc = w->io->fdatasync(w->io->ctx, w->active->fd);

    if (rc != 0)
        return wal_fail(w, rc, "fdatasync", w->act.synced, w->act.offset - w->act.synced);
    w->act.synced = w->act.offset;
    atomic_store_explicit(&w->durable_index, w->last_index, memory_order_release);
    return 0;
}

void wal_publish_free(struct wal *w)
{
    uint64_t used = w->act.offset + wal_block_align(w->group_len);

    atomic_store_explicit(&w->active_free, w->active->head.footer_offset - used,
                          memory_order_relaxed);
}

/* Complete the group at p (head room first, length bytes in all), write it and chain it. */
static int put_group(struct wal *w, char *p, uint64_t offset, struct wal_group *g)
{
    uint64_t padded = wal_block_align(g->length);
    int rc;

    g->position = offset;
    g->synced_to = w->act.synced;
    g->prev_crc = w->act.last_crc;
    wal_group_put(p, &w->active->head, g);
    memset(p + g->length, 0, (size_t)(padded - g->length));
    if ((rc = write_at(w, p, padded, offset)) != 0)
        return rc;
    w->act.last_crc = g->crc;
    return 0;
}

static int write_group(struct wal *w)
{
    struct wal_group g = {.kind = WAL_GROUP_DATA,
                          .first_index = w->group_first_index,
                          .length = (uint32_t)w->group_len,
                          .entry_count = w->group_count,
                          .body_crc = w->group_body_crc};
    int rc;

    if (w->group_len == 0)
        return 0;
    if ((rc = put_group(w, w->group, w->act.offset, &g)) != 0)
        return rc;
    wal_segment_sparse(w->active, &w->act, w->act.offset, g.first_index);
    w->act.offset += wal_block_align(g.length);
    w->act.unmarked = true;
    w->group_len = 0;
    return 0;
}

int wal_mark(struct wal *w)
{
    struct wal_group g = {.kind = WAL_GROUP_MARK,
                          .first_index = w->last_index + 1,
                          .length = WAL_GROUP_HEAD_BYTES};
    int rc;

    must(w->group_len == 0);
    if (!w->act.unmarked || w->act.offset + WAL_BLOCK_BYTES > w->active->head.footer_offset)
        return 0;
    if ((rc = put_group(w, w->group, w->act.offset, &g)) != 0)
        return rc;
    w->act.offset += WAL_BLOCK_BYTES;
    w->act.unmarked = false;
    wal_publish_free(w);
    return 0;
}

/* --- switching segments --------------------------------------------------------------------- */

/* Body of the footer behind the group head; returns its length. */
static uint64_t foot_fill(struct wal *w, char *p, uint64_t cap)
{
    struct wal_segment *seg = w->active;
    uint32_t sparse_count = atomic_load_explicit(&seg->sparse_count, memory_order_relaxed);
    struct wal_footer foot = {.first_index = seg->first_index,
                              .last_index = w->last_index,
                              .entry_count = w->act.entry_count,
                              .time_min_ns = w->act.time_min_ns,
                              .time_max_ns = w->act.time_max_ns,
                              .end_offset = w->act.offset,
                              .last_term = w->last_term,
                              .hard_term = w->hard_term,
                              .hard_vote = w->hard_vote,
                              .last_crc = w->act.last_crc,
                              .sparse_count = sparse_count};
    uint64_t n = WAL_FOOT_BODY_BYTES + (uint64_t)sparse_count * WAL_SPARSE_BYTES;

    must(n <= cap);
    for (uint32_t i = 0; i < sparse_count; i++) {
        char *item = p + WAL_FOOT_BODY_BYTES + (size_t)i * WAL_SPARSE_BYTES;

        le64_put(item, seg->sparse[i].index);
        le64_put(item + 8, seg->sparse[i].offset);
    }
    n += wal_tables_put(&w->tables, p + n, (size_t)(cap - n), &foot.table_count);
    foot.tables_incomplete = w->tables.incomplete;
    wal_footer_put(p, &foot);
    return n;
}

static int seal(struct wal *w)
{
    struct wal_segment *seg = w->active;
    uint64_t room = seg->head.segment_bytes - seg->head.footer_offset;
    struct wal_group g = {.kind = WAL_GROUP_SEAL, .first_index = w->last_index + 1};
    uint64_t n;
    int rc;

    must(room <= w->foot_cap);
    n = foot_fill(w, w->foot + WAL_GROUP_HEAD_BYTES, room - WAL_GROUP_HEAD_BYTES);
    g.length = (uint32_t)(WAL_GROUP_HEAD_BYTES + n);
    g.body_crc = crc32c(0, w->foot + WAL_GROUP_HEAD_BYTES, (size_t)n);
    if ((rc = put_group(w, w->foot, seg->head.footer_offset, &g)) != 0)
        return rc;
    /* The next segment names the last group of the data: it must hold without the footer too. */
    w->act.last_crc = g.prev_crc;
    /* Until the footer is durable the next segment must not begin: recovery takes an opened segment
     * as proof that the one before it is complete. */
    return sync_active(w);
}

int wal_activate(struct wal *w, struct wal_segment *seg)
{
    uint32_t prev_crc = w->act.last_crc;
    uint64_t prev_end = w->act.offset, prev_number = w->active ? w->active->head.number : 0;
    struct wal_open_record open = {.first_index = w->last_index + 1,
                                   .last_term = w->last_term,
                                   .hard_term = w->hard_term,
                                   .hard_vote = w->hard_vote,
                                   .prev_number = prev_number,
                                   .prev_end = prev_number ? prev_end : 0,
                                   .prev_crc = prev_number ? prev_crc : 0,
                                   .membership = {w->membership, w->membership_len}};
    struct wal_group g = {.kind = WAL_GROUP_OPEN, .first_index = open.first_index};
    int rc;

    must(w->group_len == 0 && (prev_number == 0 || seg->head.number == prev_number + 1));
    must(seg->first_index == open.first_index);
    w->active = seg;
    w->act = (struct wal_active){.synced = WAL_HEAD_BYTES, .time_min_ns = UINT64_MAX};
    wal_tables_reset(&w->tables);
    wal_open_put(w->group + WAL_GROUP_HEAD_BYTES, &open);
    g.length = (uint32_t)(WAL_GROUP_HEAD_BYTES + WAL_OPEN_BODY_BYTES + open.membership.len);
    g.body_crc = crc32c(0, w->group + WAL_GROUP_HEAD_BYTES, g.length - WAL_GROUP_HEAD_BYTES);
    if ((rc = put_group(w, w->group, WAL_HEAD_BYTES, &g)) != 0)
        return rc;
    w->act.offset = WAL_HEAD_BYTES + wal_block_align(g.length);
    wal_publish_free(w);
    return 0;
}

/* Seal the active segment and open the prepared one, which the caller has seen to exist. */
static int rotate(struct wal *w)
{
    struct wal_segment *old = w->active, *seg;
    int rc;

    if ((rc = write_group(w)) != 0 || (rc = seal(w)) != 0)
        return rc;
    old->last_index = w->last_index;
    old->time_max_ns = w->act.time_max_ns;
    (void)w->io->close(w->io->ctx, old->fd); /* synced; nothing is written to it again */
    old->fd = -1;

    wal_lock(&w->lock);
    must(w->spare_count > 0 && w->seg_count < w->seg_cap);
    seg = w->spare[0];
    seg->first_index = w->last_index + 1;
    w->spare_count--;
    memmove(w->spare, w->spare + 1, w->spare_count * sizeof(struct wal_segment *));
    w->segs[w->seg_count++] = seg;
    atomic_store_explicit(&old->sealed, true, memory_order_release);
    atomic_store_explicit(&w->spare_free, w->spare_count > 0 ? wal_spare_room(w->spare[0]) : 0,
                          memory_order_relaxed);
    wal_unlock(&w->lock);
    return wal_activate(w, seg);
}

/* --- append --------------------------------------------------------------------------------- */

uint64_t wal_segment_room(const struct wal *w, const struct wal_segment *seg)
{
    return seg->head.footer_offset - WAL_HEAD_BYTES -
           wal_block_align(WAL_GROUP_HEAD_BYTES + WAL_OPEN_BODY_BYTES + w->membership_len);
}

bool wal_can_have_room(const struct wal *w, uint64_t n)
{
    uint64_t most = wal_footer_offset(w->segment_bytes) - WAL_HEAD_BYTES -
                    wal_block_align(WAL_GROUP_HEAD_BYTES + WAL_OPEN_BODY_BYTES + w->membership_len);
    return n <= UINT64_MAX / 2 &&
           wal_block_align(n + WAL_GROUP_HEAD_BYTES + WAL_ENTRY_HEAD_BYTES) <= most;
}

/* Room for need more bytes of entry, after closing the group or the segment where it must be. */
static int make_room(struct wal *w, uint64_t need)
{
    uint64_t fresh = wal_block_align(WAL_GROUP_HEAD_BYTES + need), spare_room = 0;
    bool spare;
    int rc = 0;

    if (w->group_len > 0 && w->group_len + need > w->group_bytes_max) {
        if ((rc = write_group(w)) != 0)
            return rc;
        wal_publish_free(w);
    }
    if (w->group_len > 0 &&
        w->act.offset + wal_block_align(w->group_len + need) <= w->active->head.footer_offset)
        return 0;
    if (w->group_len == 0 && w->act.offset + fresh <= w->active->head.footer_offset)
        return 0;
    wal_lock(&w->lock);
    spare = w->spare_count > 0;
    if (spare)
        spare_room = wal_segment_room(w, w->spare[0]);
    wal_unlock(&w->lock);
    /* An entry that no segment of this size can hold would otherwise wait for ever. */
    if (fresh > (spare ? spare_room
                       : wal_footer_offset(w->segment_bytes) - 2 * WAL_BLOCK_BYTES -
                             wal_block_align(w->membership_len)))
        return WH_ELIMIT;
    return spare ? rotate(w) : WH_EAGAIN;
}

void wal_note_entry(struct wal *w, const struct wal_entry_head *en, struct slice payload)
{
    w->act.entry_count++;
    if (en->time_ns < w->act.time_min_ns)
        w->act.time_min_ns = en->time_ns;
    if (en->time_ns > w->act.time_max_ns)
        w->act.time_max_ns = en->time_ns;
    w->last_index = en->index;
    w->last_term = en->term;
    if (en->type == WAL_EVENTS) {
        wal_tables_note(&w->tables, en->index, payload);
    } else if (en->type == WAL_HARD_STATE && payload.len == WAL_HARD_STATE_BYTES) {
        w->hard_term = le64_get(payload.ptr);
        w->hard_vote = le64_get(payload.ptr + 8);
    } else if (en->type == WAL_MEMBERSHIP && payload.len <= WAL_MEMBERSHIP_BYTES_MAX) {
        memcpy(w->membership, payload.ptr, payload.len);
        w->membership_len = payload.len;
    }
}

/* There is room: copy the entry behind the group. */
static void group_add(struct wal *w, const struct wal_entry *entry, uint64_t payload_len)
{
    struct wal_entry_head en = {.payload_len = (uint32_t)payload_len,
                                .index = entry->index,
                                .term = entry->term,
                                .time_ns = entry->time_ns,
                                .type = entry->type,
                                .flags = entry->flags};
    uint64_t bytes = wal_entry_bytes(payload_len);
    char *head, *payload, *to;

    if (w->group_len == 0) {
        w->group_len = WAL_GROUP_HEAD_BYTES;
        w->group_count = 0;
        w->group_body_crc = 0;
        w->group_first_index = entry->index;
    }
    must(wal_block_align(w->group_len + bytes) <= w->group_cap);
    head = w->group + w->group_len;
    payload = to = head + WAL_ENTRY_HEAD_BYTES;
    for (int i = 0; i < entry->part_count; i++) {
        en.payload_crc =
            wal_crc_copy(en.payload_crc, to, entry->parts[i].iov_base, entry->parts[i].iov_len);
        to += entry->parts[i].iov_len;
    }
    memset(to, 0, (size_t)(head + bytes - to));
    wal_entry_put(head, &w->active->head, w->act.offset + w->group_len, &en);
    w->group_body_crc = crc32c(w->group_body_crc, head, WAL_ENTRY_HEAD_BYTES);
    w->group_len += bytes;
    w->group_count++;
    wal_note_entry(w, &en, (struct slice){payload, (size_t)payload_len});
}

int wal_append(struct wal *w, const struct wal_entry *entry)
{
    uint64_t payload_len = 0;
    int rc;

    CHECK_MAGIC(w, WAL_MAGIC);
    must(!w->read_only && entry->index == w->last_index + 1 && entry->term >= w->last_term);
    must(entry->type >= WAL_EVENTS && entry->type <= WAL_SYNC_MARK);
    if (w->poison.code != 0)
        return WH_EPOISON;
    for (int i = 0; i < entry->part_count; i++)
        if (__builtin_add_overflow(payload_len, entry->parts[i].iov_len, &payload_len))
            return WH_ELIMIT;
    if (payload_len > LIMIT_WAL_PAYLOAD_BYTES ||
        (entry->type == WAL_MEMBERSHIP && payload_len > WAL_MEMBERSHIP_BYTES_MAX))
        return WH_ELIMIT;
    rc = make_room(w, wal_entry_bytes(payload_len));
    if (rc != 0)
        return w->poison.code != 0 ? WH_EPOISON : rc;
    group_add(w, entry, payload_len);
    atomic_store_explicit(&w->appended_index, w->last_index, memory_order_relaxed);
    wal_publish_free(w);
    return 0;
}

int wal_sync(struct wal *w, struct err *e)
{
    CHECK_MAGIC(w, WAL_MAGIC);
    must(!w->read_only);
    if (w->poison.code != 0)
        return poisoned(w, e);
    if (w->group_len == 0 && w->act.offset == w->act.synced && wal_mark(w) != 0)
        goto failed;
    if (write_group(w) != 0)
        goto failed;
    if (w->act.offset > w->act.synced && sync_active(w) != 0)
        goto failed;
    return 0;
failed:
    return err_set(e, w->poison.code, "%s", w->poison.text);
}

void wal_commit(struct wal *w, uint64_t index)
{
    CHECK_MAGIC(w, WAL_MAGIC);
    must(index <= atomic_load_explicit(&w->durable_index, memory_order_relaxed));
    if (index > atomic_load_explicit(&w->commit_index, memory_order_relaxed))
        atomic_store_explicit(&w->commit_index, index, memory_order_release);
}

void wal_log_id(const struct wal *w, uint8_t id[WAL_LOG_ID_BYTES])
{
    memcpy(id, w->cluster_id, WAL_LOG_ID_BYTES);
}

uint64_t wal_durable_index(const struct wal *w)
{
    return atomic_load_explicit(&w->durable_index, memory_order_acquire);
}

uint64_t wal_commit_index(const struct wal *w)
{
    return atomic_load_explicit(&w->commit_index, memory_order_acquire);
}
