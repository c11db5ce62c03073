/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the config room: the table of keys, and a snapshot while it is being filled.
 *
 *   files (config_yaml.c) ─┐
 *   WH_… variables        ─┼─► config_build_set ─► config_value_set ─► struct config
 *   --set flags           ─┘     (config_build.c)   (config_value.c, config_units.c)
 *                                     │
 *                                     └─► config_key_find, config_key_nearest (config_keys.c)
 */
#ifndef WH_CONFIG_CONFIG_PRIV_H
#define WH_CONFIG_CONFIG_PRIV_H

#include "base/arena.h"
#include "config/config.h"

#include <stdatomic.h>

/* One file; far more than any real one, and it bounds the work of a hostile one. */
#define CONFIG_FILE_BYTES_MAX ((size_t)256 << 10)
/* Files taken from conf.d. */
#define CONFIG_FILES_MAX 64
/* Entries of a list value: as many addresses or origins as one gateway may name. */
#define CONFIG_ITEMS_MAX 64
/* Longest single value: a path or a secret. */
#define CONFIG_VALUE_BYTES_MAX 4096
/* Longest dotted key that is looked at: a map's entry with the longest name, and its member. */
#define CONFIG_NAME_BYTES_MAX 256
/* Longest name of a map's entry: ClickHouse keeps a table's name as a file name, 206 bytes. */
#define CONFIG_ENTRY_NAME_BYTES_MAX 206
/* Entries of one map (settings of single tables, roles). */
#define CONFIG_ENTRIES_MAX 4096
/* All values of one snapshot. */
#define CONFIG_ARENA_BYTES_MAX ((size_t)4 << 20)
#define CONFIG_KEYS_MAX        128

enum config_type {
    CONFIG_TEXT,        /* const char * */
    CONFIG_CHOICE,      /* const char *: one of .choices */
    CONFIG_CHOICE_FLAG, /* bool: .choices[0] is false, .choices[1] true */
    CONFIG_CHOICE_ENUM, /* an enum: .choices[i] is .values[i] */
    CONFIG_FLAG,        /* bool: true or false */
    CONFIG_NUMBER,      /* uint16_t, uint32_t or uint64_t by .width */
    CONFIG_SIZE,        /* uint64_t bytes */
    CONFIG_DURATION,    /* uint64_t milliseconds */
    CONFIG_TEXTS,       /* const char *const * and its uint32_t count */
    CONFIG_ENDPOINTS    /* const struct config_endpoint * and its uint32_t count */
};

struct config_key {
    struct config_key_info info; /* default_text: what the manual says */
    const char *initial;         /* the default in the key's own grammar; NULL: info.default_text */
    enum config_type type;
    size_t offset, width;       /* in struct config */
    size_t count_offset;        /* of lists */
    uint64_t min, max;          /* numbers, sizes, durations; entries of a list */
    bool zero_ok;               /* 0 is allowed beside min … max, with a meaning of its own */
    bool secret;                /* has a twin x_file; its value is never shown */
    const char *const *choices; /* NULL-terminated */
    const int *values;          /* CONFIG_CHOICE_ENUM */
    /* CONFIG_TEXT, CONFIG_TEXTS: NULL when s is good, else what it must be, after "must be ".
     * May drop a decoration by moving the slice's ends. */
    const char *(*check)(struct slice *s);
    const char *inherits; /* members of maps: the key whose value stands in for an absent one, of
                             the same type; NULL: `initial` does */
};

/* A row's fixed part: the key's text, and the field of struct `of` that it fills. */
#define CONFIG_ROW(of, key, member, kind, initial_text, when, text)                      \
    .info = {.name = key, .default_text = initial_text, .apply = when, .meaning = text}, \
    .type = kind, .offset = offsetof(of, member), .width = sizeof(((of *)0)->member)

extern const struct config_key config_key_table[];
uint32_t config_key_count(void);

/* Choices of ingest.validation and ingest.unknown_columns, global and per table. */
extern const char *const config_choices_validation[];
extern const char *const config_choices_unknown[];
extern const int config_values_unknown[];
/* dedupe.id_field, also of single tables */
const char *config_check_id_field(struct slice *s);
#define CONFIG_CHOICES_UNKNOWN .choices = config_choices_unknown, .values = config_values_unknown

/* Maps: settings by name of a table or role. A member's name is a pattern,
 * "limits.tables.NAME.burst": section, map, any name, member. A table may have members in several
 * sections; all of them fill its one struct config_table. Entries come from files and --set;
 * variables cannot spell a name.
 *
 * A member is one row of config_map.c and one field of struct config_table (or …_role). */
struct config_map {
    const struct config_key *members;
    uint32_t member_count;
    size_t entry_size;                /* begins with the struct slice name */
    size_t list_offset, count_offset; /* in struct config: the entries, sorted by name */
    size_t rest_offset;               /* in struct config: the entry of every other name */
};
#define CONFIG_MAPS 2
extern const struct config_map config_maps[CONFIG_MAPS];

enum config_lookup {
    CONFIG_KEY,     /* a key of this version */
    CONFIG_MEMBER,  /* a member of a map's entry: see config_map_find */
    CONFIG_SECTION, /* holds keys */
    CONFIG_LATER,   /* specified, but not in this version: the name or one above it */
    CONFIG_UNKNOWN
};
/* What a dotted name is. CONFIG_KEY: *index; *twin says that the name is the x_file form. */
enum config_lookup config_key_find(struct slice name, uint32_t *index, bool *twin);
/* The dotted name of a known or later key, or twin, that name was probably meant to be; "" if none
 * is near. out has CONFIG_NAME_BYTES_MAX bytes. */
void config_key_nearest(struct slice name, char *out);
/* Edit distance: insertions, deletions, substitutions and swaps of neighbours. */
uint32_t config_distance(struct slice a, struct slice b);
/* The name as in the environment: "server.port" → "WH_SERVER_PORT". Cut at cap. */
void config_key_env_name(struct slice name, char *out, size_t cap);
/* The dotted name of entry i over all names that exist in the file (keys, twins, later ones), for
 * lookups by environment name; false past the end. out has CONFIG_NAME_BYTES_MAX bytes. */
bool config_key_any_name(uint32_t i, char *out);

/* A member of an entry: "limits.tables.web.burst" is member `member` of entry "web". */
struct config_place {
    uint32_t map, member;
    struct slice entry;
};
bool config_map_find(struct slice name, struct config_place *out);
/* True when name is a map ("limits.tables") or an entry of one ("limits.tables.web"). */
bool config_map_is_section(struct slice name);
/* As config_key_nearest, for what lies in a map; false when name does not. */
bool config_map_nearest(struct slice name, char *out);
/* The pattern of a member taken apart: "limits.tables." and "burst". */
void config_map_parts(const struct config_key *member, struct slice *prefix, struct slice *suffix);

/* Where a value came from. name: a file, a variable or a flag, in the snapshot's arena; NULL: built
 * in. */
struct config_origin {
    const char *name;
    uint32_t line, column; /* from 1; 0: no position */
    const char *via;       /* the file of an x_file twin, or NULL */
};

struct config_snapshot {
    struct config pub; /* first: config_… takes and gives a pointer to it */
    uint32_t magic;
    _Atomic uint32_t refs;
    struct arena arena; /* owns every string of pub and origin */
    struct config_origin origin[CONFIG_KEYS_MAX];
    struct config_entries {
        void *list;                   /* cap × entry_size, malloc; pub has its address */
        struct config_origin *origin; /* cap × member_count; name NULL: inherited */
        uint32_t count, cap;
    } maps[CONFIG_MAPS];
};
#define CONFIG_MAGIC 0x434f4e46u

/* A scalar as written. */
struct config_item {
    struct slice text;
    bool quoted; /* a text for certain, never a number or a flag */
    uint32_t line, column;
};

/* Set key's field of struct c, its strings in arena, from items. is_list: written as a list. On
 * failure *why (WH_ERR_TEXT_CAP bytes) says what is wrong, without the key's name, and *bad is the
 * item at fault. 0, WH_ESYNTAX, WH_ELIMIT (out of range), -ENOMEM. */
int config_value_set(struct arena *arena, void *c, const struct config_key *key,
                     const struct config_item *items, uint32_t count, bool is_list, char *why,
                     uint32_t *bad) WH_MUST_CHECK;
/* The value in the key's own grammar; lists as a YAML flow sequence, texts quoted. Secrets too:
 * the caller asks key->secret first. */
void config_value_format(const void *c, const struct config_key *key, struct buf *out);
/* Give the key in `to` the value it has in `from`, copied. 0 or -ENOMEM. */
int config_value_copy(struct arena *arena, void *to, const void *from,
                      const struct config_key *key) WH_MUST_CHECK;

/* The entry of a name, made with every member absent when there is none. NULL: out of memory, or
 * CONFIG_ENTRIES_MAX are there. Moves entries: pointers to them end here. */
void *config_map_entry(struct config_snapshot *s, uint32_t map, struct slice name);
/* The origins of an entry's members. */
struct config_origin *config_map_origin(struct config_snapshot *s, uint32_t map, const void *entry);
/* Give absent members the values they inherit, and publish the lists in pub. Once all is set. */
void config_map_settle(struct config_snapshot *s);
/* All entries of `from`, with their origins. 0 or -ENOMEM. */
int config_map_copy(struct config_snapshot *to, const struct config_snapshot *from) WH_MUST_CHECK;
/* The entries that have members in `section`, as YAML indented below it. */
void config_map_print(const struct config_snapshot *s, struct slice section, struct buf *out);
/* One line for each member that differs. */
void config_map_compare(const struct config_snapshot *now, const struct config_snapshot *next,
                        struct buf *notes);
void config_map_free(struct config_snapshot *s);
/* "file:line, contents of other": for config_print. */
void config_put_origin(const struct config_origin *o, struct buf *out);
/* 0 or -ENOMEM. */
int config_origin_copy(struct arena *arena, struct config_origin *to,
                       const struct config_origin *from) WH_MUST_CHECK;

/* Units. text is the whole value. 0, WH_ESYNTAX (why is set) or WH_ELIMIT (over 64 bits). */
int config_parse_number(struct slice text, uint64_t *out, const char **why) WH_MUST_CHECK;
int config_parse_size(struct slice text, uint64_t *out, const char **why) WH_MUST_CHECK;
int config_parse_duration(struct slice text, uint64_t *out_ms, const char **why) WH_MUST_CHECK;
void config_format_size(uint64_t bytes, struct buf *out);
void config_format_duration(uint64_t ms, struct buf *out);

/* A snapshot being filled, and what was found wrong so far. */
struct config_builder {
    struct config_snapshot *snap;
    struct buf *findings;
    uint32_t finding_count;
    bool out_of_memory;
    /* per source, cleared by config_build_source: where each key or its twin was given */
    const char *source;
    struct config_item seen[CONFIG_KEYS_MAX];
};

/* A new source: from now on a repeated key is one repeated within it. name is copied. */
void config_build_source(struct config_builder *b, const char *name);
/* One finding. line 0: no position. */
void config_finding(struct config_builder *b, uint32_t line, uint32_t column, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* True once no more findings are taken: readers give up. */
bool config_build_full(const struct config_builder *b);
/* A key was given a value: look it up, check it, store it. at: where the name stands. */
void config_build_set(struct config_builder *b, struct slice name, struct config_item at,
                      const struct config_item *items, uint32_t count, bool is_list);
/* As config_build_set from the text of a variable or flag, where commas separate a list. */
void config_build_set_text(struct config_builder *b, struct slice name, struct slice value);
/* Say that name is unknown or not supported yet. shown: how the user spelled it. */
void config_build_refuse(struct config_builder *b, const struct config_item *at, struct slice name,
                         struct slice shown);

/* config_load of one text over the defaults, without files, variables and flags: for tests. */
const struct config *config_load_text(struct slice yaml, struct buf *findings);

/* Feed one YAML text. The source is set already. */
void config_yaml_feed(struct config_builder *b, struct slice text);
/* Feed WH_… variables of environ-like env. */
void config_env_feed(struct config_builder *b, char *const *env);
/* Give keys that were not set the values that others imply. Before config_build_check. */
void config_build_resolve(struct config_builder *b);
/* Rules over several keys; findings name the later of them. */
void config_build_check(struct config_builder *b);

#endif
