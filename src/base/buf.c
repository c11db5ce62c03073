/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/magic.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUF_CAP_MIN   256
#define BUF_HUGE_ROOM ((size_t)64 << 20) /* what a mapped one begins with */

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_init_huge(struct buf *b)
{
    *b = (struct buf){.max = SIZE_MAX, .huge = true};
}

/* From then on memory is the kernel's and not malloc's: that would hand what one column leaves,
 * huge pages and all, to small allocations, and realloc() would break huge pages up. */
static bool is_mapped(const struct buf *b)
{
    return b->huge && b->cap >= BUF_HUGE_BYTES;
}

static void release(struct buf *b)
{
    if (is_mapped(b))
        (void)munmap(b->ptr, b->cap);
    else
        free(b->ptr);
}

void buf_fini(struct buf *b)
{
    release(b);
    *b = (struct buf){0};
}

/* size bytes, whole huge pages, at the beginning of one; NULL. */
static char *map_huge(size_t size)
{
    size_t room = size + BUF_HUGE_BYTES;
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)p & (BUF_HUGE_BYTES - 1), behind = BUF_HUGE_BYTES - before;
    if (before > 0)
        (void)munmap(p, before);
    if (behind > 0)
        (void)munmap(p + before + size, behind);
    (void)madvise(p + before, size, MADV_HUGEPAGE);
    return p + before;
}

static size_t huge_pages(size_t n)
{
    return (n + BUF_HUGE_BYTES - 1) & ~(size_t)(BUF_HUGE_BYTES - 1);
}

static int grow_huge(struct buf *b, size_t cap)
{
    if (cap > SIZE_MAX / 4)
        return -ENOMEM;
    size_t size = huge_pages(cap);
    size_t room = 2 * size < BUF_HUGE_ROOM ? BUF_HUGE_ROOM : 2 * size;
    char *ptr = map_huge(room);
    if (ptr != NULL)
        size = room;
    else
        ptr = map_huge(size);
    if (ptr == NULL)
        return -ENOMEM;
    if (b->len > 0)
        memcpy(ptr, b->ptr, b->len);
    release(b);
    b->ptr = ptr;
    b->cap = size;
    return 0;
}

static int grow(struct buf *b, size_t cap)
{
    if (b->huge && cap >= BUF_HUGE_BYTES)
        return grow_huge(b, cap);
    char *ptr = realloc(b->ptr, cap);
    if (ptr == NULL)
        return -ENOMEM;
    b->ptr = ptr;
    b->cap = cap;
    return 0;
}

int buf_reserve_slow(struct buf *b, size_t n)
{
    if (b->failed)
        return WH_EFULL;
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return WH_EFULL;
    }
    size_t need = b->len + n;
    size_t cap = b->cap < BUF_CAP_MIN ? BUF_CAP_MIN : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->max)
        cap = b->max;
    int rc = grow(b, cap);
    b->failed = rc != 0;
    return rc;
}

void buf_trim(struct buf *b)
{
    /* As much as a new one would need, or more. */
    if (!b->failed && is_mapped(b) && b->len > BUF_HUGE_BYTES / 2) {
        size_t used = huge_pages(b->len);
        (void)madvise(b->ptr + used, b->cap - used, MADV_DONTNEED);
        return;
    }
    struct buf less = {.max = b->max, .huge = b->huge};
    if (b->failed || buf_reserve(&less, b->len) != 0 || less.cap >= b->cap) {
        release(&less);
        return;
    }
    buf_put(&less, b->ptr, b->len);
    release(b);
    *b = less;
}

char *buf_extend(struct buf *b, size_t n)
{
    if (buf_reserve(b, n) != 0)
        return NULL;
    char *p = b->ptr + b->len;
    b->len += n;
    return p;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    must(n >= 0);
    /* vsnprintf writes a NUL after the text: room for it, but it is not counted. */
    if (buf_reserve(b, (size_t)n + 1) == 0) {
        (void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

/* Length of the UTF-8 sequence at p (1–4), or 0 when the bytes are not one (RFC 3629). */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

void buf_put_json_string(struct buf *b, struct slice s)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = s.len;
    buf_put_u8(b, '"');
    while (n > 0) {
        size_t plain = 0;
        while (plain < n && p[plain] >= 0x20 && p[plain] < 0x7f && p[plain] != '"' &&
               p[plain] != '\\')
            plain++;
        buf_put(b, p, plain);
        p += plain;
        n -= plain;
        if (n == 0)
            break;
        size_t len = 1;
        switch (*p) {
        case '"':
            buf_put(b, "\\\"", 2);
            break;
        case '\\':
            buf_put(b, "\\\\", 2);
            break;
        case '\n':
            buf_put(b, "\\n", 2);
            break;
        case '\r':
            buf_put(b, "\\r", 2);
            break;
        case '\t':
            buf_put(b, "\\t", 2);
            break;
        default:
            len = utf8_len(p, n);
            if (len == 0) {
                buf_put(b, "\xef\xbf\xbd", 3);
                len = 1;
            } else if (*p < 0x20) {
                char esc[6] = {'\\', 'u', '0', '0', hex[*p >> 4], hex[*p & 15]};
                buf_put(b, esc, sizeof(esc));
            } else {
                buf_put(b, p, len);
            }
        }
        p += len;
        n -= len;
    }
    buf_put_u8(b, '"');
}
