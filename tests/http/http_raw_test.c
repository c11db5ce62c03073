/* SPDX-License-Identifier: Apache-2.0 */
/* Plays tests/http/raw: raw request bytes and the exact answer, each in one piece, in single
 * bytes and in random pieces.
 *
 *   # comment
 *   GET /echo HTTP/1.1\r\n          the file's own line ends do not count
 *   X: \{a*20000}\r\n               20000 times "a"; also \r \n \t \\ \xHH
 *   --- answer open                 or "closed"; "eof" also shuts down the client's side first
 *   HTTP/1.1 200 OK\r\n
 *   Date: *\r\n */
#include "tests/http/fixture.h"
#include "tests/lib/tap.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct script {
    struct buf request, answer;
    bool closed, eof;
};

static const char *unescape(const char *p, struct buf *out)
{
    char *end;
    unsigned long count;
    switch (*p) {
    case 'r':
        buf_put_u8(out, '\r');
        return p + 1;
    case 'n':
        buf_put_u8(out, '\n');
        return p + 1;
    case 't':
        buf_put_u8(out, '\t');
        return p + 1;
    case 'x': {
        char digits[3] = {p[1], p[2], 0};
        buf_put_u8(out, (uint8_t)strtoul(digits, NULL, 16));
        return p + 3;
    }
    case '{': {
        const char *star = strchr(p, '*');
        count = strtoul(star + 1, &end, 10);
        struct buf once;
        buf_init(&once, SIZE_MAX);
        for (const char *q = p + 1; q < star;) {
            if (*q == '\\')
                q = unescape(q + 1, &once);
            else
                buf_put_u8(&once, (uint8_t)*q++);
        }
        while (count-- > 0)
            buf_put_slice(out, buf_slice(&once));
        buf_fini(&once);
        return end + 1;
    }
    default:
        buf_put_u8(out, (uint8_t)*p);
        return p + 1;
    }
}

static void script_read(struct script *sc, const char *path)
{
    char line[65536];
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        exit(99);
    }
    *sc = (struct script){0};
    buf_init(&sc->request, SIZE_MAX);
    buf_init(&sc->answer, SIZE_MAX);
    struct buf *to = &sc->request;
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#')
            continue;
        if (strncmp(line, "--- answer", 10) == 0) {
            to = &sc->answer;
            sc->closed = strstr(line, "closed") != NULL;
            sc->eof = strstr(line, "eof") != NULL;
            continue;
        }
        for (const char *p = line; *p != '\0';) {
            if (*p == '\\')
                p = unescape(p + 1, to);
            else
                buf_put_u8(to, (uint8_t)*p++);
        }
    }
    (void)fclose(f);
}

static void play(const struct script *sc, const char *name, const char *how, unsigned piece_max)
{
    struct fixture f;
    struct buf got;
    char title[300];
    unsigned seed = 1;
    buf_init(&got, SIZE_MAX);
    fixture_init(&f, NULL, false);
    int fd = fixture_pair(&f);
    for (size_t off = 0; off < sc->request.len;) {
        size_t n = piece_max == 0 ? sc->request.len : 1 + (size_t)rand_r(&seed) % piece_max;
        n = n < sc->request.len - off ? n : sc->request.len - off;
        fixture_send(&f, fd, sc->request.ptr + off, n);
        off += n;
    }
    if (sc->eof)
        (void)shutdown(fd, SHUT_WR);
    fixture_pump(&f);
    int end = fixture_recv(fd, &got);
    fixture_normalise(&got);
    (void)snprintf(title, sizeof(title), "%s, %s", name, how);
    is_mem(got.ptr, got.len, sc->answer.ptr, sc->answer.len, title);
    ok(end == (sc->closed ? 1 : 0), "%s, %s: %s", name, how, sc->closed ? "closed" : "kept open");
    (void)close(fd);
    fixture_fini(&f);
    buf_fini(&got);
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    char dir[2048], path[2400];
    struct dirent **list;
    const char *srcdir = getenv("srcdir");
    (void)snprintf(dir, sizeof(dir), "%s/tests/http/raw", srcdir != NULL ? srcdir : ".");
    int n = scandir(dir, &list, visible, alphasort);
    for (int i = 0; i < n; i++) {
        struct script sc;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        if (argc < 2 || strcmp(argv[1], list[i]->d_name) == 0) {
            script_read(&sc, path);
            play(&sc, list[i]->d_name, "in one piece", 0);
            play(&sc, list[i]->d_name, "in random pieces", 200);
            play(&sc, list[i]->d_name, "in single bytes", 1);
            buf_fini(&sc.request);
            buf_fini(&sc.answer);
        }
        free(list[i]);
    }
    if (n > 0)
        free(list);
    ok(n > 0, "request files found in %s", dir);
    return tap_done();
}
