/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes and error texts.
 *
 * A fallible function returns 0 or a negative code: -errno for what the system said, one of the
 * WH_E… codes for what we say. Where an operator or a client will read about it, the function also
 * fills a struct err with a full sentence: which file, which position, what the cause is, what to
 * do. A struct err lives on the caller's stack and owns nothing. */
#ifndef WH_BASE_ERR_H
#define WH_BASE_ERR_H

#include <stddef.h>

enum {
    WH_OK = 0,
    WH_EFULL = -2000,    /* a bounded queue, table or buffer is full */
    WH_EEND = -2001,     /* no more items; not a failure */
    WH_EAGAIN = -2002,   /* not now: nothing was done, try again later */
    WH_ESYNTAX = -2003,  /* input does not follow its grammar */
    WH_ELIMIT = -2004,   /* input is larger or deeper than a limit */
    WH_ECORRUPT = -2005, /* stored bytes fail their checks */
    WH_EPOISON = -2006,  /* the log failed before; nothing more is acknowledged */
    WH_ENOTFOUND = -2007,
    WH_EUNSUPPORTED = -2008,
    WH_EREMOTE = -2009, /* the other side answered with an error */
    WH_ESTOPPED = -2010 /* shutting down */
};

#define WH_ERR_TEXT_CAP 1024

struct err {
    int code;                   /* 0, -errno or WH_E… */
    char text[WH_ERR_TEXT_CAP]; /* a sentence; empty when code is 0 */
};

/* Set code and text; the text is cut at WH_ERR_TEXT_CAP. Returns code, so that a function can end
 * with `return err_set(e, -EIO, …)`. e may be NULL. Any thread. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, and ends the text with ": " and the system's text for -code (an errno). */
int err_set_errno(struct err *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A short text for any code of either kind; never NULL. The result is static or thread-local. */
const char *err_text(int code);

#define WH_MUST_CHECK __attribute__((warn_unused_result))

#endif
