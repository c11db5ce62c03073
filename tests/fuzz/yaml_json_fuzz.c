/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile YAML: what is accepted must be JSON, within its bound, with no key twice. */
#include "base/limits.h"
#include "config/yaml_json.h"
#include "json/json.h"

#include <stdint.h>
#include <stdlib.h>

#define MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    struct json_reader *reader = json_reader_new(2 * MAX);
    struct json_doc doc;
    struct buf out;
    struct err e = {0};
    buf_init(&out, SIZE_MAX);
    int rc = config_yaml_to_json(in, MAX, &out, &e);
    if (rc == 0) {
        size_t len = out.len;
        if (len == 0 || len > MAX || buf_extend(&out, LIMIT_JSON_PADDING) == NULL ||
            reader == NULL || json_reader_begin(reader, out.ptr, len, JSON_ONE) != 0 ||
            json_reader_next(reader, &doc) != 0 || json_reader_trailing(reader))
            abort();
    } else if (e.text[0] == '\0') {
        abort();
    }
    (void)config_is_yaml("-", in);
    buf_fini(&out);
    json_reader_free(reader);
    return 0;
}
