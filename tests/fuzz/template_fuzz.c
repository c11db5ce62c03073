/* SPDX-License-Identifier: Apache-2.0 */
/* First line: a value of a policy; the rest: claims. The parts put together again are the value,
 * and a value without claims resolves to itself. */
#include "access/template.h"
#include "base/limits.h"
#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct json_reader *reader;
    const char *why;
    struct arena a;
    struct access_value v;
    struct access_set set;
    struct access_claims *claims = NULL;
    if (reader == NULL)
        reader = json_reader_new(1 * MIB);
    const uint8_t *lf = size == 0 ? NULL : memchr(data, '\n', size);
    if (lf == NULL || size > 256 * KIB)
        return 0;
    struct slice text = {(const char *)data, (size_t)(lf - data)};
    struct slice rest = {(const char *)lf + 1, size - text.len - 1};
    arena_init(&a, 4 * KIB, 16 * MIB);
    if (access_template_parse(&a, text, &v, &why)) {
        bool has_claim = false;
        for (uint32_t i = 0; i < v.part_count; i++) {
            has_claim |= v.parts[i].is_claim;
            must(v.parts[i].text.len > 0 && v.parts[i].text.ptr >= text.ptr &&
                 v.parts[i].text.ptr + v.parts[i].text.len <= text.ptr + text.len);
        }
        must((access_claims_new(reader, rest, &claims, NULL) == 0) == (claims != NULL));
        for (int op = ACCESS_EQ; op <= ACCESS_IN; op++) {
            enum access_resolution r =
                access_template_resolve(&a, &v, (enum access_compare)op, claims, &set);
            must(!has_claim || claims != NULL || r == ACCESS_UNRESOLVABLE);
            must(has_claim ||
                 (r == ACCESS_RESOLVED && set.count == 1 && slice_eq(set.list[0].text, text)));
            must(r != ACCESS_RESOLVED || op == ACCESS_IN || set.count == 1);
        }
        access_claims_unref(claims);
    } else {
        must(why != NULL);
    }
    arena_fini(&a);
    return 0;
}
