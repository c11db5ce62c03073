/* SPDX-License-Identifier: Apache-2.0 */
/* Reading committed entries straight from the mapping.
 *
 * A cursor walks group by group inside the segment that it pins and never touches a byte beyond the
 * commit mark: what the writer is filling lies behind it. Nothing here takes a lock except moving
 * to another segment. */
#include "base/crc32c.h"
#include "base/le.h"
#include "base/magic.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>

struct wal_cursor {
    uint32_t magic;
    struct wal *w;
    struct wal_segment *seg; /* pinned; NULL after a failed move */
    uint64_t next_index;
    uint64_t group; /* offset of the group at hand, or of the next when left is 0 */
    uint64_t at;    /* of the next entry in it */
    uint64_t end;   /* of its entries */
    uint32_t left;  /* entries still to come in it */
    uint32_t seen;  /* faults when the last view was checked */
    bool located;   /* group, at, end, left belong to next_index */
};

static int cursor_pin(struct wal_cursor *c, struct err *e)
{
    int rc;

    if (c->seg != NULL)
        wal_segment_unpin(c->w, c->seg);
    c->seg = NULL;
    c->located = false;
    rc = wal_segment_pin(c->w, c->next_index, &c->seg, e);
    if (rc == 0)
        c->seen = atomic_load(&c->seg->faults);
    return rc;
}

int wal_cursor_open(struct wal_cursor **out, struct wal *w, uint64_t from_index, struct err *e)
{
    struct wal_cursor *c = calloc(1, sizeof(*c));
    int rc;

    CHECK_MAGIC(w, WAL_MAGIC);
    if (c == NULL)
        return err_set_errno(e, -ENOMEM, "cannot open a cursor");
    *c = (struct wal_cursor){.magic = CURSOR_MAGIC, .w = w};
    wal_lock(&w->lock);
    w->cursors++;
    wal_unlock(&w->lock);
    rc = wal_cursor_seek(c, from_index, e);
    if (rc != 0) {
        wal_cursor_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void wal_cursor_close(struct wal_cursor *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CURSOR_MAGIC);
    if (c->seg != NULL)
        wal_segment_unpin(c->w, c->seg);
    wal_lock(&c->w->lock);
    c->w->cursors--;
    wal_unlock(&c->w->lock);
    c->magic = 0;
    free(c);
}

int wal_cursor_seek(struct wal_cursor *c, uint64_t index, struct err *e)
{
    struct wal_stats stats;

    CHECK_MAGIC(c, CURSOR_MAGIC);
    if (index == 0) {
        wal_stats_get(c->w, &stats);
        index = stats.first_index;
    }
    c->next_index = index;
    return cursor_pin(c, e);
}

uint64_t wal_cursor_index(const struct wal_cursor *c)
{
    CHECK_MAGIC(c, CURSOR_MAGIC);
    return c->next_index;
}

static int damaged(const struct wal_cursor *c, uint64_t offset, struct err *e,
                   const struct err *cause)
{
    return err_set(e, WH_ECORRUPT,
                   "%s/" WAL_NAME_FMT ": index %" PRIu64 " at offset %" PRIu64 ": %s%s", c->w->path,
                   c->seg->head.number, c->next_index, offset, cause->text,
                   atomic_load(&c->seg->faults) != c->seen ? " (a page of the file vanished)" : "");
}

/* The group head at c->group, whose place is below the commit mark. */
static int group_head(struct wal_cursor *c, struct wal_group *g, struct err *e)
{
    const struct wal_head *head = &c->seg->head;
    struct err cause = {0};

    if (c->group + WAL_GROUP_HEAD_BYTES > head->footer_offset) {
        (void)err_set(&cause, WH_ECORRUPT, "the segment ends before this entry");
        return damaged(c, c->group, e, &cause);
    }
    if (wal_group_get(c->seg->map, head, c->group, g, &cause) != 0)
        return damaged(c, c->group, e, &cause);
    return 0;
}

static uint32_t sparse_count(const struct wal_segment *seg)
{
    uint32_t count = atomic_load_explicit(&seg->sparse_count, memory_order_acquire);

    if (seg->sparse != NULL)
        return count;
    return seg->foot_valid ? seg->foot.sparse_count : 0;
}

static struct wal_sparse sparse_item(const struct wal_segment *seg, uint32_t i)
{
    const char *item;

    if (seg->sparse != NULL)
        return seg->sparse[i];
    item = seg->foot.sparse + (size_t)i * WAL_SPARSE_BYTES;
    return (struct wal_sparse){.index = le64_get(item), .offset = le64_get(item + 8)};
}

/* Offset of a group at or before next_index. */
static uint64_t start_offset(const struct wal_cursor *c)
{
    uint32_t low = 0, high;
    uint64_t offset = WAL_HEAD_BYTES;

    for (high = sparse_count(c->seg); low < high;) {
        uint32_t mid = low + (high - low) / 2;
        struct wal_sparse item = sparse_item(c->seg, mid);

        if (item.index <= c->next_index) {
            offset = item.offset;
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return offset;
}

/* Is the entry that the group at this item begins with committed, and older than time_ns? */
static bool older(struct wal_cursor *c, struct wal_sparse item, uint64_t time_ns)
{
    struct wal_entry_head en;
    struct wal_group g;

    if (item.index > wal_commit_index(c->w) || item.index < c->seg->first_index)
        return false;
    c->group = item.offset;
    return group_head(c, &g, NULL) == 0 && g.kind == WAL_GROUP_DATA &&
           g.first_index == item.index &&
           wal_entry_get(c->seg->map, &c->seg->head, c->group + WAL_GROUP_HEAD_BYTES,
                         c->group + g.length, &en, NULL) == 0 &&
           en.time_ns < time_ns;
}

int wal_cursor_seek_time(struct wal_cursor *c, uint64_t time_ns, struct err *e)
{
    uint32_t low = 0, high;
    int rc;

    CHECK_MAGIC(c, CURSOR_MAGIC);
    do { /* it may be trimmed in between */
        c->next_index = wal_segment_at_time(c->w, time_ns);
        rc = cursor_pin(c, e);
    } while (rc == WH_ENOTFOUND);
    if (rc != 0)
        return rc;
    for (high = sparse_count(c->seg); low < high;) {
        uint32_t mid = low + (high - low) / 2;
        struct wal_sparse item = sparse_item(c->seg, mid);

        if (older(c, item, time_ns)) {
            c->next_index = item.index;
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return 0;
}

/* Find the group of next_index, which is committed and in this segment, and the entry in it. */
static int locate(struct wal_cursor *c, struct err *e)
{
    struct wal_entry_head en;
    struct wal_group g;
    struct err cause = {0};
    int rc;

    for (c->group = start_offset(c);; c->group = wal_block_align(c->group + g.length)) {
        if ((rc = group_head(c, &g, e)) != 0)
            return rc;
        if (g.kind == WAL_GROUP_DATA && c->next_index < g.first_index + g.entry_count)
            break;
    }
    if (c->next_index < g.first_index) {
        (void)err_set(&cause, WH_ECORRUPT, "the log goes on at index %" PRIu64, g.first_index);
        return damaged(c, c->group, e, &cause);
    }
    c->at = c->group + WAL_GROUP_HEAD_BYTES;
    c->end = c->group + g.length;
    c->left = (uint32_t)(g.first_index + g.entry_count - c->next_index);
    for (uint64_t i = g.first_index; i < c->next_index; i++) {
        if (wal_entry_get(c->seg->map, &c->seg->head, c->at, c->end, &en, &cause) != 0)
            return damaged(c, c->at, e, &cause);
        c->at += wal_entry_bytes(en.payload_len);
    }
    c->located = true;
    return 0;
}

/* Stand on the next entry: over the end of the group, over marks, into the next segment. */
static int advance(struct wal_cursor *c, struct err *e)
{
    struct wal_group g;
    int rc;

    if (c->seg == NULL || (atomic_load_explicit(&c->seg->sealed, memory_order_acquire) &&
                           c->next_index > c->seg->last_index))
        if ((rc = cursor_pin(c, e)) != 0)
            return rc;
    if (!c->located)
        return locate(c, e);
    while (c->left == 0) {
        c->group = wal_block_align(c->end);
        if ((rc = group_head(c, &g, e)) != 0)
            return rc;
        c->end = c->group + g.length;
        if (g.kind != WAL_GROUP_DATA)
            continue;
        c->at = c->group + WAL_GROUP_HEAD_BYTES;
        c->left = g.entry_count;
    }
    return 0;
}

int wal_cursor_next(struct wal_cursor *c, struct wal_view *view, struct err *e)
{
    struct wal_entry_head en;
    struct err cause = {0};
    const char *payload;
    int rc;

    CHECK_MAGIC(c, CURSOR_MAGIC);
    if (c->next_index > wal_commit_index(c->w))
        return WH_EEND;
    if ((rc = advance(c, e)) != 0)
        return rc;
    if (wal_entry_get(c->seg->map, &c->seg->head, c->at, c->end, &en, &cause) != 0)
        return damaged(c, c->at, e, &cause);
    payload = c->seg->map + c->at + WAL_ENTRY_HEAD_BYTES;
    if (en.index != c->next_index)
        (void)err_set(&cause, WH_ECORRUPT, "another entry, %" PRIu64 ", is there", en.index);
    else if (crc32c(0, payload, en.payload_len) != en.payload_crc)
        (void)err_set(&cause, WH_ECORRUPT, "checksum of the payload does not match");
    if (cause.code != 0)
        return damaged(c, c->at, e, &cause);
    *view = (struct wal_view){.type = en.type,
                              .flags = en.flags,
                              .index = en.index,
                              .term = en.term,
                              .time_ns = en.time_ns,
                              .payload = {payload, en.payload_len}};
    c->seen = atomic_load(&c->seg->faults);
    c->at += wal_entry_bytes(en.payload_len);
    c->left--;
    c->next_index++;
    return 0;
}

int wal_cursor_check(const struct wal_cursor *c, struct err *e)
{
    CHECK_MAGIC(c, CURSOR_MAGIC);
    if (c->seg == NULL || atomic_load(&c->seg->faults) == c->seen)
        return 0;
    return err_set(e, WH_ECORRUPT,
                   "%s/" WAL_NAME_FMT ": a page vanished while index %" PRIu64 " was being read",
                   c->w->path, c->seg->head.number, c->next_index - 1);
}
