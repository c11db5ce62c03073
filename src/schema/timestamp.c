/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/timestamp.h"

#include "schema/civil.h"

#define NANO 1000000000

/* Ranges of instants, in seconds since 1970 UTC. */
#define DATETIME_MAX_S   ((int64_t)UINT32_MAX)
#define DATETIME64_MIN_S (-(int64_t)2208988800) /* 1900-01-01T00:00:00Z */
#define DATETIME64_MAX_S ((int64_t)10413791999) /* 2299-12-31T23:59:59Z */
#define NANO_MAX_S       (INT64_MAX / NANO)     /* 2262-04-11T23:47:16Z, the bound for p ≥ 7 */

static const uint64_t powers[] = {1,      10,      100,      1000,      10000,
                                  100000, 1000000, 10000000, 100000000, 1000000000};

struct instant {
    int64_t s;
    uint32_t ns; /* always forward from s, also before 1970 */
};

static bool in_range(struct timestamp_type t, struct instant i)
{
    if (!t.is_64)
        return i.s >= 0 && i.s <= DATETIME_MAX_S;
    if (t.precision >= 7 &&
        (i.s > NANO_MAX_S || (i.s == NANO_MAX_S && i.ns > (uint32_t)(INT64_MAX % NANO))))
        return false;
    return i.s >= DATETIME64_MIN_S && i.s <= DATETIME64_MAX_S;
}

static char *put2(char *p, uint32_t v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

/* The instant, its fraction already cut to the precision. */
static size_t put_instant(struct instant i, char out[TIMESTAMP_CAP])
{
    int32_t days = civil_day_of(i.s);
    uint32_t in_day = (uint32_t)(i.s - (int64_t)days * CIVIL_DAY_S);
    struct civil_date d = civil_from_days(days);
    char *p = put2(put2(out, (uint32_t)d.year / 100), (uint32_t)d.year % 100);
    *p++ = '-';
    p = put2(p, d.month);
    *p++ = '-';
    p = put2(p, d.day);
    *p++ = 'T';
    p = put2(p, in_day / 3600);
    *p++ = ':';
    p = put2(p, in_day / 60 % 60);
    *p++ = ':';
    p = put2(p, in_day % 60);
    if (i.ns != 0) {
        *p++ = '.';
        for (uint32_t rest = i.ns, unit = NANO / 10; rest != 0; unit /= 10) {
            *p++ = (char)('0' + rest / unit);
            rest %= unit;
        }
    }
    *p++ = 'Z';
    return (size_t)(p - out);
}

static enum timestamp_result give(struct timestamp_type t, struct instant i,
                                  char out[TIMESTAMP_CAP], size_t *len)
{
    i.ns -= i.ns % (uint32_t)(NANO / powers[t.precision]);
    if (!in_range(t, i))
        return TIMESTAMP_AS_IS;
    *len = put_instant(i, out);
    return TIMESTAMP_REPLACED;
}

/* ---- reading text ---------------------------------------------------------------------------- */

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* Two digits at p, or more than any valid field. */
static inline uint32_t two(const char *p)
{
    uint32_t a = (unsigned char)(p[0] - '0'), b = (unsigned char)(p[1] - '0');
    return a > 9 || b > 9 ? 255 : a * 10 + b;
}

/* ".ddd" at the start of *s, any number of digits: the first nine count. *digits: how many stand
 * there without trailing zeros. False when a dot is not followed by a digit. */
static bool take_fraction(struct slice *s, uint32_t *ns, size_t *digits, bool *zero_end)
{
    *ns = 0;
    *digits = 0;
    *zero_end = false;
    if (s->len == 0 || s->ptr[0] != '.')
        return true;
    size_t n = 1;
    uint32_t unit = NANO / 10;
    for (; n < s->len && is_digit(s->ptr[n]); n++) {
        *ns += unit * (uint32_t)(s->ptr[n] - '0');
        unit /= 10;
    }
    *digits = n - 1;
    *zero_end = n > 1 && s->ptr[n - 1] == '0';
    s->ptr += n;
    s->len -= n;
    return n > 1;
}

static bool take_date(const char *p, struct civil_date *d)
{
    uint32_t century = two(p), year = two(p + 2), month = two(p + 5), day = two(p + 8);
    if (century > 99 || year > 99 || p[4] != '-' || p[7] != '-' || month < 1 || month > 12)
        return false;
    *d = (struct civil_date){(int32_t)(century * 100 + year), (uint8_t)month, (uint8_t)day};
    return day >= 1 && day <= civil_month_days(d->year, d->month);
}

static bool take_clock(const char *p, int64_t *seconds)
{
    uint32_t h = two(p), m = two(p + 3), s = two(p + 6);
    *seconds = (int64_t)h * 3600 + m * 60 + s;
    return h < 24 && m < 60 && s < 60 && p[2] == ':' && p[5] == ':';
}

/* "Z" or ±hh:mm, nothing after it; *east in seconds. */
static bool take_offset(struct slice s, int64_t *east)
{
    *east = 0;
    if (s.len == 1)
        return s.ptr[0] == 'Z';
    if (s.len != 6 || (s.ptr[0] != '+' && s.ptr[0] != '-') || s.ptr[3] != ':')
        return false;
    uint32_t h = two(s.ptr + 1), m = two(s.ptr + 4);
    if (h > 23 || m > 59)
        return false;
    *east = (int64_t)(h * 3600 + m * 60) * (s.ptr[0] == '-' ? -1 : 1);
    return true;
}

/* Exactly 9 or 10 digits, for DateTime64 also a fraction: Unix seconds. */
static enum timestamp_result from_unix_text(struct timestamp_type t, struct slice text,
                                            char out[TIMESTAMP_CAP], size_t *len)
{
    struct instant i = {0, 0};
    size_t n = 0, digits;
    bool zero_end;
    for (; n < text.len && n < 11 && is_digit(text.ptr[n]); n++)
        i.s = i.s * 10 + (text.ptr[n] - '0');
    struct slice rest = {text.ptr + n, text.len - n};
    if (n != 9 && n != 10)
        return TIMESTAMP_AS_IS;
    if (rest.len > 0 && (!t.is_64 || !take_fraction(&rest, &i.ns, &digits, &zero_end)))
        return TIMESTAMP_AS_IS;
    return rest.len == 0 ? give(t, i, out, len) : TIMESTAMP_AS_IS;
}

enum timestamp_result timestamp_from_text(struct timestamp_type t, struct slice text,
                                          const struct zone *zone, char out[TIMESTAMP_CAP],
                                          size_t *len)
{
    struct civil_date date;
    struct instant i = {0, 0};
    int64_t clock = 0, east = 0;
    size_t digits = 0;
    bool zero_end = false;
    if (text.len < 10 || !take_date(text.ptr, &date))
        return from_unix_text(t, text, out, len);
    struct slice rest = {text.ptr + 10, text.len - 10};
    bool tee = rest.len > 0 && rest.ptr[0] == 'T';
    if (rest.len > 0) {
        if ((!tee && rest.ptr[0] != ' ') || rest.len < 9 || !take_clock(rest.ptr + 1, &clock))
            return TIMESTAMP_AS_IS;
        rest.ptr += 9;
        rest.len -= 9;
        if (!take_fraction(&rest, &i.ns, &digits, &zero_end))
            return TIMESTAMP_AS_IS;
    }
    int64_t local_s = (int64_t)civil_to_days(date) * CIVIL_DAY_S + clock;
    if (rest.len > 0) {
        if (!tee || !take_offset(rest, &east))
            return TIMESTAMP_AS_IS;
        i.s = local_s - east;
        if (rest.len == 1 && digits <= t.precision && !zero_end)
            return TIMESTAMP_ALREADY; /* or out of range: left alone just the same */
    } else if (zone == NULL) {
        return TIMESTAMP_NO_ZONE;
    } else {
        i.s = zone_local_to_utc(zone, local_s);
    }
    return give(t, i, out, len);
}

/* ---- numbers --------------------------------------------------------------------------------- */

enum timestamp_result timestamp_from_digits(struct timestamp_type t, struct slice digits,
                                            char out[TIMESTAMP_CAP], size_t *len)
{
    uint64_t v = 0;
    if (digits.len > 19) /* more than an Int64 holds; JSON has no leading zeros */
        return TIMESTAMP_AS_IS;
    for (size_t n = 0; n < digits.len; n++)
        v = v * 10 + (uint64_t)(digits.ptr[n] - '0');
    if (v > INT64_MAX)
        return TIMESTAMP_AS_IS;
    uint64_t unit = powers[t.precision];
    struct instant i = {(int64_t)(v / unit), (uint32_t)(v % unit * (NANO / unit))};
    return give(t, i, out, len);
}

enum timestamp_result timestamp_from_ns(struct timestamp_type t, uint64_t ns,
                                        char out[TIMESTAMP_CAP], size_t *len)
{
    struct instant i = {(int64_t)(ns / NANO), (uint32_t)(ns % NANO)};
    return give(t, i, out, len);
}
