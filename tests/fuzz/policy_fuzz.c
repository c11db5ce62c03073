/* SPDX-License-Identifier: Apache-2.0 */
/* A policy document: refused with a text, or written out as one that is read again and written the
 * same. What strict accepts, lenient accepts too. */
#include "access/policy.h"
#include "base/limits.h"
#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct access_policy *parse(struct slice text, bool strict)
{
    static struct json_reader *reader;
    struct access_policy *p;
    struct err e = {0};
    if (reader == NULL)
        reader = json_reader_new(4 * MIB);
    int rc = access_policy_parse(reader, text, strict, 1, &p, &e);
    must((rc == 0) == (p != NULL) && (rc == 0) == (e.text[0] == '\0'));
    return p;
}

static void nothing(void *arg, const char *text)
{
    (void)arg;
    must(text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct access_policy *p = parse(text, false), *strict = parse(text, true);
    must(strict == NULL || p != NULL);
    access_policy_unref(strict);
    if (p == NULL)
        return 0;
    struct buf first, second;
    buf_init(&first, SIZE_MAX);
    buf_init(&second, SIZE_MAX);
    access_policy_put_json(p, &first);
    (void)access_policy_warn(p, NULL, nothing, NULL);
    struct access_policy *again = parse(buf_slice(&first), false);
    must(again != NULL || first.len > LIMIT_POLICY_BYTES);
    if (again != NULL) {
        access_policy_put_json(again, &second);
        must(slice_eq(buf_slice(&first), buf_slice(&second)));
    }
    access_policy_unref(again);
    access_policy_unref(p);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
