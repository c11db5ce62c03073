/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of wavehousectl. Each gets the arguments behind its name and returns an exit status. */
#ifndef WH_CTL_CTL_H
#define WH_CTL_CTL_H

#include "base/slice.h"

#include <stdio.h>

enum ctl_exit {
    CTL_OK = 0,
    CTL_DAMAGE = 1,  /* what was looked at is damaged or not valid */
    CTL_REFUSED = 1, /* the daemon refuses; or does not do all of it */
    CTL_USAGE = 2,
    CTL_SYSTEM = 3 /* could not look or ask: missing folder, permission, I/O error, no daemon */
};

/* wal ls|dump|verify … ; argv[0] is "wal" */
int ctl_wal(int argc, char **argv);
/* dlq list|show|edit|replay|purge|stats …, drift …, replay …: ask a running daemon */
int ctl_dlq(int argc, char **argv);
int ctl_drift(int argc, char **argv);
int ctl_replay(int argc, char **argv);
/* token new|show …: needs no daemon */
int ctl_token(int argc, char **argv);
/* policy check|explain …: needs no daemon; get|set|validate …: ask one */
int ctl_policy(int argc, char **argv);
/* pipe list|show|set|rm …: ask a running daemon */
int ctl_pipe(int argc, char **argv);
/* Text that is JSON, or holds some, to standard output as it is, but for what a terminal would obey
 * and JSON lets stand in a string: U+007F to U+009F become \u009b and the like, which say the same.
 */
void ctl_write_json(struct slice json);
/* Their usages, for --help. */
void ctl_dlq_usage(FILE *to);
void ctl_replay_usage(FILE *to);
void ctl_token_usage(FILE *to);
void ctl_policy_usage(FILE *to);
void ctl_pipe_usage(FILE *to);

#endif
