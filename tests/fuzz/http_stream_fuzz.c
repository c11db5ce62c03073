/* SPDX-License-Identifier: Apache-2.0 */
/* A whole connection: the same bytes in one piece and in random pieces must give the handler the
 * same requests, and the client the same answers. */
#include "base/magic.h"
#include "tests/http/fixture.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct buf answers, seen;
    int end;
};

/* An interim answer depends on whether the body was there already. */
static void drop_interim(struct buf *b)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t n = sizeof(interim) - 1;
    for (char *p; b->len >= n && (p = memmem(b->ptr, b->len, interim, n)) != NULL; b->len -= n)
        memmove(p, p + n, b->len - (size_t)(p + n - b->ptr));
}

/* piece_seed 0: all at once */
static void play(const uint8_t *data, size_t size, unsigned piece_seed, struct outcome *o)
{
    struct fixture f;
    buf_init(&o->answers, SIZE_MAX);
    fixture_init(&f, NULL, false);
    int fd = fixture_pair(&f);
    for (size_t off = 0; off < size;) {
        size_t n = size - off, most = 1;
        if (piece_seed != 0) {
            most = (unsigned)rand_r(&piece_seed) % 8 != 0 ? 40 : 4000;
            most = 1 + (size_t)rand_r(&piece_seed) % most;
        }
        if (piece_seed != 0 && n > most)
            n = most;
        fixture_send(&f, fd, data + off, n);
        off += n;
    }
    /* Deferred ones in reverse: the order on the wire must not care. */
    for (int i = f.held_count; i-- > 0;)
        fixture_reply(&f, i, "late");
    f.held_count = 0;
    fixture_pump(&f);
    o->end = fixture_recv(fd, &o->answers);
    (void)close(fd);
    fixture_pump(&f);
    must(http_server_connections(f.s) == 0);
    for (int i = 0; i < f.held_count; i++) /* requests that were parsed after the first replies */
        fixture_reply(&f, i, "late");
    o->seen = f.seen;
    buf_init(&f.seen, SIZE_MAX);
    fixture_fini(&f);
    fixture_normalise(&o->answers);
    drop_interim(&o->answers);
}

static void outcome_fini(struct outcome *o)
{
    buf_fini(&o->answers);
    buf_fini(&o->seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;
    unsigned seed = 1;
    for (size_t i = 0; i < size; i++)
        seed = seed * 31 + data[i];
    play(data, size, 0, &whole);
    play(data, size, seed | 1, &pieces);
    must(slice_eq(buf_slice(&whole.seen), buf_slice(&pieces.seen)));
    must(slice_eq(buf_slice(&whole.answers), buf_slice(&pieces.answers)));
    must(whole.end == pieces.end);
    outcome_fini(&whole);
    outcome_fini(&pieces);
    return 0;
}
