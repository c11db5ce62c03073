/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/instant.h"

#include "schema/civil.h"

#include <stdio.h>

#define SECOND_NS 1000000000u
/* 2262 begins: the last whole year in which nanoseconds fit int64_t, ClickHouse's bound, is over.
 */
#define END_S 9214646400

/* Exactly count digits at *p, which moves behind them. */
static bool digits(struct slice *p, unsigned count, uint32_t *out)
{
    if (p->len < count)
        return false;
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        if (p->ptr[i] < '0' || p->ptr[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(p->ptr[i] - '0');
    }
    *p = (struct slice){p->ptr + count, p->len - count};
    return true;
}

static bool byte(struct slice *p, char a, char b)
{
    if (p->len == 0 || (p->ptr[0] != a && p->ptr[0] != b))
        return false;
    *p = (struct slice){p->ptr + 1, p->len - 1};
    return true;
}

static bool fraction(struct slice *p, uint32_t *ns)
{
    uint32_t unit = SECOND_NS / 10;
    *ns = 0;
    if (!byte(p, '.', '.'))
        return true;
    if (p->len == 0 || p->ptr[0] < '0' || p->ptr[0] > '9')
        return false;
    for (; p->len > 0 && p->ptr[0] >= '0' && p->ptr[0] <= '9'; unit /= 10) {
        *ns += (uint32_t)(p->ptr[0] - '0') * unit; /* beyond nine digits: times 0 */
        *p = (struct slice){p->ptr + 1, p->len - 1};
    }
    return true;
}

/* Z or ±HH:MM, in seconds east. */
static bool offset(struct slice *p, int64_t *seconds)
{
    uint32_t h, m;
    *seconds = 0;
    if (byte(p, 'Z', 'z'))
        return true;
    bool west = p->len > 0 && p->ptr[0] == '-';
    if (!byte(p, '+', '-') || !digits(p, 2, &h) || !byte(p, ':', ':') || !digits(p, 2, &m) ||
        h > 23 || m > 59)
        return false;
    *seconds = (int64_t)(h * 3600 + m * 60) * (west ? -1 : 1);
    return true;
}

/* Any year. is_day: it was the date alone, taken for midnight UTC. */
static bool parse_rfc3339(struct slice p, int64_t *seconds, uint32_t *ns, bool *is_day)
{
    uint32_t year, month, day, h = 0, m = 0, s = 0;
    int64_t east = 0;
    *ns = 0;
    if (!digits(&p, 4, &year) || !byte(&p, '-', '-') || !digits(&p, 2, &month) ||
        !byte(&p, '-', '-') || !digits(&p, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > civil_month_days((int32_t)year, (uint8_t)month))
        return false;
    *is_day = p.len == 0;
    if (p.len > 0 &&
        (!byte(&p, 'T', 't') || !digits(&p, 2, &h) || !byte(&p, ':', ':') || !digits(&p, 2, &m) ||
         !byte(&p, ':', ':') || !digits(&p, 2, &s) || !fraction(&p, ns) || !offset(&p, &east)))
        return false;
    if (p.len > 0 || h > 23 || m > 59 || s > 59)
        return false;
    struct civil_date d = {(int32_t)year, (uint8_t)month, (uint8_t)day};
    *seconds = (int64_t)civil_to_days(d) * CIVIL_DAY_S + h * 3600 + m * 60 + s - east;
    return true;
}

/* The unit at *p, in nanoseconds; 0: none. The longer names first. */
static uint64_t unit(struct slice *p)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1},
        {"us", 1000},
        {"\xc2\xb5s", 1000},
        {"\xce\xbcs", 1000},
        {"ms", 1000000},
        {"s", SECOND_NS},
        {"m", 60ull * SECOND_NS},
        {"h", 3600ull * SECOND_NS},
        {"d", 86400ull * SECOND_NS},
        {"w", 7 * 86400ull * SECOND_NS},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].name);
        if (p->len < n || memcmp(p->ptr, units[i].name, n) != 0)
            continue;
        *p = (struct slice){p->ptr + n, p->len - n};
        return units[i].ns;
    }
    return 0;
}

/* 1.5h30m in nanoseconds. */
static bool parse_duration(struct slice p, uint64_t *out)
{
    *out = 0;
    do {
        uint64_t whole = 0, part;
        uint32_t nanos;
        size_t count = 0;
        for (; p.len > 0 && p.ptr[0] >= '0' && p.ptr[0] <= '9'; count++) {
            if (__builtin_mul_overflow(whole, 10u, &whole) ||
                __builtin_add_overflow(whole, (uint64_t)(p.ptr[0] - '0'), &whole))
                return false;
            p = (struct slice){p.ptr + 1, p.len - 1};
        }
        if (count == 0 || !fraction(&p, &nanos))
            return false;
        uint64_t ns = unit(&p);
        if (ns == 0 || __builtin_mul_overflow(whole, ns, &whole))
            return false;
        part = ns >= SECOND_NS ? ns / SECOND_NS * nanos : ns * nanos / SECOND_NS;
        if (__builtin_add_overflow(*out, whole, out) || __builtin_add_overflow(*out, part, out))
            return false;
    } while (p.len > 0);
    return true;
}

bool instant_parse(struct slice text, uint64_t now_ns, uint64_t *out)
{
    int64_t seconds;
    uint32_t ns;
    uint64_t ago;
    bool is_day;
    if (parse_rfc3339(text, &seconds, &ns, &is_day)) {
        if (seconds < 0 || seconds >= END_S)
            return false;
        *out = (uint64_t)seconds * SECOND_NS + ns;
        return true;
    }
    if (!parse_duration(text, &ago) || ago > now_ns)
        return false;
    *out = now_ns - ago;
    return true;
}

bool instant_parse_wide(struct slice text, uint64_t now_ns, int64_t *seconds, uint32_t *ns)
{
    uint64_t then;
    bool is_day;
    if (instant_parse_rfc3339(text, seconds, ns))
        return true;
    if (parse_rfc3339(text, seconds, ns, &is_day) || !instant_parse(text, now_ns, &then))
        return false;
    *seconds = (int64_t)(then / SECOND_NS);
    *ns = (uint32_t)(then % SECOND_NS);
    return true;
}

bool instant_parse_rfc3339(struct slice text, int64_t *seconds, uint32_t *ns)
{
    bool is_day;
    return parse_rfc3339(text, seconds, ns, &is_day) && !is_day;
}

void instant_put(struct buf *out, uint64_t ns)
{
    uint64_t s = ns / SECOND_NS;
    struct civil_date d = civil_from_days(civil_day_of((int64_t)s));
    unsigned t = (unsigned)(s % CIVIL_DAY_S);
    buf_printf(out, "%04d-%02u-%02uT%02u:%02u:%02u.%09uZ", (int)d.year, d.month, d.day, t / 3600,
               t / 60 % 60, t % 60, (unsigned)(ns % SECOND_NS));
}

size_t instant_write(int64_t seconds, uint32_t ns, char out[INSTANT_CAP])
{
    int32_t day = civil_day_of(seconds);
    struct civil_date d = civil_from_days(day);
    unsigned t = (unsigned)(seconds - (int64_t)day * CIVIL_DAY_S);
    int n = snprintf(out, INSTANT_CAP, "%04d-%02u-%02uT%02u:%02u:%02u", (int)d.year, d.month, d.day,
                     t / 3600, t / 60 % 60, t % 60);
    if (ns > 0)
        n += snprintf(out + n, INSTANT_CAP - (size_t)n, ".%09u", ns);
    n += snprintf(out + n, INSTANT_CAP - (size_t)n, "Z");
    return (size_t)n;
}
