/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV as a sample: a table is made up from the names in the first line, through which the
 * body is read as any such body is. Its columns are numbers, so that what is spelled like one comes
 * out as one, and everything else as text. */
#include "api/suggest_text.h"

#include <errno.h>
#include <stdlib.h>

#define TABLE_NAME "sample"

/* Take the next name off *line; false after the last one. A quoted one may hold the separator. */
static bool take_name(struct slice *line, char separator, struct buf *name)
{
    const char *p = line->ptr, *end = line->ptr + line->len;
    buf_reset(name);
    if (line->ptr == NULL)
        return false;
    while (separator == ',' && p < end && (*p == ' ' || *p == '\t'))
        p++;
    if (separator == ',' && p < end && *p == '"') {
        for (p++; p < end && (*p != '"' || (p + 1 < end && p[1] == '"')); p++) {
            p += *p == '"';
            buf_put_u8(name, (uint8_t)*p);
        }
        p += p < end;
    }
    while (p < end && *p != separator)
        buf_put_u8(name, (uint8_t)*p++);
    while (separator == ',' && name->len > 0 && name->ptr[name->len - 1] == ' ')
        name->len--;
    *line = p < end ? (struct slice){p + 1, (size_t)(end - p - 1)} : (struct slice){NULL, 0};
    return true;
}

static struct slice first_line(struct slice body)
{
    const char *lf = body.len > 0 ? memchr(body.ptr, '\n', body.len) : NULL;
    struct slice line = {body.ptr, lf != NULL ? (size_t)(lf - body.ptr) : body.len};
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

int suggest_text_table(struct slice body, enum text_format format, struct schema_catalog **out)
{
    struct slice line = first_line(body);
    struct schema_builder *b = schema_builder_new();
    struct buf name;
    buf_init(&name, SIZE_MAX);
    if (b == NULL)
        return -ENOMEM;
    int rc = schema_builder_table(b, SLICE_LIT(TABLE_NAME), SLICE_LIT(""), 0);
    while (rc == 0 && take_name(&line, format == TEXT_TSV ? '\t' : ',', &name)) {
        rc = !buf_ok(&name) ? -ENOMEM : name.len == 0 ? WH_ELIMIT : 0;
        if (rc == 0)
            rc = schema_builder_column(b, buf_slice(&name), SLICE_LIT("Nullable(Float64)"),
                                       SLICE_LIT(""), SLICE_LIT(""));
    }
    *out = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    buf_fini(&name);
    return rc != 0 ? rc : *out == NULL ? -ENOMEM : 0;
}

const struct schema_table *suggest_text_find(const struct schema_catalog *c)
{
    return schema_catalog_find(c, SLICE_LIT(TABLE_NAME));
}
