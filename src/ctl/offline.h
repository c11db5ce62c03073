/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that need no daemon have in common: files, secrets, keys. All say on standard
 * error what went wrong. */
#ifndef WH_CTL_OFFLINE_H
#define WH_CTL_OFFLINE_H

#include "base/buf.h"

struct access_keys;

/* Append the file, or standard input for "-", at most max bytes. 0, -errno, WH_ELIMIT. */
int ctl_read_file(const char *path, size_t max, struct buf *out) WH_MUST_CHECK;
/* The same without the line break at its end: a secret kept in a file. */
int ctl_read_secret(const char *path, struct buf *out) WH_MUST_CHECK;
/* Append a token given as an argument: its text, or "-" for standard input. */
int ctl_token_argument(const char *argument, struct buf *out) WH_MUST_CHECK;
/* Keys from one of two files, the other name NULL. One reference in *out. */
int ctl_keys(const char *secret_file, const char *jwks_file,
             struct access_keys **out) WH_MUST_CHECK;

#endif
