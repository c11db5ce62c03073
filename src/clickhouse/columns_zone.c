/* SPDX-License-Identifier: Apache-2.0 */
/* Local times as ClickHouse counts them.
 *
 * From 1900 to 2299 ClickHouse has a table of days: the instant a day begins, and at most one
 * change of the offset within it, time and amount cut to quarters of an hour. A time of the day at
 * or after the change is shifted by the amount, so a time that occurs twice is its first and a
 * skipped one lies before the change. Outside the table the later instant is taken. */
#include "clickhouse/columns_priv.h"
#include "schema/zone.h"

#include <errno.h>
#include <stdlib.h>

enum {
    DAY_S = 86400,
    QUARTER_S = 900,
    TABLE_YEAR_MIN = 1900,
    TABLE_YEAR_MAX = 2299,
    YEARS_ALIKE_FROM = 2270,
    DAYS_CACHED = 64 /* a power of two; rows of a block mostly share a few days */
};

#define TABLE_END_S INT64_C(10413792000) /* 2300-01-01 */

/* One line of ClickHouse's table. */
struct zone_day {
    const struct zone *zone; /* NULL: empty */
    int64_t day;             /* since 1970-01-01 */
    int64_t start;           /* UTC seconds */
    int64_t change_at;       /* seconds from the day's start by the clock */
    int64_t change_by;
};

struct zone_cache {
    struct zone *server; /* NULL: UTC */
    struct zone **zones; /* those that columns name; owned */
    uint32_t count;
    struct zone_day days[DAYS_CACHED];
};

int64_t civil_days(int32_t year, uint32_t month, uint32_t day)
{
    /* March is the first month here, so the leap day ends the year; eras of 400 years. */
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (int64_t)(month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool is_utc(struct slice name)
{
    return slice_eq(name, SLICE_LIT("UTC")) || slice_eq(name, SLICE_LIT("Etc/UTC"));
}

int zones_init(struct ch_block *b, struct slice server_timezone)
{
    b->zones = calloc(1, sizeof(*b->zones));
    if (b->zones == NULL)
        return -ENOMEM;
    if (server_timezone.len == 0 || is_utc(server_timezone))
        return 0;
    return zone_load(server_timezone, &b->zones->server, NULL);
}

void zones_fini(struct ch_block *b)
{
    struct zone_cache *z = b->zones;
    if (z == NULL)
        return;
    for (uint32_t i = 0; i < z->count; i++)
        zone_free(z->zones[i]);
    if (z->server != NULL)
        zone_free(z->server);
    free(z->zones);
    free(z);
}

int zones_find(struct ch_block *b, struct slice name, const struct zone **out)
{
    struct zone_cache *z = b->zones;
    *out = name.len == 0 ? z->server : NULL;
    if (name.len == 0 || is_utc(name))
        return 0;
    for (uint32_t i = 0; i < z->count; i++) {
        if (slice_eq(zone_name(z->zones[i]), name)) {
            *out = z->zones[i];
            return 0;
        }
    }
    struct zone **more = reallocarray(z->zones, z->count + 1, sizeof(*more));
    if (more == NULL)
        return -ENOMEM;
    z->zones = more;
    int rc = zone_load(name, &z->zones[z->count], NULL);
    if (rc == 0)
        *out = z->zones[z->count++];
    return rc;
}

/* The year, from YEARS_ALIKE_FROM on, with the same calendar as this one, for which a zone's rules
 * are expanded: the calendar of a year is one of fourteen, all of them in 28 years without a
 * century. */
static int32_t year_alike(int32_t year)
{
    int64_t first = civil_days(year, 1, 1), length = civil_days(year + 1, 1, 1) - first;
    int32_t y = YEARS_ALIKE_FROM;
    while ((civil_days(y, 1, 1) - first) % 7 != 0 ||
           civil_days(y + 1, 1, 1) - civil_days(y, 1, 1) != length)
        y++;
    return y;
}

static int32_t offset_at(const struct zone *z, int64_t utc)
{
    if (utc < TABLE_END_S)
        return zone_utc_offset(z, utc);
    int32_t year = (int32_t)(1970 + utc / (int64_t)(365.2425 * DAY_S));
    while (civil_days(year, 1, 1) * DAY_S > utc)
        year--;
    int64_t shift = civil_days(year, 1, 1) - civil_days(year_alike(year), 1, 1);
    return zone_utc_offset(z, utc - shift * DAY_S);
}

int32_t zones_offset(const struct zone *z, int64_t utc)
{
    return z == NULL ? 0 : offset_at(z, utc);
}

/* The two instants that civil second `local` may be: with the offset before and after a change
 * nearby. Both are the same when there is none. `pre`, `post` and `change` (the instant of the
 * change) relate as pre < change ≤ post when the time occurs twice, post < change ≤ pre when it is
 * skipped. */
struct local_lookup {
    int64_t pre, post, change;
};

/* The first second in (from, to] from which the offset differs from that at `from`. */
static int64_t find_change(const struct zone *z, int64_t from, int64_t to)
{
    int32_t before = offset_at(z, from);
    while (to - from > 1) {
        int64_t middle = from + (to - from) / 2;
        if (offset_at(z, middle) == before)
            from = middle;
        else
            to = middle;
    }
    return to;
}

static struct local_lookup look_up(const struct zone *z, int64_t local)
{
    int64_t early = local - DAY_S, late = local + DAY_S;
    int32_t before = offset_at(z, early), after = offset_at(z, late);
    struct local_lookup l = {local - before, local - before, local - before};
    if (before == after)
        return l;
    l.change = find_change(z, early, late);
    bool in_old = local - before < l.change, in_new = local - after >= l.change;
    if (!in_old)
        l.post = local - after;
    if (in_new)
        l.post = local - after;
    if (in_new && !in_old)
        l.pre = l.change = l.post;
    if (in_old && !in_new)
        l.change = l.post = l.pre;
    return l;
}

/* A change that the clock shows within [start, start + 1 day]: when, by the old and the new clock.
 */
static bool find_day_change(const struct zone *z, int64_t start, int64_t *from, int64_t *to)
{
    int64_t t = start - 1;
    int32_t before = offset_at(z, t);
    for (int64_t end = start + DAY_S + 2 * 3600; t < end; t += QUARTER_S) {
        if (offset_at(z, t + QUARTER_S) == before)
            continue;
        int64_t change = find_change(z, t, t + QUARTER_S);
        *from = change + before;
        *to = change + offset_at(z, change);
        return true;
    }
    return false;
}

static int64_t floor_day(int64_t s)
{
    return s >= 0 ? s / DAY_S : -((-s + DAY_S - 1) / DAY_S);
}

static void make_day(struct zone_day *d, const struct zone *z, int64_t day)
{
    int64_t midnight = day * DAY_S, from, to;
    struct local_lookup l = look_up(z, midnight);
    *d = (struct zone_day){.zone = z, .day = day};
    /* Of two midnights the second one, unless the clock went back exactly to it. */
    d->start = l.change < l.post ? l.post : l.pre;
    if (!find_day_change(z, d->start, &from, &to))
        return;
    if (floor_day(from) != day && floor_day(to) != day)
        return;
    d->change_at = (from - midnight) / QUARTER_S * QUARTER_S;
    d->change_by = (to - from) / QUARTER_S * QUARTER_S;
    if (d->change_at + d->change_by < 0)
        d->change_at = -d->change_by;
}

int64_t zones_local_to_utc(struct ch_block *b, const struct zone *z, const struct civil *t)
{
    int64_t day = civil_days(t->year, t->month, t->day);
    int64_t time = (int64_t)t->hour * 3600 + t->minute * 60 + t->second;
    if (z == NULL)
        return day * DAY_S + time;
    if (t->year < TABLE_YEAR_MIN || t->year > TABLE_YEAR_MAX)
        return look_up(z, day * DAY_S + time).post;
    struct zone_day *d = &b->zones->days[(uint64_t)day % DAYS_CACHED];
    if (d->zone != z || d->day != day)
        make_day(d, z, day);
    if (time >= d->change_at)
        time -= d->change_by;
    return d->start + time;
}
