/* SPDX-License-Identifier: Apache-2.0 */
/* Any lines of JSON as a sample, for a new server and an old one: the answer is JSON, the same when
 * asked again, every suggested type is one that we can read, and widening comes to an end. */
#include "base/limits.h"
#include "schema/schema.h"
#include "schema/suggest.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    TEXT_MAX = 1 << 20,
    WIDENED_MAX = 3
};

static void must_be_json(struct buf *text)
{
    static struct json_reader *reader;
    struct json_doc doc;
    if (reader == NULL)
        reader = json_reader_new(64 * MIB);
    assert(reader != NULL && buf_reserve(text, LIMIT_JSON_PADDING) == 0);
    assert(json_reader_begin(reader, text->ptr, text->len, JSON_ONE) == 0);
    assert(json_reader_next(reader, &doc) == 0 && !json_reader_trailing(reader));
    assert(doc.nodes[0].kind == JSON_OBJECT && doc.nodes[0].count == 3);
}

static void check_types(const struct suggest *s)
{
    struct arena arena;
    arena_init(&arena, 64 * KIB, SIZE_MAX);
    for (uint32_t i = 0; i < suggest_column_count(s); i++) {
        struct suggest_column c = suggest_column(s, i);
        const struct ch_type *type;
        assert(c.name.len > 0 && c.name.len <= LIMIT_NAME_BYTES);
        if (c.type.len == 0)
            continue;
        assert(ch_type_parse(&arena, c.type, &type, NULL) == 0 && type->kind != CH_UNKNOWN);
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

static void answer(struct suggest *s, const struct suggest_options *options, struct buf *out)
{
    assert(suggest_finish(s, options) == 0);
    buf_reset(out);
    suggest_write(s, out);
    buf_put_u8(out, '}');
    assert(buf_ok(out));
    check_types(s);
}

static void finish(struct suggest *s, const char *version)
{
    struct suggest_options options = {.table = SLICE_LIT("t`\\"),
                                      .server_version = slice_str(version),
                                      .stamped = version[0] == '2'};
    struct buf first, again;
    buf_init(&first, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    answer(s, &options, &first);
    answer(s, &options, &again);
    assert(first.len == again.len && memcmp(first.ptr, again.ptr, first.len) == 0);
    must_be_json(&first);
    bool changed = true;
    for (int i = 0; changed; i++) {
        assert(i <= 2 * WIDENED_MAX);
        changed = false;
        for (uint32_t c = 0; c < suggest_column_count(s); c++)
            changed = suggest_widen(s, c) || changed;
        answer(s, &options, &first);
        must_be_json(&first);
    }
    buf_fini(&first);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_reader *reader;
    if (reader == NULL)
        reader = json_reader_new(TEXT_MAX);
    if (size > TEXT_MAX)
        return 0;
    struct suggest *s = suggest_new();
    char *text = malloc(size + LIMIT_JSON_PADDING);
    struct json_doc doc;
    assert(reader != NULL && s != NULL && text != NULL);
    memcpy(text, data, size);
    memset(text + size, 0, LIMIT_JSON_PADDING);
    int rc = json_reader_begin(reader, text, size, JSON_LINES);
    while (rc == 0 && (rc = json_reader_next(reader, &doc)) != WH_EEND) {
        if (rc == 0) {
            int seen = suggest_add(s, &doc);
            assert(seen == 0 || seen == WH_ESYNTAX || seen == WH_ELIMIT);
        }
        rc = rc == WH_ESYNTAX || rc == WH_ELIMIT ? 0 : rc;
    }
    finish(s, "26.7.2.1");
    finish(s, "18.16.1");
    finish(s, "21.3.1");
    suggest_free(s);
    free(text);
    return 0;
}
