/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse over HTTP or HTTPS, with libcurl: schema discovery, and
 * JSONEachRow inserts for types outside the native encoder (clickhouse-native §13). Blocking, one
 * owner thread. */
#ifndef WH_CLICKHOUSE_HTTP_CLIENT_H
#define WH_CLICKHOUSE_HTTP_CLIENT_H

#include "clickhouse/native.h"
#include "schema/schema.h"

struct ch_http;
struct ch_http *ch_http_new(const struct ch_options *options);
void ch_http_free(struct ch_http *c);

struct ch_http_request {
    struct slice sql;     /* sent in the URL when body is not empty, else as the body */
    struct slice body;    /* rows of an INSERT */
    const char *settings; /* "&a=1&b=2", already URL-encoded, or NULL */
    uint64_t timeout_ms;  /* for the whole request; 0: the options' io_timeout_ms */
    size_t response_max;  /* longer answers fail with CH_UNAVAILABLE and a text */
};
/* The answer's body is appended to out. Sends wait_end_of_query=1 with INSERTs. Blocks. Tries the
 * endpoints in order while nothing was sent. */
enum ch_outcome ch_http_query(struct ch_http *c, const struct ch_http_request *q, struct buf *out,
                              struct ch_error *e);

/* Append s as a value in a URL. */
void ch_put_url_escaped(struct buf *out, struct slice s);

/* Take a String off the front of RowBinary. False: at its end, or it is cut. */
bool ch_take_string(struct slice *in, struct slice *out);

/* Read the configured database's tables and columns from system.tables and system.columns, both
 * generations. A new catalog (one reference) in *out. Blocks. */
enum ch_outcome ch_discover(struct ch_http *c, const char *database, struct schema_catalog **out,
                            struct ch_error *e);

/* A document of another service, for rooms that may not name libcurl: the keys of a token issuer.
 */
struct ch_get {
    const char *url;            /* https://, or http:// as the caller trusts it */
    const char *ca_file;        /* PEM; NULL: the system's authorities */
    uint64_t timeout_ms;        /* for all of it, connecting and redirects included */
    size_t response_max;        /* longer answers fail */
    const _Atomic bool *cancel; /* gives up within a second once it is true; NULL: never */
};
/* GET: 0, and the body of a 200 is appended to out; otherwise a negative code and a sentence in e.
 * Certificates are always verified; a few redirects are followed, to https:// only; no proxy.
 * Blocks. Any thread. */
int ch_get(const struct ch_get *q, struct buf *out, struct err *e) WH_MUST_CHECK;

#endif
