/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: every room started in order, run until a signal, stopped in reverse order. */
#ifndef WH_DAEMON_DAEMON_H
#define WH_DAEMON_DAEMON_H

#include "config/config.h"

enum daemon_exit {
    DAEMON_OK = 0,
    DAEMON_FAILED = 1,
    DAEMON_USAGE = 2
};

/* Runs until SIGTERM, SIGINT or a failure of the log. options are read again at SIGHUP. config: one
 * reference, taken. Blocks. */
int daemon_run(const struct config_options *options, const struct config *config);

#endif
