/* SPDX-License-Identifier: Apache-2.0 */
/* wavehousectl wal: the log seen file by file, without the library's recovery, so that a damaged
 * log can be looked at as well. Reads only. */
#include "wal/wal.h"
#include "base/buf.h"
#include "base/limits.h"
#include "ctl/ctl.h"
#include "io/io.h"
#include "wal/batch.h"
#include "wal/scan.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct options {
    enum {
        LS,
        DUMP,
        VERIFY
    } command;
    bool json, payload;
    uint64_t from, to;
    const char *dir;
};

struct walk {
    const struct options *o;
    const struct io *io;
    uint64_t *numbers;
    size_t count, cap;
    unsigned damages;
    struct buf out;

    /* the segment at hand */
    char path[1024];
    struct wal_head head;
    struct wal_scan scan;
    struct wal_footer foot;
    bool opened, sealed;
    uint64_t entries, groups, first_index, last_index, time_min_ns, time_max_ns;
    bool damaged;

    /* Bytes behind the groups that may be a torn write, if this segment proves to be the last. */
    bool doubt;
    uint64_t doubt_from, doubt_to;
    uint64_t tail_number; /* of the last opened segment */
    char doubt_cause[WH_ERR_TEXT_CAP];

    /* the opened one before it */
    bool prev_valid;
    uint64_t prev_number, prev_next_index, prev_end;
    uint32_t prev_crc;
    uint8_t cluster_id[16]; /* of the first segment with a good head */
    bool cluster_known;
    uint64_t total_entries;
};

static const char *type_name(uint8_t type)
{
    static const char *const names[] = {[WAL_EVENTS] = "events",
                                        [WAL_NOOP] = "noop",
                                        [WAL_MEMBERSHIP] = "membership",
                                        [WAL_HARD_STATE] = "hard_state",
                                        [WAL_CONTROL] = "control",
                                        [WAL_FLUSH_PLAN] = "flush_plan",
                                        [WAL_FLUSH_DONE] = "flush_done",
                                        [WAL_DEAD_LETTER] = "dead_letter",
                                        [WAL_SEAL] = "seal",
                                        [WAL_SYNC_MARK] = "sync_mark"};

    if (type >= sizeof(names) / sizeof(names[0]) || names[type] == NULL)
        return "unknown";
    return names[type];
}

static void put_time(struct buf *out, uint64_t ns)
{
    time_t s = (time_t)(ns / 1000000000u);
    struct tm tm;

    if (gmtime_r(&s, &tm) == NULL)
        buf_put_str(out, "?");
    else
        buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%09uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(ns % 1000000000u));
}

static void print_line(struct walk *wk)
{
    buf_put_u8(&wk->out, '\n');
    ctl_write_json(buf_slice(&wk->out)); /* main asks ferror at the end */
    buf_reset(&wk->out);
}

/* One line per finding, on standard output for verify, else on standard error. */
__attribute__((format(printf, 4, 5))) static void damage(struct walk *wk, uint64_t from,
                                                         uint64_t to, const char *fmt, ...)
{
    FILE *to_file = wk->o->command == VERIFY ? stdout : stderr;
    va_list ap;

    (void)fprintf(to_file, "%s: bytes %" PRIu64 " to %" PRIu64 ": ", wk->path, from, to);
    va_start(ap, fmt);
    (void)vfprintf(to_file, fmt, ap);
    va_end(ap);
    (void)fputc('\n', to_file);
    wk->damages++;
    wk->damaged = true;
}

/* --- dump ----------------------------------------------------------------------------------- */

static void put_hex(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        buf_printf(out, "%02x", (unsigned)(uint8_t)s.ptr[i]);
}

/* The dedup id of record i; len 0: none. */
static struct slice record_id(const struct wal_batch *b, uint32_t i)
{
    static const char none[WAL_BATCH_ID_BYTES];
    const char *id = b->ids != NULL ? b->ids + (size_t)i * WAL_BATCH_ID_BYTES : none;

    return (struct slice){id, memcmp(id, none, sizeof(none)) != 0 ? sizeof(none) : 0};
}

static void dump_batch_json(struct walk *wk, const struct wal_batch *b)
{
    struct buf *out = &wk->out;

    buf_put_str(out, ",\"table\":");
    buf_put_json_string(out, b->table);
    buf_put_str(out, ",\"sender\":");
    buf_put_json_string(out, b->sender);
    buf_printf(out, ",\"count\":%u,\"batch_flags\":%u", b->count, b->flags);
    if (!wk->o->payload)
        return;
    buf_put_str(out, ",\"records\":[");
    for (uint32_t i = 0; i < b->count; i++) {
        struct wal_batch_record r = wal_batch_get(b, i);

        buf_printf(out, "%s{\"received_ns\":%" PRIu64, i > 0 ? "," : "", r.received_ns);
        if (record_id(b, i).len > 0) {
            buf_put_str(out, ",\"id\":\"");
            put_hex(out, record_id(b, i));
            buf_put_u8(out, '"');
        }
        buf_put_str(out, ",\"record\":");
        buf_put_slice(out, r.text);
        buf_put_u8(out, '}');
    }
    buf_put_u8(out, ']');
}

static void dump_json(struct walk *wk, const struct wal_entry_head *en, struct slice payload)
{
    struct buf *out = &wk->out;
    struct wal_batch b;

    buf_printf(out,
               "{\"index\":%" PRIu64 ",\"term\":%" PRIu64
               ",\"type\":\"%s\",\"flags\":%u,\"time\":\"",
               en->index, en->term, type_name(en->type), en->flags);
    put_time(out, en->time_ns);
    buf_printf(out, "\",\"bytes\":%u", en->payload_len);
    if (en->type == WAL_EVENTS && wal_batch_parse(payload, &b, NULL) == 0) {
        dump_batch_json(wk, &b);
    } else if (wk->o->payload) {
        buf_put_str(out, ",\"payload_hex\":\"");
        put_hex(out, payload);
        buf_put_u8(out, '"');
    }
    buf_put_u8(out, '}');
    print_line(wk);
}

static void dump_text(struct walk *wk, const struct wal_entry_head *en, struct slice payload)
{
    struct buf *out = &wk->out;
    struct wal_batch b;
    bool batch = en->type == WAL_EVENTS && wal_batch_parse(payload, &b, NULL) == 0;

    buf_printf(out, "%" PRIu64 " term=%" PRIu64 " time=", en->index, en->term);
    put_time(out, en->time_ns);
    buf_printf(out, " type=%s bytes=%u", type_name(en->type), en->payload_len);
    if (batch) {
        buf_put_str(out, " table=");
        buf_put_json_string(out, b.table);
        buf_printf(out, " count=%u", b.count);
    }
    print_line(wk);
    if (!wk->o->payload)
        return;
    for (uint32_t i = 0; batch && i < b.count; i++) {
        struct wal_batch_record r = wal_batch_get(&b, i);

        buf_printf(out, "    %" PRIu64 " ", r.received_ns);
        if (record_id(&b, i).len > 0) {
            buf_put_str(out, "id=");
            put_hex(out, record_id(&b, i));
            buf_put_u8(out, ' ');
        }
        buf_put_slice(out, r.text);
        print_line(wk);
    }
    if (!batch && payload.len > 0) {
        buf_put_str(out, "    ");
        buf_put_json_string(out, payload);
        print_line(wk);
    }
}

/* --- one segment ---------------------------------------------------------------------------- */

static void on_entry(void *arg, uint64_t group_offset, const struct wal_entry_head *en,
                     struct slice payload)
{
    struct walk *wk = arg;

    if (wk->entries++ == 0 || en->time_ns < wk->time_min_ns)
        wk->time_min_ns = en->time_ns;
    if (en->time_ns > wk->time_max_ns)
        wk->time_max_ns = en->time_ns;
    wk->last_index = en->index;
    if (en->type == WAL_EVENTS && wk->o->command == VERIFY) {
        struct wal_batch b;
        struct err e;

        if (wal_batch_parse(payload, &b, &e) != 0)
            damage(wk, group_offset, group_offset + WAL_BLOCK_BYTES - 1, "entry %" PRIu64 ": %s",
                   en->index, e.text);
    }
    if (wk->o->command != DUMP || en->index < wk->o->from || en->index > wk->o->to)
        return;
    if (wk->o->json)
        dump_json(wk, en, payload);
    else
        dump_text(wk, en, payload);
}

/* The next block from at on that holds a group head of this segment; footer_offset when none does.
 */
static uint64_t next_group(const struct walk *wk, uint64_t at, struct wal_group *g)
{
    for (; at < wk->head.footer_offset; at += WAL_BLOCK_BYTES)
        if (wal_group_get(wk->scan.base, &wk->head, at, g, NULL) == 0 && g->kind != WAL_GROUP_SEAL)
            return at;
    return wk->head.footer_offset;
}

/* scan refuses what is at its offset. True when there is more behind it to go on with. */
static bool on_refusal(struct walk *wk, const char *cause)
{
    struct wal_scan *s = &wk->scan;
    struct wal_tail_report t;
    struct wal_group g;
    uint64_t at = s->offset, next;

    if (wk->sealed && at >= wk->foot.end_offset)
        return false;
    wal_scan_tail(s->base, &wk->head, at, &t);
    if (!wk->sealed && t.tail == WAL_TAIL_CLEAN)
        return false;
    if (!wk->sealed && t.tail == WAL_TAIL_TORN) {
        wk->doubt = true;
        wk->doubt_from = at;
        wk->doubt_to = t.dirty_end - 1;
        (void)snprintf(wk->doubt_cause, sizeof(wk->doubt_cause), "%s", cause);
        return false;
    }
    next = next_group(wk, at + WAL_BLOCK_BYTES, &g);
    damage(wk, at, (next < wk->head.footer_offset || !wk->sealed ? next : wk->foot.end_offset) - 1,
           "%s", cause);
    if (next >= wk->head.footer_offset)
        return false;
    s->offset = next;
    s->last_crc = g.prev_crc;
    s->next_index = g.first_index;
    return true;
}

static void check_link(struct walk *wk)
{
    const struct wal_open_record *open = &wk->scan.open;

    if (wk->prev_valid &&
        (open->prev_number != wk->prev_number || open->first_index != wk->prev_next_index ||
         open->prev_end != wk->prev_end || open->prev_crc != wk->prev_crc))
        damage(wk, WAL_HEAD_BYTES, WAL_HEAD_BYTES + WAL_BLOCK_BYTES - 1,
               "does not follow segment %" PRIu64 ", which ends before index %" PRIu64
               ": one of them is stale or foreign",
               wk->prev_number, wk->prev_next_index);
}

static void check_footer(struct walk *wk)
{
    const struct wal_footer *f = &wk->foot;

    if (wk->sealed && !wk->damaged &&
        (f->last_index + 1 != wk->scan.next_index || f->end_offset != wk->scan.offset ||
         f->last_crc != wk->scan.last_crc || f->entry_count != wk->entries))
        damage(wk, wk->head.footer_offset, wk->head.segment_bytes - 1,
               "footer does not agree with the groups");
}

static void walk_groups(struct walk *wk)
{
    struct wal_group g;
    struct err e = {0};
    int rc;

    wk->sealed = wal_scan_footer(wk->scan.base, &wk->head, &g, &wk->foot, NULL) == 0;
    while ((rc = wal_scan_next(&wk->scan, &g, on_entry, wk, &e)) != WH_EEND) {
        if (rc != 0 && !on_refusal(wk, e.text))
            break;
        if (rc != 0)
            continue;
        wk->groups++;
        if (g.kind == WAL_GROUP_OPEN) {
            wk->opened = true;
            wk->first_index = wk->scan.open.first_index;
            wk->last_index = wk->first_index - 1;
            check_link(wk);
        }
    }
    check_footer(wk);
}

static void ls_line(struct walk *wk, uint64_t number)
{
    const char *state = wk->damaged  ? "damaged"
                        : wk->sealed ? "sealed"
                        : wk->opened ? "active"
                                     : "prepared";
    struct buf *out = &wk->out;

    buf_printf(out,
               wk->o->json ? "{\"segment\":%" PRIu64 ",\"state\":\"%s\",\"bytes\":%" PRIu64
                             ",\"first_index\":%" PRIu64 ",\"last_index\":%" PRIu64
                             ",\"entries\":%" PRIu64 ",\"groups\":%" PRIu64
                           : "%20" PRIu64 " %-8s bytes=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64
                             " entries=%" PRIu64 " groups=%" PRIu64,
               number, state, wk->head.segment_bytes, wk->first_index, wk->last_index, wk->entries,
               wk->groups);
    if (wk->entries > 0) {
        buf_put_str(out, wk->o->json ? ",\"time_min\":\"" : " time=");
        put_time(out, wk->time_min_ns);
        buf_put_str(out, wk->o->json ? "\",\"time_max\":\"" : "..");
        put_time(out, wk->time_max_ns);
        buf_put_str(out, wk->o->json ? "\"" : "");
    }
    buf_put_str(out, wk->o->json ? "}" : "");
    print_line(wk);
}

/* Head page and size; the file is wk->path. False: this segment cannot be walked. */
static bool check_head(struct walk *wk, int fd, uint64_t number)
{
    char page[WAL_HEAD_BYTES];
    struct err e;
    uint64_t size = 0;
    size_t got = 0;
    int rc;

    if ((rc = wk->io->size(wk->io->ctx, fd, &size)) != 0 ||
        (rc = wk->io->pread(wk->io->ctx, fd, page, sizeof(page), 0, &got)) != 0)
        damage(wk, 0, WAL_HEAD_BYTES - 1, "cannot be read: %s", err_text(rc));
    else if (got < sizeof(page))
        damage(wk, got, WAL_HEAD_BYTES - 1, "the file is cut");
    else if (wal_head_get(page, &wk->head, &e) != 0)
        damage(wk, 0, WAL_HEAD_BYTES - 1, "%s", e.text);
    else if (wk->head.number != number)
        damage(wk, 0, WAL_HEAD_BYTES - 1, "foreign: the head says segment %" PRIu64,
               wk->head.number);
    else if (wk->cluster_known &&
             memcmp(wk->head.cluster_id, wk->cluster_id, sizeof(wk->cluster_id)) != 0)
        damage(wk, 0, WAL_HEAD_BYTES - 1, "foreign: it belongs to another log");
    else if (size != wk->head.segment_bytes)
        damage(wk, size, wk->head.segment_bytes, "the file has %" PRIu64 " bytes", size);
    else
        return true;
    return false;
}

/* The daemon trimmed the segment while it was read: its file may have been used again under our
 * eyes. It has another name by then, or none. */
static bool forgive_trimmed(struct walk *wk, unsigned damages_before)
{
    int fd;

    if (wk->damages == damages_before)
        return false;
    fd = wk->io->open(wk->io->ctx, wk->path, IO_READ);
    if (fd >= 0)
        (void)wk->io->close(wk->io->ctx, fd); /* only looked for */
    if (fd != -ENOENT)
        return false;
    (void)fprintf(wk->o->command == VERIFY ? stdout : stderr,
                  "%s: note: deleted by the daemon while it was read, no damage\n", wk->path);
    wk->damages = damages_before;
    wk->damaged = wk->doubt = wk->opened = false;
    return true;
}

static int walk_segment(struct walk *wk, uint64_t number)
{
    unsigned damages_before = wk->damages;
    _Atomic uint32_t faults = 0;
    const void *base;
    bool good;
    int fd, rc = 0;

    (void)snprintf(wk->path, sizeof(wk->path), "%s/" WAL_NAME_FMT, wk->o->dir, number);
    wk->opened = wk->sealed = wk->damaged = false;
    wk->entries = wk->groups = wk->first_index = wk->last_index = 0;
    wk->time_min_ns = wk->time_max_ns = 0;
    fd = wk->io->open(wk->io->ctx, wk->path, IO_READ);
    if (fd < 0) {
        (void)fprintf(stderr, "wavehousectl: %s: %s\n", wk->path, err_text(fd));
        return CTL_SYSTEM;
    }
    good = check_head(wk, fd, number);
    if (good)
        rc = wk->io->map(wk->io->ctx, fd, (size_t)wk->head.segment_bytes, &faults, &base);
    (void)wk->io->close(wk->io->ctx, fd); /* only read */
    if (rc != 0) {
        (void)fprintf(stderr, "wavehousectl: %s: %s\n", wk->path, err_text(rc));
        return CTL_SYSTEM;
    }
    if (good) {
        memcpy(wk->cluster_id, wk->head.cluster_id, sizeof(wk->cluster_id));
        wk->cluster_known = true;
        wal_scan_init(&wk->scan, base, &wk->head);
        walk_groups(wk);
        if (atomic_load(&faults) > 0)
            damage(wk, 0, wk->head.segment_bytes - 1, "a page cannot be read (I/O error)");
        wk->io->unmap(wk->io->ctx, base, (size_t)wk->head.segment_bytes);
    }
    wk->total_entries += wk->entries;
    if (forgive_trimmed(wk, damages_before)) {
        wk->prev_valid = false;
        return CTL_OK;
    }
    wk->prev_valid = good && wk->opened && !wk->damaged;
    wk->prev_number = number;
    wk->prev_next_index = wk->scan.next_index;
    wk->prev_end = wk->scan.offset;
    wk->prev_crc = wk->scan.last_crc;
    if (wk->o->command == LS)
        ls_line(wk, number);
    return CTL_OK;
}

/* --- all segments --------------------------------------------------------------------------- */

static int collect(void *arg, const char *name)
{
    struct walk *wk = arg;
    char again[64];
    uint64_t number;

    if (sscanf(name, "seg-%20" SCNu64 ".wal", &number) != 1)
        return 0;
    (void)snprintf(again, sizeof(again), WAL_NAME_FMT, number);
    if (strcmp(again, name) != 0)
        return 0;
    if (wk->count == wk->cap) {
        uint64_t *p = realloc(wk->numbers, (wk->cap = wk->cap * 2 + 64) * sizeof(*p));

        if (p == NULL)
            return -ENOMEM;
        wk->numbers = p;
    }
    wk->numbers[wk->count++] = number;
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Walk one more; if it is opened, the one before it must have been complete. */
static int walk_next(struct walk *wk, uint64_t number)
{
    bool doubt = wk->doubt, open_end = wk->opened && !wk->sealed && !wk->damaged;
    uint64_t from = wk->doubt_from, to = wk->doubt_to;
    int rc;

    wk->doubt = false;
    rc = walk_segment(wk, number);
    if (rc != CTL_OK)
        return rc;
    if (!wk->opened) { /* prepared: what was in doubt before it still is */
        wk->doubt = doubt || wk->doubt;
        return CTL_OK;
    }
    if (open_end) {
        (void)snprintf(wk->path, sizeof(wk->path), "%s/" WAL_NAME_FMT, wk->o->dir, number - 1);
        damage(wk, doubt ? from : wk->head.footer_offset, doubt ? to : wk->head.segment_bytes - 1,
               "the footer is damaged or missing");
    }
    wk->tail_number = number;
    return CTL_OK;
}

static int walk_all(struct walk *wk)
{
    int rc = wk->io->list(wk->io->ctx, wk->o->dir, collect, wk);

    if (rc != 0 || wk->count == 0) {
        (void)fprintf(stderr, "wavehousectl: %s: %s\n", wk->o->dir,
                      rc != 0 ? err_text(rc) : "no log in this folder");
        return CTL_SYSTEM;
    }
    qsort(wk->numbers, wk->count, sizeof(*wk->numbers), compare);
    for (size_t i = 0; i < wk->count; i++) {
        uint64_t number = wk->numbers[i];

        if (i > 0 && number != wk->numbers[i - 1] + 1) {
            (void)snprintf(wk->path, sizeof(wk->path), "%s/" WAL_NAME_FMT, wk->o->dir,
                           wk->numbers[i - 1] + 1);
            damage(wk, 0, 0, "the file is missing, " WAL_NAME_FMT " follows", number);
            wk->prev_valid = false;
        }
        if ((rc = walk_next(wk, number)) != CTL_OK)
            return rc;
    }
    if (wk->doubt && wk->o->command == VERIFY)
        (void)printf("%s/" WAL_NAME_FMT ": note: bytes %" PRIu64 " to %" PRIu64
                     " were never acknowledged (%s); the daemon cuts or completes them\n",
                     wk->o->dir, wk->tail_number, wk->doubt_from, wk->doubt_to, wk->doubt_cause);
    if (wk->o->command == VERIFY)
        (void)printf("%zu segments, %" PRIu64 " entries, %u damages\n", wk->count,
                     wk->total_entries, wk->damages);
    return wk->damages > 0 ? CTL_DAMAGE : CTL_OK;
}

static bool parse_u64(const char *s, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(s, &end, 10);
    return s[0] >= '0' && s[0] <= '9' && *end == '\0' && errno == 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"payload", no_argument, NULL, 'p'},
                                          {"from", required_argument, NULL, 'f'},
                                          {"to", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){.to = UINT64_MAX};
    if (argc < 2)
        return false;
    if (strcmp(argv[1], "ls") == 0)
        o->command = LS;
    else if (strcmp(argv[1], "dump") == 0)
        o->command = DUMP;
    else if (strcmp(argv[1], "verify") == 0)
        o->command = VERIFY;
    else
        return false;
    while ((c = getopt_long(argc - 1, argv + 1, "", longs, NULL)) != -1) {
        if (c == 'j' && o->command != VERIFY)
            o->json = true;
        else if (c == 'p' && o->command == DUMP)
            o->payload = true;
        else if (o->command != DUMP || !((c == 'f' && parse_u64(optarg, &o->from)) ||
                                         (c == 't' && parse_u64(optarg, &o->to))))
            return false;
    }
    if (optind != argc - 2)
        return false;
    o->dir = argv[argc - 1];
    return true;
}

int ctl_wal(int argc, char **argv)
{
    struct options o;
    struct walk wk = {.o = &o, .io = io_posix()};
    int status;

    if (!parse(argc, argv, &o))
        return CTL_USAGE;
    buf_init(&wk.out, 8 * LIMIT_WAL_PAYLOAD_BYTES);
    status = walk_all(&wk);
    buf_fini(&wk.out);
    free(wk.numbers);
    return status;
}
