/* SPDX-License-Identifier: Apache-2.0 */
/* A growable byte buffer with a hard maximum.
 *
 * Growth doubles (but see buf_init_huge); nothing shrinks until buf_trim or buf_fini, so a buffer
 * that is reused (buf_reset) stops allocating once it has seen its largest content. Appends after a
 * failure keep failing, so a run of appends is checked once at the end with buf_ok().
 * Single-threaded. */
#ifndef WH_BASE_BUF_H
#define WH_BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

enum {
    BUF_HUGE_BYTES = 2 * 1024 * 1024 /* a huge page of x86-64 and, mostly, arm64 */
};

struct buf {
    char *ptr;
    size_t len;  /* bytes used */
    size_t cap;  /* bytes allocated */
    size_t max;  /* never more than this many bytes; SIZE_MAX for none */
    bool failed; /* sticky: an append did not fit or memory ran out */
    bool huge;   /* see buf_init_huge */
};

void buf_init(struct buf *b, size_t max);
/* For contents that reach tens of MiB again and again; no maximum. From BUF_HUGE_BYTES on the
 * buffer asks for the processor's huge pages (madvise(2), MADV_HUGEPAGE: a hint), since the first
 * use of each page of 4 KiB costs more than what is written into it, and under a hypervisor many
 * times more. It has address space for 64 MiB then, and grows fourfold beyond: what is not yet used
 * is no memory (where the kernel overcommits, as it does unless vm.overcommit_memory is 2: there it
 * counts, and less is asked for when it is refused), and nothing is copied while it grows. */
void buf_init_huge(struct buf *b);
void buf_fini(struct buf *b);

/* Forget the content and the sticky failure, keep the memory. */
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->ptr, b->len};
}

/* Give back what is more than twice the content. A buffer with huge pages gives back the pages
 * behind its content, and its capacity stays. */
void buf_trim(struct buf *b);

/* Make room for n more bytes. 0, -ENOMEM, or WH_EFULL over max; both failures are sticky. */
int buf_reserve_slow(struct buf *b, size_t n);
static inline int buf_reserve(struct buf *b, size_t n)
{
    if (__builtin_expect(b->cap - b->len >= n && !b->failed, 1))
        return 0;
    return buf_reserve_slow(b, n);
}

static inline void buf_put(struct buf *b, const void *p, size_t n)
{
    if (buf_reserve(b, n) != 0 || n == 0)
        return;
    memcpy(b->ptr + b->len, p, n);
    b->len += n;
}

static inline void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.ptr, s.len);
}

static inline void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

static inline void buf_put_u8(struct buf *b, uint8_t v)
{
    if (buf_reserve(b, 1) != 0)
        return;
    b->ptr[b->len++] = (char)v;
}

static inline void buf_put_le32(struct buf *b, uint32_t v)
{
    buf_put(b, &v, sizeof(v));
}

static inline void buf_put_le64(struct buf *b, uint64_t v)
{
    buf_put(b, &v, sizeof(v));
}

/* n more bytes whose content the caller fills; NULL on failure. Valid until the next append. */
char *buf_extend(struct buf *b, size_t n);

void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append s as a quoted JSON string; bytes that are not UTF-8 become U+FFFD. */
void buf_put_json_string(struct buf *b, struct slice s);

#endif
