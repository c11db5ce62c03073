/* SPDX-License-Identifier: Apache-2.0 */
/* The Test Anything Protocol for unit tests. ok(condition, "name %d", …); ends with tap_done(). */
#ifndef WH_TESTS_TAP_H
#define WH_TESTS_TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures;

__attribute__((format(printf, 4, 5), unused)) static bool tap_ok(bool pass, const char *file,
                                                                 int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("%sok %d - ", pass ? "" : "not ", ++tap_count);
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    if (!pass) {
        tap_failures++;
        printf("# failed at %s:%d\n", file, line);
    }
    (void)fflush(stdout);
    return pass;
}

__attribute__((unused)) static bool tap_is_u64(uint64_t got, uint64_t want, const char *file,
                                               int line, const char *name)
{
    bool pass = tap_ok(got == want, file, line, "%s", name);
    if (!pass)
        printf("#  got %" PRIu64 " (0x%" PRIx64 ")\n# want %" PRIu64 " (0x%" PRIx64 ")\n", got, got,
               want, want);
    return pass;
}

__attribute__((unused)) static bool tap_is_mem(const void *got, size_t got_len, const void *want,
                                               size_t want_len, const char *file, int line,
                                               const char *name)
{
    bool pass = tap_ok(got_len == want_len && (got_len == 0 || memcmp(got, want, got_len) == 0),
                       file, line, "%s", name);
    if (!pass)
        printf("#  got %.*s\n# want %.*s\n", (int)got_len, (const char *)got, (int)want_len,
               (const char *)want);
    return pass;
}

#define ok(cond, ...)            tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, nm)    tap_is_u64((uint64_t)(got), (uint64_t)(want), __FILE__, __LINE__, nm)
#define is_mem(g, gl, w, wl, nm) tap_is_mem((g), (gl), (w), (wl), __FILE__, __LINE__, nm)
#define is_str(got, want, nm) \
    tap_is_mem((got), strlen(got), (want), strlen(want), __FILE__, __LINE__, nm)

/* Use as `return skip_all("reason");` before any ok(). */
__attribute__((unused)) static int skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    return 0;
}

__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures == 0 ? 0 : 1;
}

#endif
