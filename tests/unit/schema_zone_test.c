/* SPDX-License-Identifier: Apache-2.0 */
/* Calendar and time zones, the latter against libc's reading of the same files. */
#include "schema/civil.h"
#include "schema/zone.h"
#include "tests/lib/tap.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void test_civil(void)
{
    bool same = true;
    struct civil_date d = {1600, 1, 1};
    for (int32_t days = civil_to_days(d); days < 200000; days++) {
        struct civil_date got = civil_from_days(days);
        same = same && got.year == d.year && got.month == d.month && got.day == d.day &&
               civil_to_days(d) == days;
        if (++d.day > civil_month_days(d.year, d.month)) {
            d.day = 1;
            if (++d.month > 12) {
                d.month = 1;
                d.year++;
            }
        }
    }
    ok(same, "every day from 1600 to 2517, both ways");
    is_u64((uint64_t)civil_to_days((struct civil_date){1970, 1, 1}), 0, "epoch");
    ok(civil_day_of(-1) == -1 && civil_day_of(0) == 0 && civil_day_of(86399) == 0, "floor");
    ok(civil_to_days((struct civil_date){0, 1, 1}) == -719528, "year 0");
}

static void test_utc(void)
{
    struct zone *z;
    ok(zone_load(SLICE_LIT("Etc/UTC"), &z, NULL) == 0, "UTC needs no file");
    ok(zone_utc_offset(z, 1e9) == 0 && zone_local_to_utc(z, 12345) == 12345, "zero");
    ok(slice_eq_str(zone_name(z), "Etc/UTC"), "name");
    zone_free(z);
    zone_free(NULL);
    static const char *const bad[] = {"",    "../../etc/passwd", "/etc/localtime", "No/Such",
                                      "a b", "Europe",           "zone.tab",       "UTC\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e;
        int rc = zone_load(slice_str(bad[i]), &z, &e);
        ok(rc < 0 && z == NULL && e.text[0] != '\0', "refused %zu: %s", i, err_text(rc));
    }
}

/* libc's offset, for comparison. */
static int32_t libc_offset(int64_t utc_s)
{
    struct tm tm;
    time_t t = (time_t)utc_s;
    (void)localtime_r(&t, &tm);
    return (int32_t)tm.tm_gmtoff;
}

static void compare_with_libc(const char *name)
{
    struct zone *z;
    if (zone_load(slice_str(name), &z, NULL) != 0) {
        ok(true, "%s # SKIP not on this host", name);
        return;
    }
    (void)setenv("TZ", name, 1);
    tzset();
    uint64_t wrong = 0, unstable = 0;
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        /* 1900 … 2290; half of the samples near a possible change: whole hours of April, October */
        int64_t at = -2208988800 + (int64_t)((seed >> 20) % 12307000000u);
        int32_t mine = zone_utc_offset(z, at);
        if (mine != libc_offset(at) && wrong++ < 3)
            printf("# %s at %" PRId64 ": %d, libc %d\n", name, at, mine, libc_offset(at));
        int64_t back = zone_local_to_utc(z, at + mine);
        /* The same wall clock: only in a repeated stretch an earlier instant. */
        unstable += back + zone_utc_offset(z, back) != at + mine || back > at;
    }
    is_u64(wrong, 0, name);
    is_u64(unstable, 0, "local time and back");
    zone_free(z);
}

static int64_t at(int32_t y, uint8_t mon, uint8_t d, int h, int m)
{
    return (int64_t)civil_to_days((struct civil_date){y, mon, d}) * CIVIL_DAY_S + h * 3600 + m * 60;
}

static void test_changes(void)
{
    struct zone *z;
    if (access("/usr/share/zoneinfo/America/New_York", R_OK) != 0) {
        ok(true, "changes # SKIP tzdata is not installed");
        return;
    }
    ok(zone_load(SLICE_LIT("America/New_York"), &z, NULL) == 0, "New York");
    is_u64(zone_local_to_utc(z, at(2026, 6, 21, 0, 0)), at(2026, 6, 21, 4, 0), "summer");
    is_u64(zone_local_to_utc(z, at(2026, 1, 21, 0, 0)), at(2026, 1, 21, 5, 0), "winter");
    is_u64(zone_local_to_utc(z, at(2026, 11, 1, 1, 30)), at(2026, 11, 1, 5, 30),
           "of a repeated hour the first");
    is_u64(zone_local_to_utc(z, at(2026, 11, 1, 2, 0)), at(2026, 11, 1, 7, 0), "after it");
    is_u64(zone_local_to_utc(z, at(2026, 3, 8, 2, 30)), at(2026, 3, 8, 6, 30),
           "a skipped time counts with the offset after the jump");
    is_u64(zone_local_to_utc(z, at(2026, 3, 8, 3, 0)), at(2026, 3, 8, 7, 0), "after it");
    is_u64(zone_local_to_utc(z, at(2250, 7, 1, 0, 0)), at(2250, 7, 1, 4, 0), "far future");
    zone_free(z);
    ok(zone_load(SLICE_LIT("Europe/Dublin"), &z, NULL) == 0, "Dublin");
    is_u64((uint64_t)zone_utc_offset(z, at(2100, 7, 1, 0, 0)), 3600, "negative saving, summer");
    is_u64((uint64_t)zone_utc_offset(z, at(2100, 1, 1, 0, 0)), 0, "negative saving, winter");
    zone_free(z);
}

/* A version 2 file without listed changes, only with a rule. */
static void test_parse(void)
{
    char file[256];
    memset(file, 0, sizeof(file));
    memcpy(file, "TZif2", 5);
    memcpy(file + 44, "TZif2", 5);
    file[44 + 39] = 1; /* one type */
    file[44 + 43] = 4; /* four characters of abbreviations */
    size_t head = 44 + 44 + 6 + 4;
    static const struct {
        const char *rule;
        int32_t july; /* offset in July 2050; -1: refused */
    } cases[] = {
        {"\nXXX-1YYY,M3.5.0,M10.5.0/3\n", 7200},
        {"\n<+0330>-3:30\n", 12600},
        {"\nAAA3BBB2,J60/0,300/-1:30\n", -7200},
        {"\n\n", 0},
        {"\nXX1\n", -1},
        {"\nXXX\n", -1},
        {"\nXXX1YYY\n", -1},
        {"\nXXX1YYY,M13.1.0,M10.5.0\n", -1},
        {"\nXXX1YYY,M3.6.0,M10.5.0\n", -1},
        {"\nXXX1YYY,M3.5.0,M10.5.0/\n", -1},
        {"\nXXX1YYY,J0,M10.5.0\n", -1},
        {"\nXXX999\n", -1},
        {"\nXXX1", -1},
        {"x", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct zone *z;
        memcpy(file + head, cases[i].rule, strlen(cases[i].rule));
        struct slice text = {file, head + strlen(cases[i].rule)};
        int rc = zone_parse(SLICE_LIT("t"), text, &z, NULL);
        if (cases[i].july == -1)
            ok(rc == WH_ECORRUPT, "refused rule %zu", i);
        else
            ok(rc == 0 && zone_utc_offset(z, at(2050, 7, 1, 0, 0)) == cases[i].july, "rule %zu", i);
        zone_free(z);
    }
}

int main(void)
{
    test_civil();
    test_utc();
    static const char *const names[] = {
        "America/New_York",  "America/Sao_Paulo", "America/Nuuk",        "America/St_Johns",
        "Africa/Casablanca", "Africa/Cairo",      "Asia/Kolkata",        "Asia/Gaza",
        "Asia/Tehran",       "Asia/Istanbul",     "Australia/Lord_Howe", "Antarctica/Troll",
        "Europe/Berlin",     "Europe/Dublin",     "Europe/London",       "Europe/Moscow",
        "Pacific/Apia",      "Pacific/Chatham",   "America/Havana",      "Asia/Kathmandu"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        compare_with_libc(names[i]);
    test_changes();
    test_parse();
    return tap_done();
}
