/* SPDX-License-Identifier: Apache-2.0 */
/* The head parser: pieces of any size give what one piece gives, slices stay inside the head, and
 * what is accepted has none of the shapes that servers disagree about. */
#include "base/limits.h"
#include "base/magic.h"
#include "http/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice s, struct slice head)
{
    must(s.len == 0 || slice_eq_str(s, "/") ||
         (s.ptr >= head.ptr && s.ptr + s.len <= head.ptr + head.len));
}

static void check_accepted(struct slice head, const struct http_field *fields,
                           const struct http_head *h)
{
    uint32_t hosts = 0, lengths = 0, encodings = 0;
    must(memchr(head.ptr, '\0', head.len) == NULL);
    must(h->target.len > 0 && h->path.len > 0 && h->field_count <= LIMIT_HTTP_FIELDS);
    inside(h->target, head);
    inside(h->path, head);
    inside(h->query, head);
    inside(h->content_type, head);
    inside(h->request_id, head);
    inside(h->origin, head);
    inside(h->content_encoding, head);
    for (uint32_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &fields[i];
        inside(f->name, head);
        inside(f->value, head);
        must(f->name.len > 0 && memchr(f->name.ptr, ' ', f->name.len) == NULL);
        must(f->value.len == 0 || (memchr(f->value.ptr, '\r', f->value.len) == NULL &&
                                   memchr(f->value.ptr, '\n', f->value.len) == NULL));
        hosts += http_field_is(f, "host");
        lengths += http_field_is(f, "content-length");
        encodings += http_field_is(f, "transfer-encoding");
    }
    must(hosts == 1 || (h->http10 && hosts == 0));
    must(encodings == 0 || (lengths == 0 && encodings == 1 && h->chunked));
    must(h->has_length == (lengths > 0) && h->chunked == (encodings == 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    struct http_scan whole = {0}, pieces = {0};
    enum http_refusal why_whole = HTTP_REFUSE_NONE, why_pieces = HTTP_REFUSE_NONE;
    int len = http_head_scan(&whole, p, size, &why_whole), len_pieces = 0;
    /* Piece sizes from the bytes themselves: the input decides, so a failure replays. */
    for (size_t n = 0; n < size && len_pieces == 0;) {
        n += 1 + (data[n] & 31) * (size_t)(data[n] >> 5);
        len_pieces = http_head_scan(&pieces, p, n < size ? n : size, &why_pieces);
    }
    must(len == len_pieces && why_whole == why_pieces);
    if (len <= 0)
        return 0;
    must((size_t)len <= size && (size_t)len <= LIMIT_HTTP_HEAD_BYTES);
    must(pieces.start == whole.start);

    struct http_field fields[LIMIT_HTTP_FIELDS];
    struct http_head h;
    struct slice head = {p + whole.start, (size_t)len - whole.start};
    if (http_head_parse(head, fields, &h) == HTTP_REFUSE_NONE)
        check_accepted(head, fields, &h);
    return 0;
}
