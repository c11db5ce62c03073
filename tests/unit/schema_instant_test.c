/* SPDX-License-Identifier: Apache-2.0 */
/* Points in time as operators write them. */
#include "schema/instant.h"
#include "tests/lib/tap.h"

#define NOW 1800000000123456789u /* 2027-01-15T08:00:00.123456789Z */

static void is(const char *text, uint64_t want)
{
    uint64_t got = 0;
    bool good = instant_parse(slice_str(text), NOW, &got);
    is_u64(good ? got : 0, want, text);
}

static void refused(const char *text)
{
    uint64_t got;
    ok(!instant_parse(slice_str(text), NOW, &got), "refused: \"%s\"", text);
}

int main(void)
{
    is("1970-01-01T00:00:00Z", 0);
    is("2027-01-15T08:00:00.123456789Z", NOW);
    is("2027-01-15t08:00:00z", 1800000000000000000u);
    is("2027-01-15T10:30:00+02:30", 1800000000000000000u);
    is("2027-01-14T23:00:00.5-09:00", 1800000000500000000u);
    is("2027-01-15T08:00:00.1234567899Z", NOW);
    is("2027-01-15", 1799971200000000000u);
    is("2024-02-29", 1709164800000000000u);
    is("2261-12-31T23:59:59Z", 9214646399000000000u);

    is("0s", NOW);
    is("90m", NOW - 5400000000000u);
    is("1.5h", NOW - 5400000000000u);
    is("1d12h", NOW - 129600000000000u);
    is("2w", NOW - 1209600000000000u);
    is("1.5us", NOW - 1500);
    is("3ns", NOW - 3);
    is("1.9ns", NOW - 1);
    is("250ms", NOW - 250000000);
    is("5\xc2\xb5s", NOW - 5000);
    is("0.000000001s", NOW - 1);

    static const char *const bad[] = {"",
                                      "1",
                                      "-1h",
                                      "h",
                                      "1x",
                                      "1h ",
                                      "1.h",
                                      "99999999999999999999h",
                                      "20000w",
                                      "600000000w",
                                      "2026-02-29",
                                      "2026-13-01",
                                      "2026-1-1",
                                      "1969-12-31",
                                      "2262-01-01",
                                      "2026-01-01T00:00:00",
                                      "yesterday",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z",
                                      "2026-01-01T00:00:60Z",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00+2:00",
                                      "2026-01-01T00:00:00+24:00",
                                      "2026-01-01T00:00:00Zx",
                                      "2026-01-01 00:00:00Z",
                                      "1970-01-01T00:00:00+01:00"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(bad[i]);

    struct buf out;
    buf_init(&out, SIZE_MAX);
    instant_put(&out, NOW);
    is_mem(out.ptr, out.len, "2027-01-15T08:00:00.123456789Z", 30, "printed");
    for (uint64_t ns = 0; ns < INT64_MAX / 2; ns += 86399123456789u * 97) {
        uint64_t back = 0;
        buf_reset(&out);
        instant_put(&out, ns);
        if (!instant_parse(buf_slice(&out), NOW, &back) || back != ns)
            ok(false, "what is printed is read back: %.*s", SLICE_ARG(buf_slice(&out)));
    }
    buf_fini(&out);
    return tap_done();
}
