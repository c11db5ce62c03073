/* SPDX-License-Identifier: Apache-2.0 */
/* Type texts and zone files: whatever parses must hold together. */
#include "base/magic.h"
#include "schema/type.h"
#include "schema/zone.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct ch_type *a, const struct ch_type *b)
{
    must(a->kind == b->kind && a->width == b->width && slice_eq(a->text, b->text));
    must(a->precision == b->precision && a->scale == b->scale);
    must(slice_eq(a->timezone, b->timezone));
    must(a->child_count == b->child_count && a->enum_count == b->enum_count);
    must((a->names == NULL) == (b->names == NULL));
    for (uint32_t i = 0; i < a->child_count; i++) {
        check_same(a->children[i], b->children[i]);
        must(a->names == NULL || slice_eq(a->names[i], b->names[i]));
    }
    for (uint32_t i = 0; i < a->enum_count; i++)
        must(a->enum_items[i].value == b->enum_items[i].value &&
             slice_eq(a->enum_items[i].name, b->enum_items[i].name));
}

static void check_type(struct slice text)
{
    struct arena arena;
    struct err e = {.code = 0};
    const struct ch_type *t, *again;
    arena_init(&arena, 4096, 1 << 20);
    int rc = ch_type_parse(&arena, text, &t, &e);
    if (rc == 0) {
        must(ch_type_peel(t) != NULL);
        (void)ch_type_is_native(t);
        (void)ch_type_is_nullable(t);
        rc = ch_type_parse(&arena, t->text, &again, &e);
        must(rc == 0 || rc == -ENOMEM);
        if (rc == 0)
            check_same(t, again);
    } else {
        must(rc == WH_ESYNTAX || rc == WH_ELIMIT || rc == -ENOMEM);
        must(e.code == rc && e.text[0] != '\0');
    }
    arena_fini(&arena);
}

static void check_zone(struct slice file)
{
    struct zone *z;
    if (zone_parse(SLICE_LIT("fuzz"), file, &z, NULL) != 0) {
        must(z == NULL);
        return;
    }
    for (int64_t at = -2300000000; at < 10500000000; at += 98765432) {
        int32_t offset = zone_utc_offset(z, at);
        int64_t back = zone_local_to_utc(z, at + offset);
        must(offset >= -26 * 3600 && offset <= 26 * 3600 && back >= at - 52 * 3600 &&
             back <= at + 52 * 3600);
    }
    zone_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    check_type(text);
    check_zone(text);
    return 0;
}
