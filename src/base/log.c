/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_CAP 4096

static _Atomic int level_max = LOG_LEVEL_INFO;
static _Atomic int format_now = LOG_FORMAT_AUTO;

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
    atomic_store_explicit(&format_now, (int)format, memory_order_relaxed);
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARN:
        return "warn";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    return "info";
}

/* Local use of the wall clock: base may not include io, and a log line's time is not logic. */
static void time_text(char out[32])
{
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, 32 - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

void log_write(enum log_level level, const char *id, const char *fmt, ...)
{
    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return;
    int format = atomic_load_explicit(&format_now, memory_order_relaxed);
    if (format == LOG_FORMAT_AUTO)
        format = getenv("JOURNAL_STREAM") != NULL ? LOG_FORMAT_JOURNAL : LOG_FORMAT_TEXT;

    char text[LOG_LINE_CAP], line[LOG_LINE_CAP + 256], when[32];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* One line per fact: a control byte in a value must not start another; nor may one from outside
     * be obeyed by the terminal that shows the log. U+0080 to U+009F are two bytes. */
    for (unsigned char *p = (unsigned char *)text; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)) {
            if (*p == 0xc2)
                *p++ = ' ';
            *p = ' ';
        }

    size_t n = 0;
    if (format == LOG_FORMAT_JSON) {
        struct buf b;
        buf_init(&b, SIZE_MAX);
        time_text(when);
        buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"id\":\"%s\",\"text\":", when,
                   level_name(level), id);
        buf_put_json_string(&b, slice_str(text));
        buf_put_str(&b, "}\n");
        if (buf_ok(&b))
            (void)!write(STDERR_FILENO, b.ptr, b.len);
        buf_fini(&b);
        return;
    }
    if (format == LOG_FORMAT_JOURNAL) {
        n = (size_t)snprintf(line, sizeof(line), "<%d>%s %s\n", (int)level, id, text);
    } else {
        time_text(when);
        n = (size_t)snprintf(line, sizeof(line), "%s %s %s %s\n", when, level_name(level), id,
                             text);
    }
    if (n >= sizeof(line))
        n = sizeof(line) - 1;
    (void)!write(STDERR_FILENO, line, n);
}

bool log_limit_pass(struct log_limit *limit, uint64_t *dropped)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1;
    uint64_t next = atomic_load(&limit->next_ms);
    if (now_ms >= next &&
        atomic_compare_exchange_strong(&limit->next_ms, &next, now_ms + limit->interval_s * 1000)) {
        *dropped = atomic_exchange(&limit->dropped, 0);
        return true;
    }
    atomic_fetch_add(&limit->dropped, 1);
    return false;
}
