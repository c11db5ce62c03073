/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of coercion_diff: value generator and a minimal HTTP client. */
#ifndef WH_TESTS_COERCION_H
#define WH_TESTS_COERCION_H

#include "base/buf.h"
#include "schema/type.h"

#include <stdint.h>

/* ---- coercion_gen.c: seeded JSON values, most of them readable as the type, some not */
struct gen {
    uint64_t state;
};
uint32_t gen_below(struct gen *g, uint32_t n); /* 0 … n-1 */
/* Append one JSON value. number counts a type's cases from 0: boundary values come first. */
void gen_value(struct gen *g, const struct ch_type *t, uint32_t number, struct buf *out);

/* ---- coercion_http.c: one keep-alive connection to ClickHouse on loopback */
struct http {
    int port;
    int fd; /* -1: not connected */
    struct buf in, body;
    int status;
    int code; /* X-ClickHouse-Exception-Code; 0 when the request succeeded */
};
void http_init(struct http *h, int port);
void http_fini(struct http *h);
/* POST /?query=…; the answer is in h->body. Returns h->code, or -1 when there is no answer. */
int http_query(struct http *h, const char *query, struct slice body);

#endif
