/* SPDX-License-Identifier: Apache-2.0 */
/* First line: rules; the other lines: records. What comes out must be one line of JSON, and with no
 * rules left to apply it must come out again byte for byte. */
#include "base/limits.h"
#include "base/magic.h"
#include "schema/rules.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_reader *reader, *second;
static struct rules *none;

static void setup(void)
{
    static const char empty[LIMIT_JSON_PADDING + 2] = "[]";
    struct json_doc doc;
    reader = json_reader_new(1 * MIB);
    second = json_reader_new(16 * MIB);
    must(reader != NULL && second != NULL);
    must(json_reader_begin(reader, empty, 2, JSON_ONE) == 0 && json_reader_next(reader, &doc) == 0);
    must(rules_parse(&none, &doc, doc.nodes, NULL) == 0);
}

static void check_again(struct buf *first)
{
    struct json_doc doc;
    struct buf out;
    struct err e = {0};
    size_t len = first->len;
    buf_init(&out, SIZE_MAX);
    must(memchr(first->ptr, '\n', len) == NULL);
    must(buf_extend(first, LIMIT_JSON_PADDING) != NULL);
    must(json_reader_begin(second, first->ptr, len, JSON_ONE) == 0);
    must(json_reader_next(second, &doc) == 0 && !json_reader_trailing(second));
    int rc = rules_apply(none, &doc, &out, &e);
    if (rc == WH_ELIMIT) /* default and set may add a member to 4096 */
        must(strstr(e.text, "4096") != NULL);
    else
        must(rc == 0 && out.len == len && memcmp(out.ptr, first->ptr, len) == 0);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[64 * KIB + LIMIT_JSON_PADDING];
    struct json_doc doc;
    struct err e = {0};
    if (none == NULL)
        setup();
    const uint8_t *lf = size == 0 || size > 64 * KIB ? NULL : memchr(data, '\n', size);
    if (lf == NULL)
        return 0;
    size_t head = (size_t)(lf - data), rest = size - head - 1;
    memcpy(text, data, head);
    if (json_reader_begin(reader, text, head, JSON_ONE) != 0 || json_reader_next(reader, &doc) != 0)
        return 0;
    struct rules *r = NULL;
    int rc = rules_parse(&r, &doc, doc.nodes, &e);
    must((rc == 0) == (r != NULL) && (rc == 0) == (e.text[0] == '\0'));
    if (rc != 0)
        return 0;
    struct buf out;
    buf_init(&out, SIZE_MAX);
    memcpy(text, data + head + 1, rest);
    must(json_reader_begin(reader, text, rest, JSON_LINES) == 0);
    while ((rc = json_reader_next(reader, &doc)) != WH_EEND) {
        buf_reset(&out);
        e = (struct err){0};
        if (rc == 0 && rules_apply(r, &doc, &out, &e) == 0)
            check_again(&out);
        else if (rc == 0)
            must(e.text[0] != '\0' && out.len == 0);
    }
    buf_fini(&out);
    rules_free(r);
    return 0;
}
