/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/scan.h"

/* Looks at the head only: most entries of the range are other tables'. Held records are none of a
 * plan's rows. */
static bool is_of(struct slice payload, struct slice table)
{
    struct slice name;
    uint32_t count;
    uint8_t flags;
    return wal_batch_head(payload, &name, &count, &flags) && (flags & WAL_BATCH_HELD) == 0 &&
           slice_eq(name, table);
}

int flush_scan_open(struct flush_scan *s, struct wal *w, struct slice table,
                    const struct flush_span *spans, uint32_t span_count, struct err *e)
{
    *s = (struct flush_scan){.table = table, .spans = spans, .span_count = span_count};
    return span_count == 0 ? 0 : wal_cursor_open(&s->cursor, w, spans[0].first, e);
}

int flush_scan_seek(struct flush_scan *s, uint64_t index, uint32_t row, struct err *e)
{
    s->at = 0;
    while (s->at < s->span_count && s->spans[s->at].last < index)
        s->at++;
    s->row = row;
    return s->at == s->span_count ? 0 : wal_cursor_seek(s->cursor, index, e);
}

int flush_scan_next(struct flush_scan *s, struct flush_scan_entry *entry, struct err *e)
{
    struct wal_view view;
    while (s->at < s->span_count) {
        int rc = wal_cursor_next(s->cursor, &view, e);
        if (rc != 0)
            return rc;
        if (view.index > s->spans[s->at].last) {
            s->at++;
            if (s->at < s->span_count &&
                (rc = wal_cursor_seek(s->cursor, s->spans[s->at].first, e)) != 0)
                return rc;
            continue;
        }
        if (view.type == WAL_EVENTS && is_of(view.payload, s->table))
            break;
    }
    if (s->at == s->span_count)
        return WH_EEND;
    int rc = wal_batch_parse(view.payload, &entry->batch, e);
    if (rc != 0)
        return rc;
    entry->index = view.index;
    entry->row = s->row;
    s->row += entry->batch.count;
    return 0;
}

int flush_scan_check(const struct flush_scan *s, struct err *e)
{
    return s->cursor == NULL ? 0 : wal_cursor_check(s->cursor, e);
}

void flush_scan_close(struct flush_scan *s)
{
    if (s->cursor != NULL)
        wal_cursor_close(s->cursor);
    s->cursor = NULL;
}
