/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/zone.h"

#include "base/magic.h"
#include "schema/civil.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ZONE_MAGIC     0x20e20e20
#define ZONE_DIR       "/usr/share/zoneinfo"
#define ZONE_NAME_MAX  64
#define FILE_BYTES_MAX (256 * 1024)
#define HEADER_BYTES   44
#define OFFSET_MAX_S   (26 * 3600) /* beyond any zone; zone_local_to_utc relies on it */
#define LAST_YEAR      2300        /* ClickHouse's types end in 2299 */

struct change {
    int64_t at;     /* instant, seconds since 1970 UTC */
    int32_t offset; /* in force from then on */
};

struct zone {
    uint32_t magic;
    char name[ZONE_NAME_MAX + 1];
    int32_t first_offset; /* before the first change */
    uint32_t change_count;
    struct change changes[]; /* ascending */
};

/* ---- the rule at a file's end: a POSIX TZ string ------------------------------------------ */

struct rule_day {
    char kind; /* 'J': day of a year without Feb 29; '0': day from 0; 'M': week day */
    int32_t month, week, day;
    int32_t time_s; /* of day, may be negative or beyond 24 h */
};

struct rule {
    int32_t std_offset, dst_offset;
    bool has_dst;
    struct rule_day start, end; /* of daylight saving time */
};

struct cursor {
    const char *p, *end;
};

static bool at_char(const struct cursor *c, char ch)
{
    return c->p < c->end && *c->p == ch;
}

static bool take_char(struct cursor *c, char ch)
{
    if (!at_char(c, ch))
        return false;
    c->p++;
    return true;
}

static bool take_uint(struct cursor *c, int32_t max, int32_t *v)
{
    const char *from = c->p;
    for (*v = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9' && *v <= max; c->p++)
        *v = *v * 10 + (*c->p - '0');
    return c->p != from && *v <= max;
}

static bool take_abbreviation(struct cursor *c)
{
    const char *from = c->p;
    if (take_char(c, '<')) {
        while (c->p < c->end && *c->p != '>')
            c->p++;
        return take_char(c, '>');
    }
    while (c->p < c->end && ((*c->p | 0x20) >= 'a' && (*c->p | 0x20) <= 'z'))
        c->p++;
    return c->p - from >= 3;
}

static bool is_offset(int64_t seconds)
{
    return seconds >= -OFFSET_MAX_S && seconds <= OFFSET_MAX_S;
}

/* [+-]hh[:mm[:ss]] */
static bool take_hms(struct cursor *c, int32_t *seconds)
{
    int32_t h = 0, m = 0, s = 0;
    bool negative = take_char(c, '-');
    if (!negative)
        (void)take_char(c, '+');
    if (!take_uint(c, 167, &h) || (take_char(c, ':') && !take_uint(c, 59, &m)) ||
        (take_char(c, ':') && !take_uint(c, 59, &s)))
        return false;
    *seconds = (h * 60 + m) * 60 + s;
    if (negative)
        *seconds = -*seconds;
    return true;
}

static bool take_rule_day(struct cursor *c, struct rule_day *d)
{
    *d = (struct rule_day){.kind = '0', .time_s = 2 * 3600};
    if (!take_char(c, ','))
        return false;
    bool good;
    if (take_char(c, 'M')) {
        d->kind = 'M';
        good = take_uint(c, 12, &d->month) && d->month >= 1 && take_char(c, '.') &&
               take_uint(c, 5, &d->week) && d->week >= 1 && take_char(c, '.') &&
               take_uint(c, 6, &d->day);
    } else if (take_char(c, 'J')) {
        d->kind = 'J';
        good = take_uint(c, 365, &d->day) && d->day >= 1;
    } else {
        good = take_uint(c, 365, &d->day);
    }
    return good && (!take_char(c, '/') || take_hms(c, &d->time_s));
}

static bool parse_rule(struct slice text, struct rule *r)
{
    struct cursor c = {text.ptr, text.ptr + text.len};
    *r = (struct rule){.has_dst = false};
    if (!take_abbreviation(&c) || !take_hms(&c, &r->std_offset))
        return false;
    r->std_offset = -r->std_offset; /* POSIX counts to the west */
    if (c.p == c.end)
        return is_offset(r->std_offset);
    r->has_dst = true;
    r->dst_offset = r->std_offset + 3600;
    if (!take_abbreviation(&c))
        return false;
    if (!at_char(&c, ',')) {
        if (!take_hms(&c, &r->dst_offset))
            return false;
        r->dst_offset = -r->dst_offset;
    }
    return is_offset(r->std_offset) && is_offset(r->dst_offset) && take_rule_day(&c, &r->start) &&
           take_rule_day(&c, &r->end) && c.p == c.end;
}

/* Civil seconds of a rule's moment in a year. */
static int64_t rule_moment(const struct rule_day *d, int32_t year)
{
    int32_t day;
    if (d->kind == 'M') {
        int32_t first = civil_to_days((struct civil_date){year, (uint8_t)d->month, 1});
        int32_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        int32_t in_month = (d->day - weekday + 7) % 7 + (d->week - 1) * 7;
        if (in_month >= civil_month_days(year, (uint8_t)d->month)) /* week 5: the last one */
            in_month -= 7;
        day = first + in_month;
    } else {
        day = civil_to_days((struct civil_date){year, 1, 1}) + d->day;
        if (d->kind == 'J')
            day -= civil_is_leap(year) && d->day >= 60 ? 0 : 1;
    }
    return (int64_t)day * CIVIL_DAY_S + d->time_s;
}

static void add_change(struct zone *z, int64_t at, int32_t offset)
{
    if (z->change_count > 0 && at <= z->changes[z->change_count - 1].at)
        return;
    z->changes[z->change_count++] = (struct change){at, offset};
}

/* Both changes of each year from the last listed one to LAST_YEAR; z has room for them. */
static void expand_rule(struct zone *z, const struct rule *r)
{
    if (!r->has_dst)
        return;
    int32_t year = 1970;
    if (z->change_count > 0)
        year = civil_from_days(civil_day_of(z->changes[z->change_count - 1].at)).year;
    for (; year <= LAST_YEAR; year++) {
        int64_t start = rule_moment(&r->start, year) - r->std_offset;
        int64_t end = rule_moment(&r->end, year) - r->dst_offset;
        if (start < end)
            add_change(z, start, r->dst_offset);
        add_change(z, end, r->std_offset);
        if (start > end) /* the southern half of the world, and Dublin's negative saving */
            add_change(z, start, r->dst_offset);
    }
}

/* ---- the file -------------------------------------------------------------------------------- */

static int64_t be_int(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | (unsigned char)p[i];
    if (bytes == 4)
        return (int32_t)(uint32_t)v;
    return (int64_t)v;
}

struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

/* The header at *p with time values of `width` bytes; *size becomes that of its data block. */
static bool read_header(struct slice file, size_t from, size_t width, struct counts *n,
                        size_t *size)
{
    if (file.len < from + HEADER_BYTES || memcmp(file.ptr + from, "TZif", 4) != 0 ||
        file.ptr[from + 4] < '2')
        return false;
    const char *p = file.ptr + from + 20;
    uint32_t *fields[] = {&n->isut, &n->isstd, &n->leap, &n->time, &n->type, &n->chars};
    for (int i = 0; i < 6; i++) {
        *fields[i] = (uint32_t)be_int(p + 4 * i, 4);
        if (*fields[i] > FILE_BYTES_MAX)
            return false;
    }
    *size =
        n->time * (width + 1) + n->type * 6 + n->chars + n->leap * (width + 4) + n->isstd + n->isut;
    return file.len - from - HEADER_BYTES >= *size;
}

/* Fill z from the 64-bit data block at p. */
static bool read_changes(struct zone *z, const char *p, const struct counts *n)
{
    const char *types = p + n->time * 8;
    const char *infos = types + n->time;
    if (n->type == 0)
        return false;
    for (uint32_t i = 0; i < n->type; i++) {
        int64_t offset = be_int(infos + i * 6, 4);
        if (!is_offset(offset))
            return false;
    }
    z->first_offset = (int32_t)be_int(infos, 4);
    for (uint32_t i = 0; i < n->time; i++) {
        uint32_t type = (unsigned char)types[i];
        int64_t at = be_int(p + i * 8, 8);
        if (type >= n->type || (i > 0 && at <= z->changes[i - 1].at))
            return false;
        /* Before the year 0 or far in the future nothing is asked; bounds keep sums small. */
        if (at < -((int64_t)1 << 40) || at > (int64_t)1 << 40)
            at = at < 0 ? -((int64_t)1 << 40) + (int64_t)i : (int64_t)1 << 40;
        add_change(z, at, (int32_t)be_int(infos + type * 6, 4));
        if (z->change_count != i + 1)
            return false;
    }
    return true;
}

static struct zone *zone_alloc(struct slice name, size_t changes)
{
    struct zone *z = calloc(1, sizeof(*z) + changes * sizeof(z->changes[0]));
    if (z == NULL)
        return NULL;
    z->magic = ZONE_MAGIC;
    memcpy(z->name, name.ptr, name.len);
    return z;
}

static bool parse_file(struct slice file, struct slice name, struct zone **out)
{
    struct counts n;
    size_t size;
    *out = NULL;
    if (!read_header(file, 0, 4, &n, &size))
        return false;
    size_t second = HEADER_BYTES + size;
    if (!read_header(file, second, 8, &n, &size))
        return false;
    size_t data = second + HEADER_BYTES;
    /* After the block: newline, rule, newline. An empty rule means that the last offset stays. */
    struct slice rest = {file.ptr + data + size, file.len - data - size};
    const char *nl = rest.len > 1 ? memchr(rest.ptr + 1, '\n', rest.len - 1) : NULL;
    if (nl == NULL || rest.ptr[0] != '\n')
        return false;
    struct slice rule_text = {rest.ptr + 1, (size_t)(nl - rest.ptr) - 1};
    struct rule rule = {.has_dst = false};
    if (rule_text.len > 0 && !parse_rule(rule_text, &rule))
        return false;
    size_t room = n.time + (rule.has_dst ? (size_t)(LAST_YEAR - 1900 + 1) * 2 : 0);
    *out = zone_alloc(name, room);
    if (*out == NULL || !read_changes(*out, file.ptr + data, &n))
        return false;
    const struct change *last = n.time > 0 ? &(*out)->changes[n.time - 1] : NULL;
    if (rule.has_dst && last != NULL && last->at < -(int64_t)2208988800) /* 1900: room is short */
        return false;
    if (n.time == 0 && rule_text.len > 0)
        (*out)->first_offset = rule.std_offset;
    expand_rule(*out, &rule);
    return true;
}

int zone_parse(struct slice name, struct slice file, struct zone **out, struct err *e)
{
    if (name.len > ZONE_NAME_MAX)
        return err_set(e, WH_ENOTFOUND, "time zone name of %zu bytes", name.len);
    if (parse_file(file, name, out))
        return 0;
    zone_free(*out);
    *out = NULL;
    return err_set(e, WH_ECORRUPT, "time zone file of \"%.*s\" makes no sense", SLICE_ARG(name));
}

static bool is_utc(struct slice name)
{
    static const char *const names[] = {"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Universal"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

/* Names come from a server: nothing that leaves the folder. */
static bool is_name(struct slice name)
{
    if (name.len == 0 || name.len > ZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '+' || c == '-';
        if (!word && !(c == '/' && i > 0))
            return false;
    }
    return true;
}

/* stdio, not an io table: read-only system data, no part of what the simulator replaces. */
int zone_load(struct slice name, struct zone **out, struct err *e)
{
    *out = NULL;
    if (!is_name(name))
        return err_set(e, WH_ENOTFOUND, "\"%.*s\" is not a time zone name",
                       (int)(name.len > 100 ? 100 : name.len), name.ptr);
    if (is_utc(name)) {
        *out = zone_alloc(name, 0);
        return *out != NULL ? 0 : err_set(e, -ENOMEM, "out of memory for a time zone");
    }
    char path[sizeof(ZONE_DIR) + ZONE_NAME_MAX + 2];
    (void)snprintf(path, sizeof(path), ZONE_DIR "/%.*s", SLICE_ARG(name));
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return errno == ENOENT || errno == ENOTDIR
                   ? err_set(e, WH_ENOTFOUND,
                             "time zone \"%.*s\" is not in " ZONE_DIR " (package tzdata)",
                             SLICE_ARG(name))
                   : err_set_errno(e, -errno, "time zone file %s", path);
    char *bytes = malloc(FILE_BYTES_MAX);
    size_t len = bytes != NULL ? fread(bytes, 1, FILE_BYTES_MAX, f) : 0;
    (void)fclose(f);
    int rc = bytes == NULL ? err_set(e, -ENOMEM, "out of memory for a time zone")
                           : zone_parse(name, (struct slice){bytes, len}, out, e);
    free(bytes);
    return rc;
}

void zone_free(struct zone *z)
{
    if (z == NULL)
        return;
    CHECK_MAGIC(z, ZONE_MAGIC);
    z->magic = 0;
    free(z);
}

/* ---- questions ---------------------------------------------------------------------------- */

struct slice zone_name(const struct zone *z)
{
    CHECK_MAGIC(z, ZONE_MAGIC);
    return slice_str(z->name);
}

/* Changes at or before an instant. */
static uint32_t changes_until(const struct zone *z, int64_t utc_s)
{
    uint32_t low = 0, high = z->change_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (z->changes[mid].at <= utc_s)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The offset in force after the first n changes. */
static int32_t offset_after(const struct zone *z, uint32_t n)
{
    return n == 0 ? z->first_offset : z->changes[n - 1].offset;
}

int32_t zone_utc_offset(const struct zone *z, int64_t utc_s)
{
    CHECK_MAGIC(z, ZONE_MAGIC);
    return offset_after(z, changes_until(z, utc_s));
}

int64_t zone_local_to_utc(const struct zone *z, int64_t local_s)
{
    CHECK_MAGIC(z, ZONE_MAGIC);
    if (z->change_count == 0)
        return local_s - z->first_offset;
    /* No offset exceeds OFFSET_MAX_S, which tells where to start. Stretches are tried from the
     * earliest on; each one's candidate is the local time less its offset. The first candidate that
     * does not pass its stretch's end is the answer: inside the stretch it is an ordinary (or first
     * repeated) time, before its start it is one that the change skipped. */
    uint32_t n = changes_until(z, local_s - OFFSET_MAX_S);
    for (; n < z->change_count; n++)
        if (local_s - offset_after(z, n) < z->changes[n].at)
            break;
    return local_s - offset_after(z, n);
}
