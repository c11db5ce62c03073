/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include "base/magic.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *text;
} texts[] = {
    {WH_OK, "ok"},
    {WH_EFULL, "full"},
    {WH_EEND, "no more items"},
    {WH_EAGAIN, "not now"},
    {WH_ESYNTAX, "syntax error"},
    {WH_ELIMIT, "over a limit"},
    {WH_ECORRUPT, "stored data is damaged"},
    {WH_EPOISON, "the log has failed; restart needed"},
    {WH_ENOTFOUND, "not found"},
    {WH_EUNSUPPORTED, "not supported"},
    {WH_EREMOTE, "the remote side answered with an error"},
    {WH_ESTOPPED, "stopping"},
};

__attribute__((format(printf, 3, 0))) static int err_vset(struct err *e, int code, const char *fmt,
                                                          va_list ap)
{
    if (e == NULL)
        return code;
    e->code = code;
    (void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
    return code;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    return code;
}

int err_set_errno(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    if (e != NULL) {
        size_t len = strlen(e->text);
        (void)snprintf(e->text + len, sizeof(e->text) - len, ": %s", err_text(code));
    }
    return code;
}

const char *err_text(int code)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].code == code)
            return texts[i].text;
    static _Thread_local char unknown[128];
    return strerror_r(-code, unknown, sizeof(unknown));
}

void must_failed(const char *file, int line, const char *func, const char *what)
{
    (void)fprintf(stderr, "<0>bug.assert file=%s line=%d func=%s condition=\"%s\"\n", file, line,
                  func, what);
    abort();
}
