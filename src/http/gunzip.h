/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression of gzip bodies, piece by piece (zlib is named in gunzip.c only).
 *
 * The caller owns the output and thereby the bound: nothing is produced beyond the room it gives.
 * Several gzip members in a row are one body (RFC 1952 §2.2). An object keeps about 40 KiB. */
#ifndef WH_HTTP_GUNZIP_H
#define WH_HTTP_GUNZIP_H

#include "base/err.h"
#include "base/slice.h"

struct http_gunzip;

struct http_gunzip *http_gunzip_new(void); /* NULL when memory ran out */
void http_gunzip_free(struct http_gunzip *g);
void http_gunzip_reset(struct http_gunzip *g); /* ready for another body */

/* Decompress from *in into at most cap bytes at out; *in moves past what was read and *out_len says
 * what was written. 0: *in is used up, or out is full. WH_ECORRUPT: not gzip; -ENOMEM. */
int http_gunzip_run(struct http_gunzip *g, struct slice *in, char *out, size_t cap,
                    size_t *out_len) WH_MUST_CHECK;

/* Input may end here: a member is complete, its length and CRC were right. */
bool http_gunzip_complete(const struct http_gunzip *g);

#endif
