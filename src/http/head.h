/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an HTTP/1.1 request, from bytes to fields: a pure function, strict (RFC 9112).
 *
 * Two steps. http_head_scan finds the end of the head in bytes that arrive piece by piece; its
 * result depends on the bytes only, never on the pieces. http_head_parse then reads the complete
 * head; all slices point into it. What other servers tolerate and disagree about (bare LF, folded
 * lines, a space before the colon, two lengths) is refused, because disagreement between a proxy
 * and us is how requests are smuggled. */
#ifndef WH_HTTP_HEAD_H
#define WH_HTTP_HEAD_H

#include "http/decode.h"
#include "http/http.h"

/* Why a request is not served by the handler; text and status in http_refusal_info. */
enum http_refusal {
    HTTP_REFUSE_NONE,
    HTTP_REFUSE_REQUEST_LINE,
    HTTP_REFUSE_LINE_END,
    HTTP_REFUSE_FIELD,
    HTTP_REFUSE_HOST,
    HTTP_REFUSE_LENGTH,
    HTTP_REFUSE_LENGTH_AND_ENCODING,
    HTTP_REFUSE_TRANSFER_ENCODING_SYNTAX,
    HTTP_REFUSE_TRANSFER_ENCODING,
    HTTP_REFUSE_VERSION,
    HTTP_REFUSE_TARGET_SIZE,
    HTTP_REFUSE_HEAD_SIZE,
    HTTP_REFUSE_FIELD_COUNT,
    HTTP_REFUSE_EXPECT,
    HTTP_REFUSE_CHUNK,
    HTTP_REFUSE_BODY_SIZE,
    HTTP_REFUSE_GZIP,
    HTTP_REFUSE_DEFLATE,
    HTTP_REFUSE_ZSTD,
    HTTP_REFUSE_ZSTD_WINDOW,
    HTTP_REFUSE_CONTENT_ENCODING,
    HTTP_REFUSE_TIMEOUT,
    HTTP_REFUSE_OVERLOAD,
    HTTP_REFUSALS
};

struct http_refusal_info {
    int status;
    const char *reason; /* metric label */
    const char *text;   /* for the client */
};
const struct http_refusal_info *http_refusal_info(enum http_refusal why);

/* How far an incomplete head has been looked at; starts zeroed. */
struct http_scan {
    uint32_t pos;   /* bytes looked at */
    uint32_t start; /* of the request line; empty lines before it are skipped */
    uint32_t line;  /* start of the line being read */
};

/* Look at the first n bytes of input, of which the first s->pos have been looked at before.
 * >0: length of the complete head, from byte 0. 0: more bytes are needed. -1: *why says. */
int http_head_scan(struct http_scan *s, const char *p, size_t n, enum http_refusal *why);

struct http_head {
    enum http_method method;
    struct slice target, path, query;
    struct slice content_type, request_id, origin;
    struct slice content_encoding; /* as sent, the first */
    enum http_coding coding;       /* of the body */
    bool http10;
    bool keep_alive;
    bool expect_continue;
    bool chunked;
    bool has_length;
    uint64_t length; /* Content-Length; 0 without */
    uint32_t field_count;
};

/* Read a complete head (from its request line up to and with the empty line) of at most
 * LIMIT_HTTP_HEAD_BYTES. fields: room for LIMIT_HTTP_FIELDS. On a refusal, *h holds what was
 * understood so far. */
enum http_refusal http_head_parse(struct slice head, struct http_field *fields,
                                  struct http_head *h);

#endif
