/* SPDX-License-Identifier: Apache-2.0 */
/* The proleptic Gregorian calendar in integers: no time zone, no libc, no limits that matter. */
#ifndef WH_SCHEMA_CIVIL_H
#define WH_SCHEMA_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY_S 86400

struct civil_date {
    int32_t year;
    uint8_t month; /* 1…12 */
    uint8_t day;   /* 1…31 */
};

static inline bool civil_is_leap(int32_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static inline uint8_t civil_month_days(int32_t year, uint8_t month)
{
    if (month == 2)
        return civil_is_leap(year) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Days since 1970-01-01. The year is taken to start in March, so that the leap day comes last and
 * the months before it follow the 153-days-in-5-months pattern. Years −9999…9999. */
static inline int32_t civil_to_days(struct civil_date d)
{
    int32_t y = d.year - (d.month <= 2) + 400 * 100; /* positive from here on */
    int32_t m = d.month > 2 ? d.month - 3 : d.month + 9;
    int32_t days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d.day - 1;
    return days - 719468 - 146097 * 100;
}

static inline struct civil_date civil_from_days(int32_t days)
{
    int32_t z = days + 719468 + 146097 * 100;
    int32_t era = z / 146097, in_era = z % 146097;
    int32_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int32_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int32_t m = (5 * in_year + 2) / 153;
    struct civil_date d;
    d.day = (uint8_t)(in_year - (153 * m + 2) / 5 + 1);
    d.month = (uint8_t)(m < 10 ? m + 3 : m - 9);
    d.year = year + (era - 100) * 400 + (d.month <= 2);
    return d;
}

/* Floor division, for instants before 1970. */
static inline int32_t civil_day_of(int64_t seconds)
{
    int64_t day = seconds / CIVIL_DAY_S;
    return (int32_t)(seconds % CIVIL_DAY_S < 0 ? day - 1 : day);
}

#endif
