/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical form of http-api §7.4: its vectors and its edges. */
#include "schema/timestamp.h"
#include "tests/lib/tap.h"

static struct zone *zone_new_york, *zone_utc;

/* type: -1 for DateTime, else the precision of DateTime64. want NULL: stays as it is. */
static struct timestamp_type type_of(int type)
{
    return (struct timestamp_type){.is_64 = type >= 0, .precision = type < 0 ? 0 : (uint8_t)type};
}

static void check(enum timestamp_result rc, const char *out, size_t len, const char *in,
                  const char *want)
{
    if (want == NULL) {
        ok(rc == TIMESTAMP_AS_IS || rc == TIMESTAMP_ALREADY, "stays: %s", in);
        return;
    }
    if (rc == TIMESTAMP_REPLACED)
        is_mem(out, len, want, strlen(want), in);
    else
        ok(false, "recognised: %s", in);
}

static void text(int type, const struct zone *zone, const char *in, const char *want)
{
    char out[TIMESTAMP_CAP];
    size_t len = 0;
    enum timestamp_result rc = timestamp_from_text(type_of(type), slice_str(in), zone, out, &len);
    check(rc, out, len, in, want);
}

static void digits(int type, const char *in, const char *want)
{
    char out[TIMESTAMP_CAP];
    size_t len = 0;
    enum timestamp_result rc = timestamp_from_digits(type_of(type), slice_str(in), out, &len);
    check(rc, out, len, in, want);
}

static void test_vectors(void)
{
    if (zone_new_york != NULL)
        text(3, zone_new_york, "2026-06-21 00:00:00.1239", "2026-06-21T04:00:00.123Z");
    text(3, zone_utc, "1750478400.5", "2025-06-21T04:00:00.5Z");
    digits(3, "1750478400500", "2025-06-21T04:00:00.5Z");
    digits(3, "1750478400", "1970-01-21T06:14:38.4Z");
    text(3, zone_utc, "20260621", NULL);
    text(-1, zone_utc, "2026-06-21T04:00:00.9+02:00", "2026-06-21T02:00:00Z");
}

static void test_text(void)
{
    text(-1, zone_utc, "2026-06-21", "2026-06-21T00:00:00Z");
    text(-1, zone_utc, "2026-06-21 01:02:03", "2026-06-21T01:02:03Z");
    text(-1, zone_utc, "2026-06-21T01:02:03.999", "2026-06-21T01:02:03Z");
    text(-1, zone_utc, "2026-06-21T01:02:03Z", NULL);
    text(6, zone_utc, "2026-06-21T01:02:03.5Z", NULL);
    text(6, zone_utc, "2026-06-21T01:02:03.50Z", "2026-06-21T01:02:03.5Z");
    text(6, zone_utc, "2026-06-21T01:02:03.000000Z", "2026-06-21T01:02:03Z");
    text(6, zone_utc, "2026-06-21T01:02:03.1234567Z", "2026-06-21T01:02:03.123456Z");
    text(9, zone_utc, "2026-06-21T01:02:03.1234567891234Z", "2026-06-21T01:02:03.123456789Z");
    text(0, zone_utc, "2026-06-21T01:02:03.9-00:30", "2026-06-21T01:32:03Z");
    text(3, zone_utc, "2024-02-29T23:59:59+23:59", "2024-02-29T00:00:59Z");
    text(3, zone_utc, "1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z");
    static const char *const stay[] = {
        "",
        "2026-06-2",
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-6-21",
        "2026/06/21",
        "2026-06-21T",
        "2026-06-21T01:02",
        "2026-06-21T24:00:00",
        "2026-06-21T23:60:00",
        "2026-06-21T23:59:60Z",
        "2026-06-21T01:02:03.",
        "2026-06-21T01:02:03.Z",
        "2026-06-21T01:02:03,5Z",
        "2026-06-21T01:02:03z",
        "2026-06-21t01:02:03Z",
        "2026-06-21 01:02:03Z",
        "2026-06-21 01:02:03+02:00",
        "2026-06-21T01:02:03+0200",
        "2026-06-21T01:02:03+02",
        "2026-06-21T01:02:03+24:00",
        "2026-06-21T01:02:03+02:60",
        "2026-06-21T01:02:03 Z",
        "2026-06-21T01:02:03ZZ",
        "2026-06-21x01:02:03",
        "12345678",
        "12345678901",
        "123456789.",
        "123456789.5x",
        "123456789x",
        "-123456789",
        " 2026-06-21",
        "2026-06-21 ",
        "now",
    };
    for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
        text(3, zone_utc, stay[i], NULL);
    text(3, zone_utc, "123456789", "1973-11-29T21:33:09Z");
    text(-1, zone_utc, "1234567890", "2009-02-13T23:31:30Z");
    text(-1, zone_utc, "1234567890.5", NULL);
    char out[TIMESTAMP_CAP];
    size_t len;
    ok(timestamp_from_text(type_of(3), SLICE_LIT("2026-06-21"), NULL, out, &len) ==
           TIMESTAMP_NO_ZONE,
       "asks for a zone");
    ok(timestamp_from_text(type_of(3), SLICE_LIT("2026-06-21T00:00:00+01:00"), NULL, out, &len) ==
           TIMESTAMP_REPLACED,
       "needs none");
}

static void test_range(void)
{
    text(-1, zone_utc, "1969-12-31T23:59:59+00:00", NULL);
    text(-1, zone_utc, "1970-01-01T00:00:00+00:00", "1970-01-01T00:00:00Z");
    text(-1, zone_utc, "2106-02-07 06:28:15", "2106-02-07T06:28:15Z");
    text(-1, zone_utc, "2106-02-07 06:28:16", NULL);
    text(-1, zone_utc, "4294967295", "2106-02-07T06:28:15Z");
    text(-1, zone_utc, "4294967296", NULL);
    digits(-1, "0", "1970-01-01T00:00:00Z");
    digits(-1, "4294967295", "2106-02-07T06:28:15Z");
    digits(-1, "4294967296", NULL);
    digits(-1, "99999999999999999999999", NULL);
    text(6, zone_utc, "1900-01-01", "1900-01-01T00:00:00Z");
    text(6, zone_utc, "1899-12-31 23:59:59", NULL);
    text(6, zone_utc, "2299-12-31 23:59:59.9999999", "2299-12-31T23:59:59.999999Z");
    text(6, zone_utc, "2300-01-01", NULL);
    text(7, zone_utc, "2262-04-11 23:47:16.8547758", "2262-04-11T23:47:16.8547758Z");
    text(7, zone_utc, "2262-04-11 23:47:16.8547759", NULL);
    text(9, zone_utc, "2262-04-11 23:47:16.854775807", "2262-04-11T23:47:16.854775807Z");
    text(9, zone_utc, "2262-04-11 23:47:16.854775808", NULL);
    digits(9, "9223372036854775807", "2262-04-11T23:47:16.854775807Z");
    digits(9, "9223372036854775808", NULL);
    digits(0, "10413791999", "2299-12-31T23:59:59Z");
    digits(0, "10413792000", NULL);
    text(3, zone_utc, "0000-01-01", NULL);
    text(3, zone_utc, "9999-12-31", NULL);
}

static void from_ns(int type, uint64_t ns, const char *want)
{
    char out[TIMESTAMP_CAP], name[48];
    size_t len = 0;
    (void)snprintf(name, sizeof(name), "%" PRIu64 " ns", ns);
    enum timestamp_result rc = timestamp_from_ns(type_of(type), ns, out, &len);
    check(rc, out, len, name, want);
}

static void test_ns(void)
{
    from_ns(-1, 1750478400123456789u, "2025-06-21T04:00:00Z");
    from_ns(3, 1750478400123456789u, "2025-06-21T04:00:00.123Z");
    from_ns(9, 1750478400123456789u, "2025-06-21T04:00:00.123456789Z");
    from_ns(9, UINT64_MAX, NULL);
}

int main(void)
{
    if (zone_load(SLICE_LIT("UTC"), &zone_utc, NULL) != 0)
        return 1;
    if (zone_load(SLICE_LIT("America/New_York"), &zone_new_york, NULL) != 0)
        printf("# no tzdata on this host\n");
    test_vectors();
    test_text();
    test_range();
    test_ns();
    zone_free(zone_utc);
    zone_free(zone_new_york);
    return tap_done();
}
