/* SPDX-License-Identifier: Apache-2.0 */
/* base64url without padding (RFC 7515 §2), strictly: one text per byte string. */
#ifndef WH_ACCESS_BASE64URL_H
#define WH_ACCESS_BASE64URL_H

#include "base/buf.h"

/* Bytes of the longest result for text of len. */
#define ACCESS_BASE64URL_MAX(len) ((len) / 4 * 3 + 3)

/* Decode into dst (room for ACCESS_BASE64URL_MAX(text.len) bytes). False: a character outside the
 * alphabet (padding, white space), an impossible length, or unused bits that are not zero. */
bool access_base64url_decode(struct slice text, char *dst, size_t *len);
void access_base64url_put(struct buf *out, struct slice bytes);

#endif
