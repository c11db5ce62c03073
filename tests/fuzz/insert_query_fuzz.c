/* SPDX-License-Identifier: Apache-2.0 */
/* INSERT statements: names are there when it is taken, words when it is not, and a longer text is
 * never needed by a statement that was taken already. */
#include "api/insert_query.h"
#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct insert_query q, half;
    arena_init(&arena, 4096, 1 << 20);
    int rc = insert_query_parse((struct slice){(const char *)data, size}, &arena, &q);
    if (rc == 0) {
        must(q.table.len > 0 && q.format.len > 0 && q.data <= size && !(q.listed && q.except));
        must(q.column_count > 0 || !(q.listed || q.except));
        for (uint32_t i = 0; i < q.column_count; i++)
            must(q.columns[i].len > 0);
        for (uint32_t i = 0; i < q.setting_count; i++)
            must(q.settings[i].name.len > 0 && q.settings[i].value.ptr != NULL);
        /* The statement alone says the same. */
        must(insert_query_parse((struct slice){(const char *)data, q.data}, &arena, &half) == 0);
        must(half.data == q.data && slice_eq(half.table, q.table));
    } else {
        must(rc == WH_EEND || rc == WH_ESYNTAX || rc == -12 /* the arena's limit */);
        must(rc == -12 || q.error[0] != '\0');
    }
    arena_fini(&arena);
    return 0;
}
