/* SPDX-License-Identifier: Apache-2.0 */
/* Structured log lines on standard error: one line per fact.
 *
 *   <6>wal.sealed segment=12 bytes=67108864          under systemd (priority prefix, no time)
 *   2026-11-21T01:02:03.456Z info wal.sealed …       on a terminal
 *   {"time":…,"level":"info","id":"wal.sealed","text":"segment=12 bytes=…"}   json
 *
 * The first word is a stable id, listed in wavehoused(8) with its meaning and remedy. Never a
 * payload, a token, or a query text at the default level. Any thread; one write(2) per line. */
#ifndef WH_BASE_LOG_H
#define WH_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/* syslog severities, sd-daemon(3) */
enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARN = 4,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};
enum log_format {
    LOG_FORMAT_AUTO,
    LOG_FORMAT_JOURNAL,
    LOG_FORMAT_TEXT,
    LOG_FORMAT_JSON
};

/* Lines above level are dropped. Before the first call: info, auto. */
void log_configure(enum log_level level, enum log_format format);

void log_write(enum log_level level, const char *id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(id, ...) log_write(LOG_LEVEL_ERROR, id, __VA_ARGS__)
#define log_warn(id, ...)  log_write(LOG_LEVEL_WARN, id, __VA_ARGS__)
#define log_info(id, ...)  log_write(LOG_LEVEL_INFO, id, __VA_ARGS__)
#define log_debug(id, ...) log_write(LOG_LEVEL_DEBUG, id, __VA_ARGS__)

/* A message site that may repeat: at most one line per interval, with a count of those dropped.
 *   static struct log_limit limit = LOG_LIMIT(10);
 *   uint64_t dropped;
 *   if (log_limit_pass(&limit, &dropped)) log_warn("x.y", "… repeated=%" PRIu64, dropped); */
struct log_limit {
    uint64_t interval_s;
    _Atomic uint64_t next_ms; /* monotonic time before which lines are dropped */
    _Atomic uint64_t dropped;
};
#define LOG_LIMIT(seconds)      \
    {                           \
        .interval_s = (seconds) \
    }
bool log_limit_pass(struct log_limit *limit, uint64_t *dropped);

#endif
