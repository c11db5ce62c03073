/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression of request bodies, piece by piece: gzip, deflate (both in inflate.c, which alone
 * names zlib) and zstd (unzstd.c, which alone names libzstd).
 *
 * The caller owns the output and thereby the bound: nothing is produced beyond the room it gives.
 * What a coding allows in a row is one body: gzip members (RFC 1952 §2.2), zstd frames, skippable
 * ones too (RFC 8878 §3). "deflate" is the zlib format (RFC 9110 §8.4.1.2); bare deflate data,
 * which half of the world sends under that name, is told apart by its first byte and read as well.
 *
 * A decoder keeps about 40 KiB for zlib's codings; for zstd 200 KiB and the window that the sender
 * chose, at most HTTP_ZSTD_WINDOW_BYTES: what RFC 9659 lets a sender of Content-Encoding: zstd use.
 */
#ifndef WH_HTTP_DECODE_H
#define WH_HTTP_DECODE_H

#include "base/err.h"
#include "base/slice.h"

#define HTTP_ZSTD_WINDOW_LOG   23
#define HTTP_ZSTD_WINDOW_BYTES ((size_t)1 << HTTP_ZSTD_WINDOW_LOG)

/* Content-Encoding of a body. */
enum http_coding {
    HTTP_CODING_NONE,
    HTTP_CODING_GZIP,
    HTTP_CODING_DEFLATE,
    HTTP_CODING_ZSTD,
    HTTP_CODING_OTHER /* one we do not read, or several in a row */
};

/* Codings that share a kind of decoder: one is reused for the other. */
enum http_decoder_kind {
    HTTP_DECODER_ZLIB,
    HTTP_DECODER_ZSTD,
    HTTP_DECODER_KINDS
};
enum http_decoder_kind http_decoder_kind(enum http_coding coding);

struct http_decoder;

/* Ready for a body of that coding, which is none of NONE and OTHER. NULL when memory ran out. */
struct http_decoder *http_decoder_new(enum http_coding coding);
void http_decoder_free(struct http_decoder *d);
/* Ready for another body; coding must be of the kind that d was made for. */
void http_decoder_reset(struct http_decoder *d, enum http_coding coding);

enum http_coding http_decoder_coding(const struct http_decoder *d);
/* Memory that d holds now; grows when a zstd frame asks for its window. */
size_t http_decoder_bytes(const struct http_decoder *d);

/* Decompress from *in into at most cap bytes at out; *in moves past what was read and *out_len says
 * what was written. 0: *in is used up, or out is full. WH_ECORRUPT: not of that coding, or bytes
 * follow its end. WH_ELIMIT: its window is larger than we keep. -ENOMEM. After a failure only free
 * and reset may follow. */
int http_decoder_run(struct http_decoder *d, struct slice *in, char *out, size_t cap,
                     size_t *out_len) WH_MUST_CHECK;

/* Input may end here: lengths and check sums of all that began were right. */
bool http_decoder_complete(const struct http_decoder *d);

#endif
