/* SPDX-License-Identifier: Apache-2.0 */
/* Settings by name of a table or role: the tables of their members, and the entries of a snapshot.
 */
#include "base/limits.h"
#include "base/magic.h"
#include "config/config_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define TABLE(...) CONFIG_ROW(struct config_table, __VA_ARGS__)
#define ROLE(...)  CONFIG_ROW(struct config_role, __VA_ARGS__)

/* clang-format off */
/* The default_text of a member that inherits is empty: config_member says what it inherits. */
static const struct config_key table_members[] = {
    {TABLE("ingest.tables.NAME.unknown_columns", unknown_columns, CONFIG_CHOICE_ENUM, "", "reload",
           "As ingest.unknown_columns, for this table."),
     .inherits = "ingest.unknown_columns", CONFIG_CHOICES_UNKNOWN},
    {TABLE("ingest.tables.NAME.validation", validation_strict, CONFIG_CHOICE_FLAG, "", "reload",
           "As ingest.validation, for this table."),
     .inherits = "ingest.validation", .choices = config_choices_validation},
    {TABLE("dedupe.tables.NAME.enabled", dedupe.enabled, CONFIG_FLAG, "", "reload",
           "As dedupe.enabled, for this table."),
     .inherits = "dedupe.enabled"},
    {TABLE("dedupe.tables.NAME.id_field", dedupe.id_field, CONFIG_TEXT, "", "reload",
           "As dedupe.id_field, for this table."),
     .inherits = "dedupe.id_field", .check = config_check_id_field},
    {TABLE("dedupe.tables.NAME.require_id", dedupe.require_id, CONFIG_FLAG, "", "reload",
           "As dedupe.require_id, for this table."),
     .inherits = "dedupe.require_id"},
    {TABLE("dlq.tables.NAME.enabled", dlq_enabled, CONFIG_FLAG, "", "reload",
           "As dlq.enabled, for this table."),
     .inherits = "dlq.enabled"},
    {TABLE("limits.tables.NAME.rows_per_second", limits.rows_per_second, CONFIG_NUMBER, "", "reload",
           "Records that this table takes a second; 0: any number."),
     .inherits = "limits.rows_per_second", .max = LIMIT_RATE_MAX},
    {TABLE("limits.tables.NAME.bytes_per_second", limits.bytes_per_second, CONFIG_SIZE, "", "reload",
           "Body bytes that this table takes a second; 0: any number."),
     .inherits = "limits.bytes_per_second", .max = LIMIT_RATE_MAX},
    {TABLE("limits.tables.NAME.burst", limits.burst_ms, CONFIG_DURATION, "", "reload",
           "As limits.burst, for this table."),
     .inherits = "limits.burst", .min = 10, .max = 3600000},
};

static const struct config_key role_members[] = {
    {ROLE("limits.roles.NAME.rows_per_second", limits.rows_per_second, CONFIG_NUMBER, "0", "reload",
          "Records that senders of this role may hand in a second, over all tables; 0: any number."),
     .max = LIMIT_RATE_MAX},
    {ROLE("limits.roles.NAME.bytes_per_second", limits.bytes_per_second, CONFIG_SIZE, "0", "reload",
          "Body bytes that senders of this role may hand in a second; 0: any number."),
     .max = LIMIT_RATE_MAX},
    {ROLE("limits.roles.NAME.burst", limits.burst_ms, CONFIG_DURATION, "", "reload",
          "As limits.burst, for this role."),
     .inherits = "limits.burst", .min = 10, .max = 3600000},
};

#define COUNT(array) (uint32_t)(sizeof(array) / sizeof((array)[0]))
const struct config_map config_maps[CONFIG_MAPS] = {
    {.members = table_members, .member_count = COUNT(table_members),
     .entry_size = sizeof(struct config_table), .list_offset = offsetof(struct config, tables),
     .count_offset = offsetof(struct config, table_count),
     .rest_offset = offsetof(struct config, table_rest)},
    {.members = role_members, .member_count = COUNT(role_members),
     .entry_size = sizeof(struct config_role), .list_offset = offsetof(struct config, roles),
     .count_offset = offsetof(struct config, role_count),
     .rest_offset = offsetof(struct config, role_rest)},
};
/* clang-format on */

_Static_assert(offsetof(struct config_table, name) == 0, "entries begin with their name");
_Static_assert(offsetof(struct config_role, name) == 0, "entries begin with their name");

static const char placeholder[] = ".NAME.";

void config_map_parts(const struct config_key *member, struct slice *prefix, struct slice *suffix)
{
    const char *at = strstr(member->info.name, placeholder);
    must(at != NULL);
    *prefix = (struct slice){member->info.name, (size_t)(at - member->info.name) + 1};
    *suffix = slice_str(at + sizeof(placeholder) - 1);
}

bool config_member(uint32_t i, struct config_key_info *out)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        if (i < config_maps[m].member_count) {
            const struct config_key *key = &config_maps[m].members[i];
            *out = key->info;
            if (key->inherits != NULL)
                out->default_text = key->inherits;
            return true;
        }
        i -= config_maps[m].member_count;
    }
    return false;
}

/* ---- names ---- */

static bool starts_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

bool config_map_find(struct slice name, struct config_place *out)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        for (uint32_t i = 0; i < config_maps[m].member_count; i++) {
            struct slice prefix, suffix;
            config_map_parts(&config_maps[m].members[i], &prefix, &suffix);
            if (!starts_with(name, prefix) || name.len < prefix.len + suffix.len + 2)
                continue;
            size_t entry_len = name.len - prefix.len - suffix.len - 1;
            const char *dot = name.ptr + prefix.len + entry_len;
            if (*dot != '.' || memcmp(dot + 1, suffix.ptr, suffix.len) != 0)
                continue;
            *out = (struct config_place){.map = m,
                                         .member = i,
                                         .entry = {name.ptr + prefix.len, entry_len}};
            return true;
        }
    }
    return false;
}

bool config_map_is_section(struct slice name)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        for (uint32_t i = 0; i < config_maps[m].member_count; i++) {
            struct slice prefix, suffix;
            config_map_parts(&config_maps[m].members[i], &prefix, &suffix);
            struct slice map = {prefix.ptr, prefix.len - 1};
            bool is_section = starts_with(map, name) && name.len > 0 && name.len < map.len &&
                              map.ptr[name.len] == '.';
            bool is_entry = starts_with(name, prefix) && name.len > prefix.len &&
                            memchr(name.ptr + prefix.len, '.', name.len - prefix.len) == NULL;
            if (slice_eq(name, map) || is_section || is_entry)
                return true;
        }
    }
    return false;
}

bool config_map_nearest(struct slice name, char *out)
{
    uint32_t best = UINT32_MAX;
    bool within = false;
    out[0] = '\0';
    size_t last = name.len;
    while (last > 0 && name.ptr[last - 1] != '.')
        last--;
    struct slice word = {name.ptr + last, name.len - last};
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        for (uint32_t i = 0; i < config_maps[m].member_count; i++) {
            struct slice prefix, suffix;
            config_map_parts(&config_maps[m].members[i], &prefix, &suffix);
            if (starts_with(name, prefix) && last > prefix.len) {
                within = true;
                uint32_t d = config_distance(word, suffix);
                if (d >= best || last + suffix.len >= CONFIG_NAME_BYTES_MAX)
                    continue;
                best = d; /* far or near: an entry takes nothing else */
                memcpy(out, name.ptr, last);
                memcpy(out + last, suffix.ptr, suffix.len);
                out[last + suffix.len] = '\0';
            } else if (!within) {
                struct slice map = {prefix.ptr, prefix.len - 1};
                uint32_t d = config_distance(name, map);
                if (d >= best || d > 2)
                    continue;
                best = d;
                memcpy(out, map.ptr, map.len);
                out[map.len] = '\0';
            }
        }
    }
    return out[0] != '\0';
}

/* ---- entries ---- */

static struct slice entry_name(const void *entry)
{
    return *(const struct slice *)entry;
}

static void *entry_at(const struct config_map *map, const struct config_entries *e, uint32_t i)
{
    return (char *)e->list + (size_t)i * map->entry_size;
}

/* The first of `count` entries that is not before name. */
static uint32_t lower_bound(const void *list, uint32_t count, size_t size, struct slice name)
{
    uint32_t lo = 0, hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (slice_compare(entry_name((const char *)list + (size_t)mid * size), name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const void *find(const void *list, uint32_t count, size_t size, struct slice name)
{
    uint32_t i = lower_bound(list, count, size, name);
    const void *entry = (const char *)list + (size_t)i * size;
    return i < count && slice_eq(entry_name(entry), name) ? entry : NULL;
}

const struct config_table *config_table_find(const struct config *c, struct slice name)
{
    const struct config_table *t =
        c->table_count > 0 ? find(c->tables, c->table_count, sizeof(*c->tables), name) : NULL;
    return t != NULL ? t : &c->table_rest;
}

const struct config_role *config_role_find(const struct config *c, struct slice name)
{
    const struct config_role *r =
        c->role_count > 0 ? find(c->roles, c->role_count, sizeof(*c->roles), name) : NULL;
    return r != NULL ? r : &c->role_rest;
}

bool config_dlq_any(const struct config *c)
{
    bool any = c->dlq.enabled;
    for (uint32_t i = 0; i < c->table_count; i++)
        any = any || c->tables[i].dlq_enabled;
    return any;
}

static bool grow(struct config_entries *e, const struct config_map *map)
{
    uint32_t cap = e->cap > 0 ? e->cap * 2 : 16;
    void *list = realloc(e->list, cap * map->entry_size);
    if (list == NULL)
        return false;
    e->list = list;
    struct config_origin *origin =
        realloc(e->origin, (size_t)cap * map->member_count * sizeof(*origin));
    if (origin == NULL)
        return false;
    e->origin = origin;
    e->cap = cap;
    return true;
}

struct config_origin *config_map_origin(struct config_snapshot *s, uint32_t m, const void *entry)
{
    struct config_entries *e = &s->maps[m];
    size_t i = (size_t)((const char *)entry - (const char *)e->list) / config_maps[m].entry_size;
    return &e->origin[i * config_maps[m].member_count];
}

void *config_map_entry(struct config_snapshot *s, uint32_t m, struct slice name)
{
    const struct config_map *map = &config_maps[m];
    struct config_entries *e = &s->maps[m];
    uint32_t i = e->count > 0 ? lower_bound(e->list, e->count, map->entry_size, name) : 0;
    if (i < e->count && slice_eq(entry_name(entry_at(map, e, i)), name))
        return entry_at(map, e, i);
    if (e->count >= CONFIG_ENTRIES_MAX)
        return NULL;
    struct slice copy = arena_dup(&s->arena, name);
    if (copy.ptr == NULL || (e->count == e->cap && !grow(e, map)))
        return NULL;
    char *entry = entry_at(map, e, i);
    struct config_origin *origin = &e->origin[(size_t)i * map->member_count];
    size_t behind = e->count - i;
    memmove(entry + map->entry_size, entry, behind * map->entry_size);
    memmove(origin + map->member_count, origin, behind * map->member_count * sizeof(*origin));
    memset(entry, 0, map->entry_size);
    memset(origin, 0, map->member_count * sizeof(*origin));
    *(struct slice *)(void *)entry = copy;
    e->count++;
    return entry;
}

/* The value that stands in for an absent member. */
static void inherit(struct config_snapshot *s, const struct config_key *member, void *entry)
{
    uint32_t index = 0, bad;
    bool twin;
    if (member->inherits == NULL) {
        char why[WH_ERR_TEXT_CAP];
        struct config_item item = {
            .text =
                slice_str(member->initial != NULL ? member->initial : member->info.default_text)};
        /* numbers, flags and choices need no memory, and the table's own defaults are right */
        must(config_value_set(&s->arena, entry, member, &item, 1, false, why, &bad) == 0);
        return;
    }
    enum config_lookup found = config_key_find(slice_str(member->inherits), &index, &twin);
    must(found == CONFIG_KEY);
    const struct config_key *key = &config_key_table[index];
    must(key->type == member->type && key->width == member->width);
    memcpy((char *)entry + member->offset, (const char *)&s->pub + key->offset, key->width);
}

void config_map_settle(struct config_snapshot *s)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        const struct config_map *map = &config_maps[m];
        struct config_entries *e = &s->maps[m];
        char *pub = (char *)&s->pub;
        for (uint32_t k = 0; k < map->member_count; k++) {
            inherit(s, &map->members[k], pub + map->rest_offset);
            for (uint32_t i = 0; i < e->count; i++)
                if (e->origin[(size_t)i * map->member_count + k].name == NULL)
                    inherit(s, &map->members[k], entry_at(map, e, i));
        }
        memcpy(pub + map->list_offset, &e->list, sizeof(e->list));
        memcpy(pub + map->count_offset, &e->count, sizeof(e->count));
    }
}

int config_map_copy(struct config_snapshot *to, const struct config_snapshot *from)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        const struct config_map *map = &config_maps[m];
        const struct config_entries *e = &from->maps[m];
        for (uint32_t i = 0; i < e->count; i++) {
            const void *entry = entry_at(map, e, i);
            const struct config_origin *origin = &e->origin[(size_t)i * map->member_count];
            void *copy = config_map_entry(to, m, entry_name(entry));
            if (copy == NULL)
                return -ENOMEM;
            struct config_origin *copied = config_map_origin(to, m, copy);
            for (uint32_t k = 0; k < map->member_count; k++) {
                if (origin[k].name == NULL)
                    continue;
                int rc = config_value_copy(&to->arena, copy, entry, &map->members[k]);
                if (rc == 0)
                    rc = config_origin_copy(&to->arena, &copied[k], &origin[k]);
                if (rc != 0)
                    return rc;
            }
        }
    }
    return 0;
}

void config_map_free(struct config_snapshot *s)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        free(s->maps[m].list);
        free(s->maps[m].origin);
    }
}

/* ---- printing and comparing ---- */

/* The word between section and name: "tables". Empty when the member is not of this section. */
static struct slice map_word(const struct config_key *member, struct slice section)
{
    struct slice prefix, suffix;
    config_map_parts(member, &prefix, &suffix);
    bool is_here =
        section.len > 0 && starts_with(prefix, section) && prefix.ptr[section.len] == '.';
    size_t skip = section.len + 1;
    return is_here ? (struct slice){prefix.ptr + skip, prefix.len - 1 - skip}
                   : (struct slice){"", 0};
}

void config_map_print(const struct config_snapshot *s, struct slice section, struct buf *out)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        const struct config_map *map = &config_maps[m];
        const struct config_entries *e = &s->maps[m];
        bool map_named = false;
        for (uint32_t i = 0; i < e->count; i++) {
            const void *entry = entry_at(map, e, i);
            bool entry_named = false;
            for (uint32_t k = 0; k < map->member_count; k++) {
                const struct config_key *key = &map->members[k];
                const struct config_origin *o = &e->origin[(size_t)i * map->member_count + k];
                struct slice prefix, suffix, word = map_word(key, section);
                if (word.len == 0 || o->name == NULL)
                    continue;
                config_map_parts(key, &prefix, &suffix);
                if (!map_named)
                    buf_printf(out, "  %.*s:\n", SLICE_ARG(word));
                if (!entry_named) {
                    buf_put_str(out, "    ");
                    buf_put_json_string(out, entry_name(entry));
                    buf_put_str(out, ":\n");
                }
                map_named = entry_named = true;
                buf_printf(out, "      %.*s: ", SLICE_ARG(suffix));
                config_value_format(entry, key, out);
                buf_put_str(out, "  # ");
                config_put_origin(o, out);
                buf_put_str(out, "\n");
            }
        }
    }
}

/* The member's value as text; empty when the entry is NULL or does not give it. */
static void put_given(const struct config_snapshot *s, uint32_t m, uint32_t k, const void *entry,
                      struct buf *out)
{
    /* config_map_origin only computes an address */
    const struct config_origin *o =
        entry != NULL ? config_map_origin((struct config_snapshot *)(uintptr_t)s, m, entry) : NULL;
    if (o != NULL && o[k].name != NULL)
        config_value_format(entry, &config_maps[m].members[k], out);
}

static void compare_entry(const struct config_snapshot *now, const struct config_snapshot *next,
                          uint32_t m, struct slice name, const void *before, const void *after,
                          struct buf *notes)
{
    for (uint32_t k = 0; k < config_maps[m].member_count; k++) {
        const struct config_key *key = &config_maps[m].members[k];
        struct slice prefix, suffix;
        struct buf a, b;
        buf_init(&a, SIZE_MAX);
        buf_init(&b, SIZE_MAX);
        put_given(now, m, k, before, &a);
        put_given(next, m, k, after, &b);
        if (!slice_eq(buf_slice(&a), buf_slice(&b))) {
            config_map_parts(key, &prefix, &suffix);
            struct slice inherited = SLICE_LIT("not set");
            struct slice was = a.len > 0 ? buf_slice(&a) : inherited;
            struct slice is = b.len > 0 ? buf_slice(&b) : inherited;
            buf_printf(notes, "%.*s%.*s.%.*s: %.*s -> %.*s\n", SLICE_ARG(prefix), SLICE_ARG(name),
                       SLICE_ARG(suffix), SLICE_ARG(was), SLICE_ARG(is));
        }
        buf_fini(&a);
        buf_fini(&b);
    }
}

void config_map_compare(const struct config_snapshot *now, const struct config_snapshot *next,
                        struct buf *notes)
{
    for (uint32_t m = 0; m < CONFIG_MAPS; m++) {
        const struct config_map *map = &config_maps[m];
        const struct config_entries *a = &now->maps[m], *b = &next->maps[m];
        uint32_t i = 0, j = 0;
        while (i < a->count || j < b->count) { /* both are sorted: a merge */
            const void *before = i < a->count ? entry_at(map, a, i) : NULL;
            const void *after = j < b->count ? entry_at(map, b, j) : NULL;
            int order = before == NULL  ? 1
                        : after == NULL ? -1
                                        : slice_compare(entry_name(before), entry_name(after));
            struct slice name = entry_name(order <= 0 ? before : after);
            compare_entry(now, next, m, name, order <= 0 ? before : NULL, order >= 0 ? after : NULL,
                          notes);
            i += order <= 0;
            j += order >= 0;
        }
    }
}
