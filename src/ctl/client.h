/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a running daemon: plain HTTP/1.1, one connection each. For the command line: blocks,
 * and says what is wrong in a sentence for whoever typed the command. */
#ifndef WH_CTL_CLIENT_H
#define WH_CTL_CLIENT_H

#include "ctl/answer.h"

#define CLIENT_SERVER_DEFAULT "http://127.0.0.1:8080"

struct client {
    char host[256], port[8];
    char socket[108];  /* path of the control socket; empty: host and port count */
    char prefix[1024]; /* of the path, where a proxy mounts the daemon; no slash at its end */
    char credential[8 * 1024 + 64]; /* a header line, or empty */
    struct buf rx;
};

/* How the daemon is to know who asks. The first that is there: key_file, token_file,
 * $WAVEHOUSE_OPERATOR_KEY, $WAVEHOUSE_TOKEN. The control socket needs none. */
struct client_credentials {
    const char *key_file, *token_file; /* NULL: not given; "-": standard input */
};

/* url: http://HOST[:PORT][/PREFIX] or unix:PATH; NULL: $WAVEHOUSE_URL, else the control socket of
 * an installed daemon where this user may use it, else CLIENT_SERVER_DEFAULT. 0, or WH_ESYNTAX with
 * a text. */
int client_init(struct client *c, const char *url, struct err *e) WH_MUST_CHECK;
void client_fini(struct client *c);
/* After client_init. 0; -errno or WH_E… and it was said on standard error. */
int client_identify(struct client *c, const struct client_credentials *who) WH_MUST_CHECK;

/* target: path and query. body.ptr NULL: none; otherwise JSON. 0 whatever the status is; the answer
 * is valid until the next call. -errno, WH_E… with a text when there is no answer. Blocks: network;
 * for 30 s to connect, then for up to 10 minutes without a byte. */
int client_call(struct client *c, const char *method, const char *target, struct slice body,
                struct ctl_answer *a, struct err *e) WH_MUST_CHECK;

#endif
