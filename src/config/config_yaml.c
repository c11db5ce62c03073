/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as this daemon reads it: mappings of known sections, with scalars or lists of scalars in
 * them; and whole documents turned into JSON. The one file that uses libyaml.
 *
 * It reads events, not a tree, so every finding has its position and a hostile file costs no more
 * memory than its own nesting, which is bounded. Anchors, aliases, merge keys, tags and further
 * documents are refused: they make a file mean something else than it seems to say. */
#include "config/config_priv.h"
#include "config/yaml_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

/* Sections are at most three deep (a map's entry); what lies deeper is a mistake, and only skipped
 * over. */
#define DEPTH_MAX 16
/* Sections of one file that are watched for being repeated: more than exist, but for entries of
 * maps, whose repeated members are found one by one. */
#define PATHS_MAX (CONFIG_KEYS_MAX * 2)

struct walker {
    yaml_parser_t parser;
    struct config_builder *b;
    bool stop; /* syntax error, out of memory, too many findings, too deep: leave at once */
    /* the dotted name of the mapping or value being read */
    char path[CONFIG_NAME_BYTES_MAX];
    size_t path_len;
    /* sections seen, for repeated ones; keys are tracked by config_build_set */
    struct {
        char name[CONFIG_NAME_BYTES_MAX];
        uint32_t line;
    } sections[PATHS_MAX];
    uint32_t section_count;
};

static uint32_t line_of(const yaml_event_t *e)
{
    return (uint32_t)e->start_mark.line + 1;
}
static uint32_t column_of(const yaml_event_t *e)
{
    return (uint32_t)e->start_mark.column + 1;
}

static struct slice scalar_of(const yaml_event_t *e)
{
    return (struct slice){(const char *)e->data.scalar.value, e->data.scalar.length};
}

static bool is_plain(const yaml_event_t *e)
{
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* A key without a value, as "server:" is when all below is commented out. */
static bool is_empty(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT && is_plain(e) && e->data.scalar.length == 0;
}

/* YAML's other spellings of "no value". */
static bool is_null(const yaml_event_t *e)
{
    struct slice s = scalar_of(e);
    return is_plain(e) && (s.len == 0 || slice_eq_str(s, "~") || slice_eq_str(s, "null") ||
                           slice_eq_str(s, "Null") || slice_eq_str(s, "NULL"));
}

static void report_syntax(struct walker *w)
{
    const yaml_parser_t *p = &w->parser;
    w->stop = true;
    if (p->error == YAML_MEMORY_ERROR) {
        w->b->out_of_memory = true;
        return;
    }
    const char *problem = p->problem != NULL ? p->problem : "is not YAML";
    const char *context = p->context;
    if (strstr(problem, "cannot start any token") != NULL) { /* in plain words */
        problem = "a tab or one of % @ ` stands where a key or value begins; indent with spaces";
        context = NULL;
    }
    if (p->error == YAML_READER_ERROR) /* has an offset only */
        config_finding(w->b, 0, 0, "not UTF-8 text at byte %zu: %s", p->problem_offset + 1,
                       problem);
    else
        config_finding(w->b, (uint32_t)p->problem_mark.line + 1,
                       (uint32_t)p->problem_mark.column + 1, "not valid YAML: %s%s%s", problem,
                       context != NULL ? " " : "", context != NULL ? context : "");
}

/* The next event; false when reading ends here. The caller deletes it. */
static bool next(struct walker *w, yaml_event_t *e)
{
    memset(e, 0, sizeof(*e));
    if (w->stop || config_build_full(w->b)) {
        w->stop = true;
        return false;
    }
    if (yaml_parser_parse(&w->parser, e) == 0) {
        report_syntax(w);
        return false;
    }
    return true;
}

/* Read to the end of the node that e begins. */
static void skip(struct walker *w, const yaml_event_t *first)
{
    uint32_t depth =
        first->type == YAML_MAPPING_START_EVENT || first->type == YAML_SEQUENCE_START_EVENT;
    yaml_event_t e;
    while (depth > 0 && next(w, &e)) {
        if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        if (depth > DEPTH_MAX) {
            config_finding(w->b, line_of(&e), column_of(&e), "nested too deep");
            w->stop = true;
        }
        yaml_event_delete(&e);
    }
}

/* The anchor and the tag of the node that the event begins; NULL: none. */
static void marks_of(const yaml_event_t *e, const yaml_char_t **anchor, const yaml_char_t **tag)
{
    *anchor = *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        *anchor = e->data.scalar.anchor;
        *tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        *anchor = e->data.sequence_start.anchor;
        *tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        *anchor = e->data.mapping_start.anchor;
        *tag = e->data.mapping_start.tag;
    }
}

/* Refuse what a configuration does not need; the node stays to be skipped. */
static bool is_simple(struct walker *w, const yaml_event_t *e)
{
    const yaml_char_t *anchor, *tag;
    if (e->type == YAML_ALIAS_EVENT) {
        config_finding(w->b, line_of(e), column_of(e),
                       "aliases (*name) are not supported: write the value itself");
        return false;
    }
    marks_of(e, &anchor, &tag);
    if (anchor == NULL && tag == NULL)
        return true;
    config_finding(w->b, line_of(e), column_of(e), "%s not supported: write the value itself",
                   anchor != NULL ? "anchors (&name) are" : "tags (!name) are");
    return false;
}

static struct slice path_of(const struct walker *w)
{
    return (struct slice){w->path, w->path_len};
}

/* Append a key to the path; false (with a finding) when it cannot be one. */
static bool path_push(struct walker *w, const yaml_event_t *e)
{
    if (e->type != YAML_SCALAR_EVENT) {
        if (is_simple(w, e))
            config_finding(w->b, line_of(e), column_of(e), "a key must be a plain word");
        return false;
    }
    struct slice name = scalar_of(e);
    if (!is_simple(w, e))
        return false;
    if (is_plain(e) && slice_eq_str(name, "<<")) {
        config_finding(w->b, line_of(e), column_of(e),
                       "merge keys (<<) are not supported: write the values themselves");
        return false;
    }
    if (memchr(name.ptr, '.', name.len) != NULL) {
        config_finding(w->b, line_of(e), column_of(e),
                       "a key has no dots here: write \"port\" indented below \"server:\"");
        return false;
    }
    size_t dot = w->path_len > 0;
    if (name.len == 0 || w->path_len + dot + name.len >= sizeof(w->path)) {
        config_finding(w->b, line_of(e), column_of(e),
                       name.len == 0 ? "empty key" : "key too long");
        return false;
    }
    if (dot)
        w->path[w->path_len++] = '.';
    memcpy(w->path + w->path_len, name.ptr, name.len);
    w->path_len += name.len;
    return true;
}

static bool section_is_new(struct walker *w, const yaml_event_t *at)
{
    for (uint32_t i = 0; i < w->section_count; i++) {
        if (slice_eq_str(path_of(w), w->sections[i].name)) {
            config_finding(w->b, line_of(at), column_of(at),
                           "section \"%.*s\" is already in line %u: put its keys together",
                           SLICE_ARG(path_of(w)), w->sections[i].line);
            return false;
        }
    }
    if (w->section_count < PATHS_MAX) {
        memcpy(w->sections[w->section_count].name, w->path, w->path_len);
        w->sections[w->section_count].name[w->path_len] = '\0';
        w->sections[w->section_count].line = line_of(at);
        w->section_count++;
    }
    return true;
}

static struct config_item item_of(const yaml_event_t *e)
{
    struct config_item item = {.line = line_of(e), .column = column_of(e)};
    if (e->type == YAML_SCALAR_EVENT) {
        item.text = scalar_of(e);
        item.quoted = !is_plain(e);
    }
    return item;
}

/* One scalar of a value: simple, and not a null. */
static bool is_value(struct walker *w, const yaml_event_t *e)
{
    if (!is_simple(w, e))
        return false;
    if (is_null(e))
        config_finding(
            w->b, line_of(e), column_of(e),
            "\"%.*s\" has no value: write one (\"\" for an empty text) or remove the key",
            SLICE_ARG(path_of(w)));
    return !is_null(e);
}

/* The entries of a list, up to its end. The events stay alive until the list was used: their
 * scalars are what the items point to. */
static void read_list(struct walker *w, struct config_item at)
{
    yaml_event_t events[CONFIG_ITEMS_MAX];
    struct config_item items[CONFIG_ITEMS_MAX];
    uint32_t count = 0;
    bool good = true, ended = false;
    yaml_event_t e;
    while (!ended && next(w, &e)) {
        ended = e.type == YAML_SEQUENCE_END_EVENT;
        if (!ended && e.type == YAML_SCALAR_EVENT && count < CONFIG_ITEMS_MAX && is_value(w, &e)) {
            items[count] = item_of(&e);
            events[count++] = e; /* moved */
            continue;
        }
        if (!ended) {
            if (e.type == YAML_MAPPING_START_EVENT || e.type == YAML_SEQUENCE_START_EVENT)
                config_finding(w->b, line_of(&e), column_of(&e),
                               "\"%.*s\" is a list of plain values", SLICE_ARG(path_of(w)));
            else if (e.type == YAML_ALIAS_EVENT)
                (void)is_simple(w, &e); /* for its finding */
            else if (count == CONFIG_ITEMS_MAX && good)
                config_finding(w->b, line_of(&e), column_of(&e),
                               "\"%.*s\" has more than %d entries", SLICE_ARG(path_of(w)),
                               CONFIG_ITEMS_MAX);
            good = false;
            skip(w, &e);
        }
        yaml_event_delete(&e);
    }
    if (good && ended)
        config_build_set(w->b, path_of(w), at, items, count, true);
    for (uint32_t i = 0; i < count; i++)
        yaml_event_delete(&events[i]);
}

/* What a known key is set to; at is the key. */
static void read_value(struct walker *w, struct config_item at, const yaml_event_t *value)
{
    if (value->type == YAML_MAPPING_START_EVENT) {
        if (is_simple(w, value))
            config_finding(w->b, line_of(value), column_of(value),
                           "\"%.*s\" is a single key, not a section", SLICE_ARG(path_of(w)));
        skip(w, value);
    } else if (value->type == YAML_SEQUENCE_START_EVENT) {
        if (is_simple(w, value))
            read_list(w, at);
        else
            skip(w, value);
    } else if (value->type == YAML_SCALAR_EVENT && is_value(w, value)) {
        struct config_item item = item_of(value);
        config_build_set(w->b, path_of(w), at, &item, 1, false);
    } else if (value->type == YAML_ALIAS_EVENT) {
        (void)is_simple(w, value); /* for its finding */
    }
}

static void read_mapping(struct walker *w, uint32_t depth);

static void read_section(struct walker *w, const yaml_event_t *key, const yaml_event_t *value,
                         uint32_t depth)
{
    bool is_new = section_is_new(w, key);
    if (is_empty(value) && is_simple(w, value))
        return;
    if (value->type != YAML_MAPPING_START_EVENT) {
        if (is_simple(w, value))
            config_finding(w->b, line_of(value), column_of(value),
                           "\"%.*s\" is a section: its keys stand indented below it",
                           SLICE_ARG(path_of(w)));
        skip(w, value);
    } else if (is_simple(w, value) && is_new && depth < DEPTH_MAX) {
        read_mapping(w, depth + 1);
    } else {
        skip(w, value);
    }
}

/* Key and value pairs up to the end of the mapping whose start was just read. */
static void read_mapping(struct walker *w, uint32_t depth)
{
    size_t path_len = w->path_len;
    yaml_event_t key, value;
    while (next(w, &key)) {
        if (key.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key);
            return;
        }
        bool is_key = path_push(w, &key);
        if (!is_key)
            skip(w, &key);
        if (next(w, &value)) {
            uint32_t index;
            bool twin;
            struct config_item at = item_of(&key);
            enum config_lookup found =
                is_key ? config_key_find(path_of(w), &index, &twin) : CONFIG_UNKNOWN;
            if (found == CONFIG_KEY || found == CONFIG_MEMBER) {
                read_value(w, at, &value);
            } else if (found == CONFIG_SECTION) {
                read_section(w, &key, &value, depth);
            } else {
                if (is_key)
                    config_build_refuse(w->b, &at, path_of(w), path_of(w));
                skip(w, &value);
            }
            yaml_event_delete(&value);
        }
        yaml_event_delete(&key);
        w->path_len = path_len;
    }
}

static void read_document(struct walker *w)
{
    yaml_event_t root;
    if (!next(w, &root))
        return;
    if (root.type == YAML_MAPPING_START_EVENT && is_simple(w, &root)) {
        read_mapping(w, 0);
    } else {
        if (root.type != YAML_MAPPING_START_EVENT && !is_empty(&root) && is_simple(w, &root))
            config_finding(w->b, line_of(&root), column_of(&root),
                           "a configuration is made of \"key: value\" lines");
        skip(w, &root);
    }
    yaml_event_delete(&root);
}

static void read_stream(struct walker *w)
{
    uint32_t documents = 0;
    bool ended = false;
    yaml_event_t e;
    while (!ended && next(w, &e)) {
        if (e.type == YAML_DOCUMENT_START_EVENT && documents++ == 0) {
            read_document(w);
        } else if (e.type == YAML_DOCUMENT_START_EVENT) {
            config_finding(w->b, line_of(&e), column_of(&e),
                           "a second document begins here: one file holds one");
            w->stop = true;
        }
        ended = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
}

void config_yaml_feed(struct config_builder *b, struct slice text)
{
    struct walker *w = calloc(1, sizeof(*w));
    if (w == NULL || yaml_parser_initialize(&w->parser) == 0) {
        b->out_of_memory = true;
        free(w);
        return;
    }
    w->b = b;
    yaml_parser_set_input_string(&w->parser, (const unsigned char *)text.ptr, text.len);
    read_stream(w);
    yaml_parser_delete(&w->parser);
    free(w);
}

/* ---- whole documents as JSON (yaml_json.h) ----------------------------------------------------
 */

#define JSON_DEPTH_MAX   64
#define JSON_ANCHORS_MAX 64
#define JSON_NUMBER_MAX  64 /* bytes of a number; a longer one is a text that nobody means */

struct anchor {
    char *name;
    size_t at, len; /* of its JSON in out */
};

struct key_seen {
    size_t at, len; /* of its JSON in out */
    uint32_t line;
    const char *text; /* set while the keys of one mapping are sorted */
};

struct converter {
    yaml_parser_t parser;
    struct buf *out;
    size_t start, max;
    struct err *e;
    int rc;
    struct anchor anchors[JSON_ANCHORS_MAX];
    uint32_t anchor_count;
    struct buf keys; /* struct key_seen each, of all mappings that are open */
};

__attribute__((format(printf, 4, 5))) static void
refuse(struct converter *c, int rc, const yaml_mark_t *at, const char *fmt, ...)
{
    char text[WH_ERR_TEXT_CAP / 2];
    va_list ap;
    if (c->rc != 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->rc = err_set(c->e, rc, "%zu:%zu: %s", at->line + 1, at->column + 1, text);
}

static void convert_syntax(struct converter *c)
{
    const yaml_parser_t *p = &c->parser;
    if (p->error == YAML_MEMORY_ERROR)
        c->rc = err_set(c->e, -ENOMEM, "out of memory");
    else
        refuse(c, WH_ESYNTAX, &p->problem_mark, "not valid YAML: %s",
               p->problem != NULL ? p->problem : "it cannot be read");
}

static bool convert_next(struct converter *c, yaml_event_t *e)
{
    memset(e, 0, sizeof(*e));
    if (c->rc == 0 && !buf_ok(c->out))
        c->rc = err_set(c->e, -ENOMEM, "out of memory");
    if (c->rc == 0 && c->out->len - c->start > c->max)
        refuse(c, WH_ELIMIT, &c->parser.mark, "the document is over %zu bytes", c->max);
    if (c->rc == 0 && yaml_parser_parse(&c->parser, e) == 0)
        convert_syntax(c);
    return c->rc == 0;
}

static size_t digits(struct slice s, size_t at)
{
    size_t n = 0;
    while (at + n < s.len && s.ptr[at + n] >= '0' && s.ptr[at + n] <= '9')
        n++;
    return n;
}

/* 0o17, 0x1f: their value in decimal. False: no such number. */
static bool put_based(struct converter *c, struct slice s, const yaml_mark_t *at)
{
    int base = s.len > 2 && s.ptr[0] == '0' ? s.ptr[1] == 'o' ? 8 : s.ptr[1] == 'x' ? 16 : 0 : 0;
    uint64_t v = 0;
    bool fits = true;
    if (base == 0)
        return false;
    for (size_t i = 2; i < s.len; i++) {
        char ch = s.ptr[i];
        int d = ch >= '0' && ch <= '9'   ? ch - '0'
                : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                         : 16;
        if (d >= base)
            return false;
        fits = fits && !__builtin_mul_overflow(v, (uint64_t)base, &v) &&
               !__builtin_add_overflow(v, (uint64_t)d, &v);
    }
    if (!fits)
        refuse(c, WH_ESYNTAX, at, "%.*s is too large a number", SLICE_ARG(s));
    buf_printf(c->out, "%" PRIu64, v);
    return true;
}

/* [-+]? digits, fraction, exponent, as JSON writes them. False: no such number. */
static bool put_decimal(struct converter *c, struct slice s, const yaml_mark_t *at)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    size_t i = negative || (s.len > 0 && s.ptr[0] == '+');
    struct slice whole = {s.ptr + i, digits(s, i)}, fraction = {NULL, 0}, exponent = {NULL, 0};
    i += whole.len;
    if (i < s.len && s.ptr[i] == '.') {
        fraction = (struct slice){s.ptr + i + 1, digits(s, i + 1)};
        i += 1 + fraction.len;
    }
    if (whole.len + fraction.len == 0)
        return false;
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        size_t sign = i + 1 < s.len && (s.ptr[i + 1] == '-' || s.ptr[i + 1] == '+');
        size_t n = digits(s, i + 1 + sign);
        if (n == 0)
            return false;
        exponent = (struct slice){s.ptr + i + 1, sign + n};
        i += 1 + sign + n;
    }
    if (i != s.len)
        return false;
    if (whole.len > 1 && whole.ptr[0] == '0')
        refuse(
            c, WH_ESYNTAX, at,
            "%.*s has leading zeros, which some readers of YAML take for octal: write it without "
            "them, as 0o…, or in quotes",
            SLICE_ARG(s));
    buf_put_str(c->out, negative ? "-" : "");
    buf_put_slice(c->out, whole.len > 0 ? whole : SLICE_LIT("0"));
    if (fraction.len > 0) {
        buf_put_u8(c->out, '.');
        buf_put_slice(c->out, fraction);
    }
    if (exponent.len > 0) {
        buf_put_u8(c->out, 'e');
        buf_put_slice(c->out, exponent);
    }
    return true;
}

static bool is_word(struct slice s, const char *lower, const char *title, const char *upper)
{
    return slice_eq_str(s, lower) || slice_eq_str(s, title) || slice_eq_str(s, upper);
}

static void put_plain(struct converter *c, const yaml_event_t *e)
{
    struct slice s = scalar_of(e), bare = s;
    if (bare.len > 0 && (bare.ptr[0] == '-' || bare.ptr[0] == '+')) {
        bare.ptr++;
        bare.len--;
    }
    if (is_null(e))
        buf_put_str(c->out, "null");
    else if (is_word(s, "true", "True", "TRUE"))
        buf_put_str(c->out, "true");
    else if (is_word(s, "false", "False", "FALSE"))
        buf_put_str(c->out, "false");
    else if (is_word(bare, ".inf", ".Inf", ".INF") || is_word(s, ".nan", ".NaN", ".NAN"))
        refuse(c, WH_ESYNTAX, &e->start_mark, "%.*s is no number here", SLICE_ARG(s));
    else if (s.len > JSON_NUMBER_MAX ||
             (!put_based(c, s, &e->start_mark) && !put_decimal(c, s, &e->start_mark)))
        buf_put_json_string(c->out, s);
}

/* What an event's node is called, and that it has no tag. */
static const yaml_char_t *anchor_of(struct converter *c, const yaml_event_t *e)
{
    const yaml_char_t *anchor, *tag;
    marks_of(e, &anchor, &tag);
    if (tag != NULL)
        refuse(c, WH_ESYNTAX, &e->start_mark, "tags (!name) are not supported");
    return anchor;
}

static void keep_anchor(struct converter *c, const yaml_event_t *e, const yaml_char_t *name,
                        size_t at)
{
    if (c->rc != 0 || name == NULL)
        return;
    if (c->anchor_count == JSON_ANCHORS_MAX) {
        refuse(c, WH_ELIMIT, &e->start_mark, "more than %d anchors", JSON_ANCHORS_MAX);
        return;
    }
    struct anchor *a = &c->anchors[c->anchor_count];
    a->name = strdup((const char *)name);
    if (a->name == NULL) {
        c->rc = err_set(c->e, -ENOMEM, "out of memory");
        return;
    }
    a->at = at;
    a->len = c->out->len - at;
    c->anchor_count++;
}

/* The JSON that stands at the anchor, once more; each copy counts against the bound. */
static void put_alias(struct converter *c, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.alias.anchor;
    for (uint32_t i = c->anchor_count; i > 0; i--) { /* the latest of that name */
        const struct anchor *a = &c->anchors[i - 1];
        if (strcmp(a->name, name) != 0)
            continue;
        if (buf_reserve(c->out, a->len) == 0)
            buf_put(c->out, c->out->ptr + a->at, a->len);
        return;
    }
    refuse(c, WH_ESYNTAX, &e->start_mark, "no anchor &%.64s ends before this alias", name);
}

static int by_text(const void *a, const void *b)
{
    const struct key_seen *x = a, *y = b;
    int r = slice_compare((struct slice){x->text, x->len}, (struct slice){y->text, y->len});
    return r != 0 ? r : (x->line > y->line) - (x->line < y->line);
}

static void check_keys(struct converter *c, size_t first)
{
    size_t n = (c->keys.len - first) / sizeof(struct key_seen);
    if (n < 2)
        return;
    struct key_seen *keys = (void *)(c->keys.ptr + first);
    for (size_t i = 0; i < n; i++)
        keys[i].text = c->out->ptr + keys[i].at;
    qsort(keys, n, sizeof(*keys), by_text);
    for (size_t i = 1; i < n; i++) {
        if (keys[i].len != keys[i - 1].len ||
            memcmp(keys[i].text, keys[i - 1].text, keys[i].len) != 0)
            continue;
        yaml_mark_t at = {.line = keys[i].line - 1};
        refuse(c, WH_ESYNTAX, &at, "the key %.*s is already in line %" PRIu32,
               (int)(keys[i].len < 80 ? keys[i].len : 80), keys[i].text, keys[i - 1].line);
    }
}

static void convert_node(struct converter *c, const yaml_event_t *first, uint32_t depth);

static void convert_key(struct converter *c, const yaml_event_t *e)
{
    struct key_seen seen = {.at = c->out->len, .line = line_of(e)};
    if (e->type != YAML_SCALAR_EVENT)
        refuse(c, WH_ESYNTAX, &e->start_mark, "a key must be a plain word or a text in quotes");
    else if (is_plain(e) && slice_eq_str(scalar_of(e), "<<"))
        refuse(c, WH_ESYNTAX, &e->start_mark,
               "merge keys (<<) are not supported: write the values themselves");
    else if (anchor_of(c, e) != NULL)
        refuse(c, WH_ESYNTAX, &e->start_mark, "a key cannot have an anchor here");
    if (c->rc != 0)
        return;
    buf_put_json_string(c->out, scalar_of(e));
    seen.len = c->out->len - seen.at;
    buf_put_u8(c->out, ':');
    buf_put(&c->keys, &seen, sizeof(seen));
    if (!buf_ok(&c->keys))
        c->rc = err_set(c->e, -ENOMEM, "out of memory");
}

static void convert_mapping(struct converter *c, uint32_t depth)
{
    size_t first = c->keys.len;
    yaml_event_t e;
    bool ended = false;
    buf_put_u8(c->out, '{');
    for (bool comma = false; !ended && convert_next(c, &e); comma = true) {
        ended = e.type == YAML_MAPPING_END_EVENT;
        if (!ended) {
            if (comma)
                buf_put_u8(c->out, ',');
            convert_key(c, &e);
            yaml_event_t value;
            if (convert_next(c, &value)) {
                convert_node(c, &value, depth + 1);
                yaml_event_delete(&value);
            }
        }
        yaml_event_delete(&e);
    }
    buf_put_u8(c->out, '}');
    if (c->rc == 0 && buf_ok(c->out))
        check_keys(c, first);
    c->keys.len = first;
}

static void convert_sequence(struct converter *c, uint32_t depth)
{
    yaml_event_t e;
    bool ended = false;
    buf_put_u8(c->out, '[');
    for (bool comma = false; !ended && convert_next(c, &e); comma = true) {
        ended = e.type == YAML_SEQUENCE_END_EVENT;
        if (!ended) {
            if (comma)
                buf_put_u8(c->out, ',');
            convert_node(c, &e, depth + 1);
        }
        yaml_event_delete(&e);
    }
    buf_put_u8(c->out, ']');
}

static void convert_node(struct converter *c, const yaml_event_t *first, uint32_t depth)
{
    size_t at = c->out->len;
    const yaml_char_t *anchor = anchor_of(c, first);
    if (depth > JSON_DEPTH_MAX)
        refuse(c, WH_ELIMIT, &first->start_mark, "nested deeper than %d", JSON_DEPTH_MAX);
    if (c->rc != 0)
        return;
    if (first->type == YAML_ALIAS_EVENT)
        put_alias(c, first);
    else if (first->type == YAML_MAPPING_START_EVENT)
        convert_mapping(c, depth);
    else if (first->type == YAML_SEQUENCE_START_EVENT)
        convert_sequence(c, depth);
    else if (is_plain(first))
        put_plain(c, first);
    else
        buf_put_json_string(c->out, scalar_of(first));
    keep_anchor(c, first, anchor, at);
}

static void convert_stream(struct converter *c)
{
    yaml_event_t e, root;
    uint32_t documents = 0;
    bool ended = false;
    while (!ended && convert_next(c, &e)) {
        if (e.type == YAML_DOCUMENT_START_EVENT && documents++ > 0) {
            refuse(c, WH_ESYNTAX, &e.start_mark, "a second document begins here");
        } else if (e.type == YAML_DOCUMENT_START_EVENT && convert_next(c, &root)) {
            convert_node(c, &root, 0);
            yaml_event_delete(&root);
        }
        ended = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_mark_t start = {0};
    if (documents == 0)
        refuse(c, WH_ESYNTAX, &start, "the document is empty");
}

int config_yaml_to_json(struct slice text, size_t max, struct buf *out, struct err *e)
{
    struct converter *c = calloc(1, sizeof(*c));
    if (c == NULL || yaml_parser_initialize(&c->parser) == 0) {
        free(c);
        return err_set(e, -ENOMEM, "out of memory");
    }
    c->out = out;
    c->start = out->len;
    c->max = max;
    c->e = e;
    buf_init(&c->keys, SIZE_MAX);
    yaml_parser_set_input_string(&c->parser, (const unsigned char *)text.ptr, text.len);
    convert_stream(c);
    if (c->rc == 0 && !buf_ok(out))
        c->rc = err_set(e, -ENOMEM, "out of memory");
    if (c->rc == 0 && out->len - c->start > max)
        c->rc = err_set(e, WH_ELIMIT, "1:1: the document is over %zu bytes", max);
    int rc = c->rc;
    for (uint32_t i = 0; i < c->anchor_count; i++)
        free(c->anchors[i].name);
    buf_fini(&c->keys);
    yaml_parser_delete(&c->parser);
    free(c);
    return rc;
}

bool config_is_yaml(const char *file, struct slice text)
{
    const char *dot = strrchr(file, '.');
    if (dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
        return true;
    if (dot != NULL && strcmp(dot, ".json") == 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (strchr(" \t\r\n", text.ptr[i]) == NULL || text.ptr[i] == '\0')
            return text.ptr[i] != '{' && text.ptr[i] != '[';
    return false;
}
