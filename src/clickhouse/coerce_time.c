/* SPDX-License-Identifier: Apache-2.0 */
/* Date, Date32, DateTime, DateTime64.
 *
 * Quoted dates have one strict form; quoted times are read as ClickHouse's "best effort" does,
 * whose oddities are kept: a part that comes twice is added to the first, an offset may follow an
 * offset, a date without a year is the latest such date that is not in the future. Bare numbers are
 * days, seconds or ticks. */
#include "base/le.h"
#include "clickhouse/columns_priv.h"
#include "io/clock.h"

#include <errno.h>
#include <strings.h>

enum {
    YEAR_MIN = 1900,
    YEAR_MAX = 2299,
    DAY_MIN = -25567,
    DAY_MAX = 120529,
    SECONDS_A_DAY = 86400
};

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

static inline bool is_alpha(char c)
{
    return (unsigned char)((c | 0x20) - 'a') < 26;
}

/* ---- Date, Date32 */

static uint32_t two(const char *p)
{
    return (uint32_t)(p[0] - '0') * 10 + (uint32_t)(p[1] - '0');
}

/* One or two digits, then (for a month) a separator that may be any byte. */
static bool date_part(const char **p, const char *end, uint32_t *v)
{
    if (*p == end || !is_digit(**p))
        return false;
    *v = (uint32_t)(*(*p)++ - '0');
    if (*p < end && is_digit(**p))
        *v = *v * 10 + (uint32_t)(*(*p)++ - '0');
    return true;
}

/* YYYY-M-D with any separators, or YYYYMMDD. */
static bool scan_date(const char **pp, const char *end, struct civil *t)
{
    const char *p = *pp;
    if (end - p < 8 || !is_digit(p[0]) || !is_digit(p[1]) || !is_digit(p[2]) || !is_digit(p[3]))
        return false;
    t->year = (int32_t)(two(p) * 100 + two(p + 2));
    p += 4;
    if (is_digit(*p)) {
        if (!is_digit(p[1]) || !is_digit(p[2]) || !is_digit(p[3]))
            return false;
        t->month = two(p);
        t->day = two(p + 2);
        *pp = p + 4;
        return true;
    }
    p++;
    if (!date_part(&p, end, &t->month) || p == end || is_digit(*p++) ||
        !date_part(&p, end, &t->day))
        return false;
    *pp = p;
    return true;
}

/* Days that no calendar has give the type's least date, years out of the table its bounds; the 30th
 * of February is the 1st or 2nd of March. */
static int32_t date_days(const struct civil *t, bool wide)
{
    int32_t days;
    if (t->year < YEAR_MIN || t->month < 1 || t->month > 12 || t->day < 1 || t->day > 31)
        return wide ? DAY_MIN : 0;
    if (t->year > YEAR_MAX)
        days = DAY_MAX;
    else
        days = (int32_t)civil_days(t->year, t->month, 1) + (int32_t)t->day - 1;
    if (days > DAY_MAX)
        days = DAY_MAX;
    if (!wide && days < 0)
        days = 0;
    if (!wide && days > UINT16_MAX)
        days = UINT16_MAX;
    return days;
}

int coerce_date(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind != JSON_STRING)
        return coerce_int(c, doc, n);
    struct slice s = json_raw(doc, n);
    const char *p = s.ptr, *end = s.ptr + s.len;
    struct civil t = {.year = 0};
    if (!scan_date(&p, end, &t))
        return CHE_DATE;
    if (p != end)
        return CHE_INPUT;
    int32_t days = date_days(&t, c->width == 4);
    char *dst = column_extend(c, c->width);
    if (dst == NULL)
        return -ENOMEM;
    memcpy(dst, &days, c->width);
    return 0;
}

/* ---- best effort */

/* What has been read so far. The narrow types wrap as ClickHouse's do. */
struct best_effort {
    const char *p, *end;
    uint16_t year;
    uint8_t month, day, hour, minute, second;
    bool has_time, has_fraction, has_offset, offset_negative, am, pm, comma;
    bool whole_known; /* a Unix time: `whole` is the result */
    bool fraction_wanted;
    uint8_t offset_hour, offset_minute;
    int64_t whole;
    int64_t fraction; /* fraction_digits of them */
    uint32_t fraction_digits;
};

enum {
    DIGITS_MAX = 19,
    FRACTION_DIGITS_MAX = 18
};

enum step {
    STEP_ON,
    STEP_STOP,
    STEP_BAD
};

/* The byte at hand; the closing quote stands at the end. */
static inline char at(const struct best_effort *b)
{
    return b->p < b->end ? *b->p : '"';
}

static inline bool take(struct best_effort *b, char c)
{
    if (at(b) != c || b->p == b->end)
        return false;
    b->p++;
    return true;
}

static size_t take_digits(struct best_effort *b, const char **digits)
{
    size_t n = 0;
    *digits = b->p;
    while (n < DIGITS_MAX && b->p < b->end && is_digit(*b->p)) {
        b->p++;
        n++;
    }
    return n;
}

static size_t take_alpha(struct best_effort *b, char *word, size_t max)
{
    size_t n = 0;
    while (n < max && b->p < b->end && is_alpha(*b->p))
        word[n++] = *b->p++;
    return n;
}

static int64_t number(const char *digits, size_t n)
{
    int64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (digits[i] - '0');
    return v;
}

/* *part += one or two digits; false for any other count. */
static bool add_part(struct best_effort *b, uint8_t *part)
{
    const char *d;
    size_t n = take_digits(b, &d);
    if (n != 1 && n != 2)
        return false;
    *part = (uint8_t)(*part + number(d, n));
    return true;
}

static void take_fraction(struct best_effort *b)
{
    const char *d;
    size_t n = take_digits(b, &d);
    if (!b->fraction_wanted)
        return;
    if (n > FRACTION_DIGITS_MAX)
        n = FRACTION_DIGITS_MAX;
    b->fraction = number(d, n);
    b->fraction_digits = (uint32_t)n;
}

static const char *const month_names[] = {"january",   "february", "march",    "april",
                                          "may",       "june",     "july",     "august",
                                          "september", "october",  "november", "december"};
static const char *const day_names[] = {"monday", "tuesday",  "wednesday", "thursday",
                                        "friday", "saturday", "sunday"};

/* The name that word (three letters or more) abbreviates to three letters or spells in full, from
 * 1; 0 for none. */
static uint8_t find_name(const char *const *names, size_t count, const char *word, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        if (strncasecmp(names[i], word, 3) != 0)
            continue;
        if (n == 3 || (strlen(names[i]) == n && strncasecmp(names[i], word, n) == 0))
            return (uint8_t)(i + 1);
    }
    return 0;
}

static void date_from_8(struct best_effort *b, const char *d)
{
    b->year = (uint16_t)(b->year + number(d, 4));
    b->month = (uint8_t)(b->month + number(d + 4, 2));
    b->day = (uint8_t)(b->day + number(d + 6, 2));
}

static void time_from_6(struct best_effort *b, const char *d)
{
    b->hour = (uint8_t)(b->hour + number(d, 2));
    b->minute = (uint8_t)(b->minute + number(d + 2, 2));
    b->second = (uint8_t)(b->second + number(d + 4, 2));
    b->has_time = true;
}

/* Unix seconds; with 13, 16 or 19 digits milli-, micro- or nanoseconds; 9 and 10 may have a
 * fraction. */
static bool unix_time(struct best_effort *b, const char *d, size_t n)
{
    bool plain = n == 9 || n == 10;
    if (b->year != 0 || b->has_time || (!plain && n != 13 && n != 16 && n != 19))
        return false;
    size_t whole = plain ? n : 10;
    b->whole = number(d, whole);
    b->whole_known = true;
    if (b->fraction_wanted && !plain) {
        b->fraction = number(d + 10, n - 10);
        b->fraction_digits = (uint32_t)n - 10;
    } else if (b->fraction_wanted && take(b, '.')) {
        take_fraction(b);
    }
    return true;
}

/* YYYY, then perhaps a separator and month, and the same separator and day. */
static enum step year_first(struct best_effort *b, const char *d)
{
    b->year = (uint16_t)number(d, 4);
    char separator = at(b);
    if ((signed char)separator < 0x20 || separator == ',' || separator == ';' ||
        separator == '\'' || separator == '"')
        return STEP_STOP;
    if (b->month != 0)
        return STEP_ON;
    b->p++;
    if (!add_part(b, &b->month))
        return separator == ' ' ? STEP_ON : STEP_BAD;
    if (b->day == 0 && take(b, separator) && !add_part(b, &b->day) && separator != ' ')
        return STEP_BAD;
    return STEP_ON;
}

/* Behind "hh:". */
static enum step clock_time(struct best_effort *b, uint8_t hour)
{
    if (b->has_time)
        return STEP_BAD;
    b->hour = hour;
    b->has_time = true;
    if (!add_part(b, &b->minute))
        return STEP_BAD;
    if (take(b, ':') && !add_part(b, &b->second))
        return STEP_BAD;
    return STEP_ON;
}

static bool take_date_separator(struct best_effort *b)
{
    return take(b, '/') || take(b, '.') || take(b, '-');
}

/* A month in digits or letters, behind "DD-". */
static bool month_after_day(struct best_effort *b)
{
    const char *d;
    size_t n = take_digits(b, &d);
    if (n == 1 || n == 2) {
        b->month = (uint8_t)number(d, n);
        return true;
    }
    if (n != 0)
        return false;
    char word[9];
    n = take_alpha(b, word, sizeof(word));
    if (n < 3 || is_alpha(at(b)))
        return false;
    b->month = find_name(month_names, 12, word, n);
    return b->month != 0;
}

static enum step day_first(struct best_effort *b, uint8_t day)
{
    if (b->day != 0 || b->month != 0)
        return STEP_BAD;
    b->day = day;
    if (!month_after_day(b))
        return STEP_BAD;
    if (b->month > 12) {
        uint8_t swap = b->month;
        b->month = b->day;
        b->day = swap;
    }
    if (!take_date_separator(b))
        return STEP_ON;
    const char *d;
    size_t n = b->year != 0 ? 0 : take_digits(b, &d);
    if (n == 4)
        b->year = (uint16_t)number(d, 4);
    else if (n == 2)
        b->year = (uint16_t)(number(d, 2) + (number(d, 2) >= 70 ? 1900 : 2000));
    else
        return STEP_BAD;
    return STEP_ON;
}

static enum step one_or_two_digits(struct best_effort *b, uint8_t v)
{
    if (take(b, ':'))
        return clock_time(b, v);
    if (take(b, ',')) {
        if (b->month != 0 && b->day == 0)
            b->day = v;
        return STEP_ON;
    }
    if (take_date_separator(b))
        return day_first(b, v);
    if (b->day != 0)
        b->hour = v;
    else
        b->day = v;
    return STEP_ON;
}

static enum step on_digits(struct best_effort *b, const char *d, size_t n)
{
    if (unix_time(b, d, n))
        return STEP_STOP;
    if (n == 14 && b->year == 0 && !b->has_time) {
        date_from_8(b, d);
        time_from_6(b, d + 8);
    } else if (n == 8 && b->year == 0) {
        date_from_8(b, d);
    } else if (n == 6 && b->year == 0 && b->month == 0) {
        b->year = (uint16_t)number(d, 4);
        b->month = (uint8_t)number(d + 4, 2);
    } else if (n == 6 && !b->has_time) {
        time_from_6(b, d);
    } else if (n == 4 && b->year == 0) {
        return year_first(b, d);
    } else if (n == 1 || n == 2) {
        return one_or_two_digits(b, (uint8_t)number(d, n));
    } else {
        return STEP_BAD;
    }
    return STEP_ON;
}

/* Behind + or -: a time zone offset, or hhmmss after a full date. */
static enum step on_sign(struct best_effort *b, bool negative)
{
    const char *d;
    size_t n = take_digits(b, &d);
    if (n == 6 && !b->has_time && b->year != 0 && b->month != 0 && b->day != 0) {
        time_from_6(b, d);
        return STEP_ON;
    }
    if (n < 1 || n > 4)
        return STEP_BAD;
    size_t hours = n == 4 || n == 2 ? 2 : 1;
    b->has_offset = true;
    b->offset_negative = b->offset_negative || negative;
    b->offset_hour = (uint8_t)(b->offset_hour + number(d, hours));
    b->offset_minute = (uint8_t)(b->offset_minute + number(d + hours, n - hours));
    if (n < 3 && take(b, ':') && !add_part(b, &b->offset_minute))
        return STEP_BAD;
    return STEP_ON;
}

/* Month and day names, AM and PM, four zone names. */
static enum step on_word(struct best_effort *b)
{
    char word[10];
    size_t n = take_alpha(b, word, sizeof(word));
    if (n == 0)
        return STEP_STOP;
    if (n == 2 && (word[1] | 0x20) == 'm') {
        b->am = b->am || (word[0] | 0x20) == 'a';
        b->pm = b->pm || (word[0] | 0x20) == 'p';
        return (word[0] | 0x20) == 'a' || (word[0] | 0x20) == 'p' ? STEP_ON : STEP_BAD;
    }
    if (n < 3 || is_alpha(at(b)))
        return STEP_BAD;
    uint8_t month = find_name(month_names, 12, word, n);
    if (month != 0) {
        b->month = month;
        return STEP_ON;
    }
    if (find_name(day_names, 7, word, n) != 0) {
        (void)take(b, ',');
        return STEP_ON;
    }
    if (n != 3)
        return STEP_BAD;
    b->has_offset = true;
    if (strncasecmp(word, "MSK", 3) == 0)
        b->offset_hour = 3;
    else if (strncasecmp(word, "MSD", 3) == 0)
        b->offset_hour = 4;
    else if (strncasecmp(word, "UTC", 3) != 0 && strncasecmp(word, "GMT", 3) != 0)
        return STEP_BAD;
    return STEP_ON;
}

static enum step on_other(struct best_effort *b)
{
    char c = at(b);
    if (c == ' ' || (c == 'T' && b->year != 0 && !b->has_time)) {
        b->p++;
    } else if (c == 'Z') {
        b->p++;
        b->has_offset = true;
    } else if (c == '.') {
        if (!b->has_time || b->has_fraction)
            return STEP_BAD;
        b->p++;
        b->has_fraction = true;
        take_fraction(b);
    } else if (c == '+' || c == '-') {
        b->p++;
        return on_sign(b, c == '-');
    } else {
        return on_word(b);
    }
    return STEP_ON;
}

static bool best_effort_parts(struct best_effort *b)
{
    for (;;) {
        if ((b->year != 0) != b->has_time && take(b, ','))
            b->comma = true;
        const char *d;
        size_t n = b->year != 0 && b->has_time ? 0 : take_digits(b, &d);
        enum step step = n != 0 ? on_digits(b, d, n) : on_other(b);
        if (step == STEP_BAD)
            return false;
        if (step == STEP_STOP)
            return true;
    }
}

static bool leap(uint32_t year)
{
    return year % 400 == 0 || (year % 100 != 0 && year % 4 == 0);
}

static bool real_date(uint32_t year, uint32_t month, uint32_t day)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || day < 1)
        return false;
    return day <= days[month - 1] + (uint32_t)(month == 2 && leap(year));
}

static int32_t year_of_day(int64_t day)
{
    int32_t year = (int32_t)(1970 + day / 366);
    while (civil_days(year + 1, 1, 1) <= day)
        year++;
    return year;
}

/* This year's, or last year's when that would be in the future. */
static uint16_t missing_year(struct column *c, uint32_t month, uint32_t day)
{
    int64_t now = (int64_t)(io_realtime_ns() / 1000000000);
    int64_t today = (now + zones_offset(c->zone, now)) / SECONDS_A_DAY;
    int32_t year = year_of_day(today);
    bool named = month <= 12 && day <= 31;
    if (named && civil_days(year, month, 1) + day - 1 > today)
        year--;
    return (uint16_t)year;
}

static bool best_effort_finish(struct column *c, struct best_effort *b)
{
    bool date = b->year != 0 && b->month != 0 && b->day != 0;
    if (b->comma && (!b->has_time || !date))
        return false;
    if (b->year == 0 && b->month == 0 && b->day == 0 && !b->has_time)
        return false;
    if (b->day == 0)
        b->day = 1;
    if (b->month == 0)
        b->month = 1;
    if (b->year == 0)
        b->year = missing_year(c, b->month, b->day);
    if (!real_date(b->year, b->month, b->day))
        return false;
    if (b->am && b->hour == 12)
        b->hour = 0;
    if (b->pm && b->hour < 12)
        b->hour = (uint8_t)(b->hour + 12);
    struct civil t = {b->year, b->month, b->day, b->hour, b->minute, b->second};
    b->whole = zones_local_to_utc(c->block, b->has_offset ? NULL : c->zone, &t);
    if (b->has_offset) {
        int64_t offset = b->offset_hour * 3600 + b->offset_minute * 60;
        b->whole += b->offset_negative ? offset : -offset;
    }
    return true;
}

/* The bytes of w that stand in `mask` are digits: neither they nor they + 6 leave 3x. */
static inline bool digits_in(uint64_t w, uint64_t mask)
{
    uint64_t high = mask & 0xf0f0f0f0f0f0f0f0u, six = mask & 0x0606060606060606u;
    return ((w & high) | (((w + six) & high) >> 4)) == (mask & 0x3333333333333333u);
}

/* YYYY-MM-DDThh:mm:ssZ, the usual canonical form, in words of eight bytes. */
static inline bool canonical_seconds(struct slice s, int64_t *whole)
{
    const uint64_t digits_date = 0x00ffff00ffffffffu, digits_time = 0xffff00ffff00ffffu;
    const char *p = s.ptr;
    if (s.len != 20 || p[16] != ':' || p[19] != 'Z' || !is_digit(p[17]) || !is_digit(p[18]))
        return false;
    uint64_t date = le64_get(p), time = le64_get(p + 8);
    if ((date & ~digits_date) != 0x2d00002d00000000u || !digits_in(date, digits_date) ||
        (time & ~digits_time) != 0x00003a0000540000u || !digits_in(time, digits_time))
        return false;
    uint32_t year = two(p) * 100 + two(p + 2), month = two(p + 5), day = two(p + 8);
    if (year == 0 || !real_date(year, month, day))
        return false;
    *whole = civil_days((int32_t)year, month, day) * SECONDS_A_DAY + two(p + 11) * 3600 +
             two(p + 14) * 60 + two(p + 17);
    return true;
}

/* The canonical form, YYYY-MM-DDThh:mm:ss[.f]Z, without the general reader. */
static bool canonical(struct slice s, struct best_effort *b)
{
    const char *p = s.ptr;
    if (s.len < 20 || s.len > 20 + 1 + FRACTION_DIGITS_MAX || p[s.len - 1] != 'Z')
        return false;
    if (p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':')
        return false;
    static const uint8_t places[] = {0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18};
    unsigned bad = 0;
    for (size_t i = 0; i < sizeof(places); i++)
        bad |= (unsigned char)(p[places[i]] - '0') > 9;
    if (bad != 0)
        return false;
    uint32_t year = two(p) * 100 + two(p + 2), month = two(p + 5), day = two(p + 8);
    if (year == 0 || !real_date(year, month, day))
        return false;
    if (s.len > 20) {
        size_t n = s.len - 21;
        if (p[19] != '.' || n == 0)
            return false;
        for (size_t i = 0; i < n; i++)
            if (!is_digit(p[20 + i]))
                return false;
        b->fraction = b->fraction_wanted ? number(p + 20, n) : 0;
        b->fraction_digits = (uint32_t)n;
    }
    b->whole = civil_days((int32_t)year, month, day) * SECONDS_A_DAY + two(p + 11) * 3600 +
               two(p + 14) * 60 + two(p + 17);
    return true;
}

static int read_best_effort(struct column *c, struct slice s, struct best_effort *b)
{
    if (canonical(s, b))
        return 0;
    b->p = s.ptr;
    b->end = s.ptr + s.len;
    if (!best_effort_parts(b) || (!b->whole_known && !best_effort_finish(c, b)))
        return CHE_DATETIME;
    return b->p == b->end ? 0 : CHE_INPUT;
}

int coerce_datetime(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    struct slice s = json_raw(doc, n);
    int64_t v;
    if (n->kind == JSON_STRING && canonical_seconds(s, &v)) {
        /* done */
    } else if (n->kind == JSON_STRING) {
        struct best_effort b = {.fraction_wanted = false};
        int rc = read_best_effort(c, s, &b);
        if (rc != 0)
            return rc;
        v = b.whole;
    } else {
        const char *p = s.ptr, *end = s.ptr + s.len;
        uint64_t raw = 0;
        int rc = coerce_scan_int(&p, end, true, &raw);
        if (rc == 0 && p != end)
            rc = CHE_TRAILING;
        if (rc != 0)
            return rc;
        v = (int64_t)raw;
    }
    v = v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : v;
    char *dst = column_extend(c, 4);
    if (dst == NULL)
        return -ENOMEM;
    le32_put(dst, (uint32_t)v);
    return 0;
}

static const int64_t powers[] = {1,
                                 10,
                                 100,
                                 1000,
                                 10000,
                                 100000,
                                 1000000,
                                 10000000,
                                 100000000,
                                 1000000000,
                                 10000000000,
                                 100000000000,
                                 1000000000000,
                                 10000000000000,
                                 100000000000000,
                                 1000000000000000,
                                 10000000000000000,
                                 100000000000000000,
                                 1000000000000000000};

static int ticks(const struct best_effort *b, uint32_t scale, int64_t *v)
{
    int64_t fraction = b->fraction;
    if (scale < b->fraction_digits)
        fraction /= powers[b->fraction_digits - scale];
    else
        fraction *= powers[scale - b->fraction_digits];
    if (__builtin_mul_overflow(b->whole, powers[scale], v) ||
        __builtin_add_overflow(*v, fraction, v))
        return CHE_DECIMAL_OVERFLOW;
    return 0;
}

int coerce_datetime64(struct column *c, const struct json_doc *doc, const struct json_node *n)
{
    struct slice s = json_raw(doc, n);
    int64_t v = 0;
    int rc;
    if (n->kind == JSON_STRING) {
        struct best_effort b = {.fraction_wanted = true};
        rc = read_best_effort(c, s, &b);
        if (rc == 0 || rc == CHE_INPUT) {
            int over = ticks(&b, c->precision, &v);
            rc = over != 0 ? over : rc;
        }
    } else {
        const char *p = s.ptr, *end = s.ptr + s.len;
        uint64_t raw = 0;
        rc = coerce_scan_int(&p, end, true, &raw);
        v = (int64_t)raw;
        if (rc == 0 && p != end)
            rc = CHE_TRAILING;
    }
    if (rc != 0)
        return rc;
    char *dst = column_extend(c, 8);
    if (dst == NULL)
        return -ENOMEM;
    le64_put(dst, (uint64_t)v);
    return 0;
}
