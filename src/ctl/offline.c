/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/offline.h"
#include "access/jwks.h"
#include "base/limits.h"
#include "io/io.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define CTL_SECRET_BYTES_MAX 4096
#define READER_BYTES         (2 * MIB)

static int read_stdin(struct buf *out)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        buf_put(out, chunk, (size_t)n);
        if (!buf_ok(out))
            return WH_ELIMIT;
    }
}

static int read_path(const char *path, size_t max, struct buf *out)
{
    const struct io *io = io_posix();
    uint64_t offset = 0;
    size_t got = 1;
    int fd = io->open(io->ctx, path, IO_READ), rc = 0;
    if (fd < 0)
        return fd;
    while (rc == 0 && got > 0) {
        /* one byte over the limit, so that a file that is too large is seen to be */
        char *p = buf_extend(out, max + 1 - out->len);
        if (p == NULL)
            rc = -ENOMEM;
        else
            rc = io->pread(io->ctx, fd, p, max + 1 - (size_t)offset, offset, &got);
        out->len = (size_t)offset + (rc == 0 ? got : 0);
        offset = out->len;
        if (rc == 0 && out->len > max)
            rc = WH_ELIMIT;
    }
    (void)io->close(io->ctx, fd);
    return rc;
}

int ctl_read_file(const char *path, size_t max, struct buf *out)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int rc = is_stdin ? read_stdin(out) : read_path(path, max, out);
    if (rc == 0 && out->len > max)
        rc = WH_ELIMIT;
    if (rc != 0)
        (void)fprintf(stderr, "wavehousectl: %s: %s\n", is_stdin ? "standard input" : path,
                      rc == WH_ELIMIT ? "larger than it may be" : err_text(rc));
    return rc;
}

int ctl_read_secret(const char *path, struct buf *out)
{
    int rc = ctl_read_file(path, CTL_SECRET_BYTES_MAX, out);
    if (rc == 0 && out->len > 0 && out->ptr[out->len - 1] == '\n')
        out->len--;
    if (rc == 0 && out->len > 0 && out->ptr[out->len - 1] == '\r')
        out->len--;
    if (rc == 0 && out->len == 0) {
        (void)fprintf(stderr, "wavehousectl: %s: the secret is empty\n", path);
        rc = -EINVAL;
    }
    return rc;
}

int ctl_keys(const char *secret_file, const char *jwks_file, struct access_keys **out)
{
    struct buf text;
    struct err e;
    uint32_t skipped = 0;
    *out = NULL;
    buf_init(&text, SIZE_MAX);
    int rc = secret_file != NULL ? ctl_read_secret(secret_file, &text)
                                 : ctl_read_file(jwks_file, LIMIT_JWKS_BYTES, &text);
    if (rc == 0 && secret_file != NULL) {
        *out = access_keys_secret(buf_slice(&text));
    } else if (rc == 0) {
        struct json_reader *reader = json_reader_new(READER_BYTES);
        rc = reader != NULL ? access_keys_jwks(reader, buf_slice(&text), out, &skipped, &e)
                            : err_set(&e, -ENOMEM, "out of memory");
        json_reader_free(reader);
        if (rc != 0)
            (void)fprintf(stderr, "wavehousectl: %s: %s\n", jwks_file, e.text);
        else if (skipped > 0)
            (void)fprintf(stderr, "wavehousectl: %s: %" PRIu32 " of its keys cannot be used here\n",
                          jwks_file, skipped);
    }
    buf_fini(&text);
    return rc == 0 && *out == NULL ? -ENOMEM : rc;
}

int ctl_token_argument(const char *argument, struct buf *out)
{
    if (strcmp(argument, "-") == 0) {
        int rc = ctl_read_file(argument, LIMIT_TOKEN_BYTES + 2, out);
        while (rc == 0 && out->len > 0 && strchr(" \t\r\n", out->ptr[out->len - 1]) != NULL)
            out->len--;
        return rc;
    }
    buf_put_str(out, argument);
    return buf_ok(out) ? 0 : -ENOMEM;
}
