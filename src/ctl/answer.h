/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/1.1 answer, from bytes to status and body: a pure function over what has arrived. */
#ifndef WH_CTL_ANSWER_H
#define WH_CTL_ANSWER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>

#define ANSWER_HEAD_BYTES_MAX (64 * 1024)
#define ANSWER_BODY_BYTES_MAX (64 * 1024 * 1024)

struct ctl_answer {
    int status;
    struct slice body; /* in rx, unchunked; LIMIT_JSON_PADDING readable bytes follow */
};

/* Look at the bytes received so far; eof: no more will come. 0: *a is complete. WH_EAGAIN: more
 * bytes are needed; call again with the same rx after appending them. WH_ESYNTAX, WH_ELIMIT,
 * -ENOMEM with a text in e. Interim answers (1xx) are taken out of rx. */
int ctl_answer_read(struct buf *rx, bool eof, struct ctl_answer *a, struct err *e) WH_MUST_CHECK;

#endif
