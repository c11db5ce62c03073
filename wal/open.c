/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/magic.h"
#include "io/clock.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int options_check(const struct wal_options *o, struct err *e)
{
    if (o->path == NULL || o->path[0] == '\0' || strlen(o->path) + WAL_NAME_CAP >= WAL_PATH_CAP)
        return err_set_errno(e, -ENAMETOOLONG, "log folder \"%s\"", o->path ? o->path : "");
    if (o->segment_size_bytes != 0 && !wal_segment_bytes_valid(o->segment_size_bytes))
        return err_set_errno(e, -EINVAL,
                             "segment size %" PRIu64
                             " (it must be a multiple of 4 KiB from 64 KiB to 4 GiB)",
                             o->segment_size_bytes);
    if (o->group_bytes_max > WAL_SEGMENT_BYTES_MAX / 4)
        return err_set_errno(e, -EINVAL, "group size %" PRIu64, o->group_bytes_max);
    if (o->piece_bytes > WAL_PIECE_BYTES_MAX || o->piece_bytes % WAL_BLOCK_BYTES != 0)
        return err_set_errno(e, -EINVAL, "piece size %" PRIu64, o->piece_bytes);
    return 0;
}

int wal_buffers_make(struct wal *w, uint64_t segment_bytes)
{
    uint64_t group = WAL_GROUP_HEAD_BYTES + wal_entry_bytes(LIMIT_WAL_PAYLOAD_BYTES);

    if (group < w->group_bytes_max)
        group = w->group_bytes_max;
    if (group > segment_bytes) /* no group is larger than its segment */
        group = segment_bytes;
    w->group_cap = wal_block_align(group);
    w->group = aligned_alloc(WAL_BLOCK_BYTES, (size_t)w->group_cap);
    w->foot_cap = segment_bytes - wal_footer_offset(segment_bytes);
    w->foot = aligned_alloc(WAL_BLOCK_BYTES, (size_t)w->foot_cap);
    return w->group != NULL && w->foot != NULL ? 0 : -ENOMEM;
}

static struct wal *wal_make(const struct io *io, const struct wal_options *o)
{
    struct wal *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return NULL;
    w->magic = WAL_MAGIC;
    w->io = io;
    w->read_only = o->read_only;
    w->lock_fd = -1;
    w->segment_bytes =
        o->segment_size_bytes != 0 ? o->segment_size_bytes : WAL_SEGMENT_BYTES_DEFAULT;
    w->piece_bytes = o->piece_bytes != 0 ? o->piece_bytes : WAL_PIECE_BYTES_MAX;
    w->group_bytes_max = o->group_bytes_max != 0 ? o->group_bytes_max : WAL_GROUP_BYTES_DEFAULT;
    w->bytes_max = o->bytes_max;
    w->free_bytes_min = o->free_bytes_min;
    (void)snprintf(w->path, sizeof(w->path), "%s", o->path); /* length was checked */
    must(pthread_mutex_init(&w->lock, NULL) == 0);
    must(pthread_mutex_init(&w->map_lock, NULL) == 0);
    return w;
}

static int folder_take(struct wal *w, struct err *e)
{
    const struct io *io = w->io;
    char path[WAL_PATH_CAP];
    int rc;

    if (w->read_only)
        return 0;
    rc = io->mkdir(io->ctx, w->path);
    if (rc != 0 && rc != -EEXIST)
        return err_set_errno(e, rc, "cannot make the folder %s", w->path);
    if ((rc = wal_path(w, WAL_LOCK_NAME, path)) != 0)
        return err_set_errno(e, rc, "%s", w->path);
    w->lock_fd = io->open(io->ctx, path, IO_WRITE | IO_CREATE);
    if (w->lock_fd < 0)
        return err_set_errno(e, w->lock_fd, "cannot open %s", path);
    if ((rc = io->lock(io->ctx, w->lock_fd)) != 0)
        return err_set_errno(e, rc, "cannot lock %s (is another process using this log?)", path);
    return 0;
}

static void publish(struct wal *w, struct wal_recovery *report)
{
    atomic_store(&w->appended_index, w->last_index);
    atomic_store(&w->durable_index, w->last_index);
    /* Only who owns consensus knows what is committed; what was deleted certainly was. A tool that
     * only reads is shown everything. */
    atomic_store(&w->commit_index, w->read_only ? w->last_index : w->segs[0]->first_index - 1);
    if (!w->read_only) {
        wal_publish_free(w);
        w->told = w->active->head.number - 1;
    }
    if (w->spare_count > 0)
        atomic_store(&w->spare_free, wal_spare_room(w->spare[0]));
    report->first_index = w->segs[0]->first_index;
    report->last_index = w->last_index;
    report->last_term = w->last_term;
    report->segments = w->seg_count + w->spare_count;
    report->bytes = w->bytes;
    report->hard_term = w->hard_term;
    report->hard_vote = w->hard_vote;
}

static void wal_destroy(struct wal *w)
{
    for (size_t i = 0; i < w->seg_count; i++)
        wal_segment_free(w, w->segs[i]);
    for (size_t i = 0; i < w->spare_count; i++)
        wal_segment_free(w, w->spare[i]);
    free(w->segs);
    free(w->group);
    free(w->foot);
    if (w->lock_fd >= 0)
        (void)w->io->close(w->io->ctx, w->lock_fd); /* empty file */
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_mutex_destroy(&w->map_lock);
    w->magic = 0;
    free(w);
}

int wal_open(struct wal **out, const struct io *io, const struct wal_options *options,
             struct wal_recovery *report, struct err *e)
{
    uint64_t start_ns = io_monotonic_ns();
    struct wal_recovery unused;
    struct wal *w;
    int rc;

    *out = NULL;
    if (report == NULL)
        report = &unused;
    *report = (struct wal_recovery){0};
    if ((rc = options_check(options, e)) != 0)
        return rc;
    w = wal_make(io, options);
    if (w == NULL) {
        rc = err_set_errno(e, -ENOMEM, "cannot open the log in %s", options->path);
        goto failed;
    }
    if ((rc = folder_take(w, e)) != 0 || (rc = wal_recover(w, report, e)) != 0)
        goto failed;
    publish(w, report);
    report->duration_us = (io_monotonic_ns() - start_ns) / 1000;
    *out = w;
    return 0;
failed:
    if (w != NULL)
        wal_destroy(w);
    return rc;
}

void wal_close(struct wal *w)
{
    struct err e;

    if (w == NULL)
        return;
    CHECK_MAGIC(w, WAL_MAGIC);
    must(w->cursors == 0);
    /* wal_sync with nothing to sync writes the mark. */
    if (!w->read_only && w->poison.code == 0 && w->group_len == 0 &&
        w->act.offset == w->act.synced && wal_sync(w, &e) != 0)
        log_error("wal.close", "%s", e.text);
    wal_destroy(w);
}
