/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded ClickHouse engine as a supervised child process (architecture §10).
 *
 * The child is wavehoused-engine; its data lies under data_dir/clickhouse. It is started again with
 * backoff (1 s → 30 s) when it ends. What it prints goes to data_dir/clickhouse/engine.log, which
 * is bounded: at ENGINE_LOG_BYTES the file becomes engine.log.1. The child ends with the daemon,
 * even when that is killed: its standard input is a pipe from us. */
#ifndef WH_DAEMON_SUPERVISE_H
#define WH_DAEMON_SUPERVISE_H

#include "base/err.h"

#include <stdint.h>

struct engine_child;

struct engine_child_options {
    const char *program;  /* wavehoused-engine */
    const char *library;  /* libchdb.so */
    const char *data_dir; /* the daemon's */
    uint16_t tcp_port, http_port;
};

/* Starts the supervising thread; the options' strings stay valid until stop. Both ports must be
 * free: blocks up to 5 s for an engine of the previous run to end. */
int engine_child_start(struct engine_child **out, const struct engine_child_options *options,
                       struct err *e) WH_MUST_CHECK;
/* SIGTERM, wait, SIGKILL after 20 s. Blocks. */
void engine_child_stop(struct engine_child *c);

#endif
