/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that tokens are verified with, for all socket loops: the secret of auth.jwt_secret, or
 * the document at auth.jwks_url, which a thread of its own fetches (access-control §2).
 *
 *   at start, and after a failure   1 s, 2 s … 60 s apart until it is there
 *   then                            hourly; a failure leaves the keys in force
 *   a token with an unknown kid     at once, but once in five minutes
 *
 * Loops hold a reference of the keys and take the next when auth_keys_version has moved. */
#ifndef WH_API_AUTH_KEYS_H
#define WH_API_AUTH_KEYS_H

#include "access/jwks.h"
#include "base/err.h"
#include "config/config.h"

#include <stdint.h>

struct auth_keys;

/* Starts the thread "wh-keys". */
int auth_keys_start(struct auth_keys **out, const struct config *config,
                    struct err *e) WH_MUST_CHECK;
/* Ends a transfer under way within a second. NULL is fine. */
void auth_keys_stop(struct auth_keys *k);
/* After the loops. NULL is fine. */
void auth_keys_free(struct auth_keys *k);
/* Other settings are in force. What another secret or issuer had signed is not good any more from
 * here on. */
void auth_keys_reload(struct auth_keys *k, const struct config *config);

/* Moves whenever auth_keys_current gives something else. Any thread. */
uint64_t auth_keys_version(const struct auth_keys *k);
/* One reference; NULL: the document was never fetched, no token can be judged. Any thread; takes a
 * lock. */
struct access_keys *auth_keys_current(struct auth_keys *k);
/* A token names a key that these lack: fetch the document, unless that was done a moment ago. Any
 * thread, never blocks. */
void auth_keys_miss(struct auth_keys *k);

#endif
