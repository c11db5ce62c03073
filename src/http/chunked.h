/* SPDX-License-Identifier: Apache-2.0 */
/* Decoder of a chunked body (RFC 9112 §7.1): a pure state machine over pieces of any size.
 *
 * Extensions and trailers are read past and dropped, within a bound for the whole body. */
#ifndef WH_HTTP_CHUNKED_H
#define WH_HTTP_CHUNKED_H

#include "base/slice.h"

#include <stdint.h>

/* Extensions and trailers of one body together: nobody we know sends any. */
#define HTTP_CHUNKED_EXTRA_BYTES 8192

struct http_chunked {
    uint64_t left;  /* data bytes still to come in this chunk */
    uint32_t extra; /* bytes of extensions and trailers so far */
    uint8_t state;
    uint8_t digits; /* of the size, so far */
};

void http_chunked_init(struct http_chunked *d);

enum http_chunked_got {
    HTTP_CHUNKED_MORE, /* all of p was used up */
    HTTP_CHUNKED_DATA, /* *data is body; *used counts it too */
    HTTP_CHUNKED_DONE, /* the body is complete; bytes after *used are the next request's */
    HTTP_CHUNKED_BAD
};

/* Take bytes from p; *used says how many. Call again with the rest until MORE, DONE or BAD. */
enum http_chunked_got http_chunked_next(struct http_chunked *d, const char *p, size_t n,
                                        size_t *used, struct slice *data);

/* Data bytes that come next without any framing between them; 0 when framing is next. The caller
 * may read up to that many straight into their place and say so with http_chunked_skip. */
uint64_t http_chunked_ahead(const struct http_chunked *d);
void http_chunked_skip(struct http_chunked *d, size_t n);

#endif
