/* SPDX-License-Identifier: Apache-2.0 */
/* Two passes. simdjson's first stage checks UTF-8, finds where strings begin and end, and lists the
 * offset of every token ("structural index"): that is the part which needs vector instructions. The
 * walk below goes over that list once and makes nodes; it checks everything the first stage leaves
 * open: grammar, numbers, literals, escapes, depth.
 *
 * A token's end needs no search: only white space can lie between it and the next token, so it is
 * found backwards from there. White space between tokens is therefore noticed for free, and since
 * a line end is white space, a value that leaves its line is caught at the same place.
 *
 * Most records are flat objects without white space: those take a shorter walk, which goes by
 * members and leaves everything else, also every refusal, to the general one. Most of these again
 * are ASCII and have the keys of the record before: a line, or one value, is first tried without an
 * index (json_scan.c).
 *
 * Other lines are indexed a run at a time (whole lines of up to RUN_BYTES_MAX): the index stays in
 * the second-level cache and small whatever the body's size, and one bad line makes only its run
 * slow. The first run after lines that went without one is short, and each that follows it is twice
 * as long. */
#include "json/json_scan.h"

#include "base/limits.h"

/* A C header that says nothing to C++. */
#define _Noreturn [[noreturn]]
extern "C" {
#include "base/magic.h"
}
#undef _Noreturn

#include <algorithm>
#include <errno.h>
#include <memory>
#include <new>
#include <simdjson.h>
#include <stdlib.h>
#include <string.h>

namespace
{

constexpr uint32_t READER_MAGIC = 0x4a52ead1;
constexpr size_t RUN_BYTES_MIN = 2 * KIB;
constexpr size_t RUN_BYTES_MAX = 64 * KIB;
constexpr size_t INDEX_BYTES_MIN = 4 * KIB; /* first capacity of the index, in text bytes */
/* A reader that has met a huge text gives the memory back when the next one is small. */
constexpr size_t INDEX_BYTES_KEEP = 1 * MIB;
constexpr uint32_t NODES_MIN = 64;
constexpr uint32_t NODES_KEEP = 64 * 1024;
constexpr uint32_t NONE = UINT32_MAX; /* no token, no node, no backslash */

constexpr const char *ERR_TRUNCATED = "unexpected end";
constexpr const char *ERR_ARRAY_END = "unterminated json array";
constexpr const char *ERR_ARRAY_START = "expected an array";
constexpr const char *ERR_ARRAY_TRAILING = "unexpected text after the array";
constexpr const char *ERR_SEPARATOR = "expected a comma or closing bracket";
constexpr const char *ERR_VALUE = "expected a value";
constexpr const char *ERR_KEY = "expected a string as object key";
constexpr const char *ERR_COLON = "expected a colon after the object key";
constexpr const char *ERR_NUMBER = "malformed number";
constexpr const char *ERR_LITERAL = "unknown word";
constexpr const char *ERR_ESCAPE = "malformed escape in a string";
constexpr const char *ERR_STRING = "unterminated string";
constexpr const char *ERR_CONTROL = "control character in a string";
constexpr const char *ERR_UTF8 = "invalid utf-8";
constexpr const char *ERR_INDEX = "malformed text";
constexpr const char *ERR_MORE = "more than one value on the line";
constexpr const char *ERR_DEPTH = "nested too deeply";
constexpr const char *ERR_LINE = "line too long";

} // namespace

struct json_reader {
    uint32_t magic = READER_MAGIC;
    size_t text_max = 0;
    std::unique_ptr<simdjson::internal::dom_parser_implementation> index;
    struct json_node *nodes = nullptr;
    uint32_t node_cap = 0;
    struct json_shape shape = {};

    /* The text and what of it has been indexed so far. */
    const char *text = nullptr;
    size_t len = 0;
    enum json_framing framing = JSON_ONE;
    size_t indexed = 0;     /* LINES: text before this has been given to next_run */
    size_t by_line_end = 0; /* LINES: up to here lines are indexed singly: the run has a bad one */
    bool single = false;    /* LINES: the run is one line */
    size_t run_bytes = 0;   /* LINES: how long the next run may be */
    uint32_t scanned = 0;   /* ONE: nodes of the value, when it needed no index */
    bool started = false;   /* ONE: the value was given out; ITEMS: the bracket was seen */
    int final = 0;          /* ONE, ITEMS: the answer of every later call */
    const char *error = "";

    /* The run: base[0…run_len) and its tokens at[k…count); at[count] is NONE. */
    const char *base = nullptr;
    uint32_t run_len = 0;
    uint32_t k = 0;
    uint32_t count = 0;
    uint32_t backslash = NONE; /* the next one not before the current token, or an older one */
    uint32_t value_end = 0;    /* offset of the byte after the last value walked */
};

namespace
{

inline bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

int refuse(json_reader *r, int code, const char *why)
{
    r->error = why;
    return code;
}

/* ---- index ------------------------------------------------------------------------------- */

int index_reserve(json_reader *r, size_t len)
{
    if (r->index != nullptr && r->index->capacity() >= len)
        return 0;
    size_t cap = INDEX_BYTES_MIN;
    while (cap < len)
        cap *= 2;
    simdjson::error_code e;
    if (r->index == nullptr) /* depth serves simdjson's second stage, which is not used */
        e = simdjson::get_active_implementation()->create_dom_parser_implementation(cap, 1,
                                                                                    r->index);
    else
        e = r->index->set_capacity(cap);
    return e == simdjson::SUCCESS ? 0 : -ENOMEM;
}

uint32_t find_backslash(const json_reader *r, uint32_t from)
{
    const void *p = memchr(r->base + from, '\\', r->run_len - from);
    return p == nullptr ? NONE : static_cast<uint32_t>(static_cast<const char *>(p) - r->base);
}

const char *index_error(simdjson::error_code e)
{
    switch (e) {
    case simdjson::UNCLOSED_STRING:
        return ERR_STRING;
    case simdjson::UNESCAPED_CHARS:
        return ERR_CONTROL;
    case simdjson::UTF8_ERROR:
        return ERR_UTF8;
    default:
        return ERR_INDEX;
    }
}

/* Make p[0…len) the current run. 0 (perhaps with no tokens), WH_ESYNTAX, -ENOMEM. */
int index_run(json_reader *r, const char *p, size_t len)
{
    r->base = p;
    r->run_len = static_cast<uint32_t>(len);
    r->k = r->count = 0;
    r->backslash = NONE;
    int rc = index_reserve(r, len);
    if (rc != 0)
        return rc;
    uint32_t *at = r->index->structural_indexes.get();
    at[0] = NONE;
    if (len == 0)
        return 0;
    simdjson::error_code e =
        r->index->stage1(reinterpret_cast<const uint8_t *>(p), len, simdjson::stage1_mode::regular);
    if (e == simdjson::EMPTY) {
        at[0] = NONE;
        return 0;
    }
    if (e != simdjson::SUCCESS)
        return refuse(r, e == simdjson::MEMALLOC ? -ENOMEM : WH_ESYNTAX, index_error(e));
    r->count = r->index->n_structural_indexes;
    at[r->count] = NONE;
    r->backslash = find_backslash(r, 0);
    return 0;
}

/* ---- walk -------------------------------------------------------------------------------- */

bool nodes_grow(json_reader *r)
{
    uint32_t cap = r->node_cap == 0 ? NODES_MIN : r->node_cap * 2;
    void *grown = realloc(r->nodes, cap * sizeof(r->nodes[0]));
    if (grown == nullptr)
        return false;
    r->nodes = static_cast<struct json_node *>(grown);
    r->node_cap = cap;
    return true;
}

/* Is p[0…len) an integer of one to eight digits, as they mostly are? The eight bytes are readable:
 * padding follows the text. */
inline bool is_short_integer(const char *p, uint32_t len)
{
    return len - 1 < 8 && (*p != '0' || len == 1) && json_digits(p) >= len;
}

/* The last byte of the token at pos, given where the next token (or the limit) is. */
inline uint32_t token_last(const char *text, uint32_t next, uint32_t limit)
{
    uint32_t last = (next < limit ? next : limit) - 1;
    while (is_space(text[last]))
        last--;
    return last;
}

/* Escapes of the string between the quotes at pos and last, when it has some: noted, and well
 * formed? */
bool string_escapes(json_reader *r, uint32_t pos, uint32_t last, struct json_node *node)
{
    if (r->backslash < pos)
        r->backslash = find_backslash(r, pos);
    if (last <= r->backslash)
        return true;
    node->flags = JSON_F_ESCAPED;
    return json_escapes_valid(r->base + node->off, node->len);
}

/* A string token into *node; *end becomes the offset after it. Null or why not. */
inline const char *walk_string(json_reader *r, const uint32_t *at, uint32_t limit,
                               struct json_node *node, uint32_t *end)
{
    const char *text = r->base;
    uint32_t pos = at[0];
    uint32_t last = token_last(text, at[1], limit);
    if (__builtin_expect(text[last] != '"' || last == pos, 0))
        return ERR_STRING;
    node->kind = JSON_STRING;
    node->flags = 0;
    node->off = pos + 1;
    node->len = last - pos - 1;
    node->count = 0;
    *end = last + 1;
    if (__builtin_expect(last > r->backslash, 0) && !string_escapes(r, pos, last, node))
        return ERR_ESCAPE;
    return nullptr;
}

/* A number or a word, as walk_string. */
inline const char *walk_scalar(const char *text, const uint32_t *at, uint32_t limit,
                               struct json_node *node, uint32_t *end)
{
    uint32_t pos = at[0];
    uint32_t last = token_last(text, at[1], limit);
    uint32_t len = last - pos + 1;
    node->off = pos;
    node->len = len;
    node->count = 0;
    node->flags = 0;
    *end = last + 1;
    const char *p = text + pos;
    if (json_is_digit(*p) || *p == '-') {
        node->kind = JSON_NUMBER;
        return json_number_valid(p, len, &node->flags) ? nullptr : ERR_NUMBER;
    }
    if (len == 4 && memcmp(p, "true", 4) == 0)
        node->kind = JSON_TRUE;
    else if (len == 5 && memcmp(p, "false", 5) == 0)
        node->kind = JSON_FALSE;
    else if (len == 4 && memcmp(p, "null", 4) == 0)
        node->kind = JSON_NULL;
    else
        return strchr(",:]}", *p) != nullptr && *p != '\0' ? ERR_VALUE : ERR_LITERAL;
    return nullptr;
}

/* Step to the next token; white space before it is counted, and only there can a limit lie. */
#define STEP()                                 \
    do {                                       \
        pos = *++at;                           \
        if (__builtin_expect(pos != end, 0)) { \
            if (pos >= limit) {                \
                why = ERR_TRUNCATED;           \
                goto refused;                  \
            }                                  \
            gaps++;                            \
        }                                      \
    } while (0)

/* The value whose first token is number r->k of the run, into nodes; r->k moves behind it, or to
 * the token that was refused. Tokens at or past limit are not part of it. While a container is open
 * its node keeps the parent in `next` and the count of gaps in `len`: depth costs no stack. */
int walk(json_reader *r, uint32_t limit, uint32_t depth)
{
    const char *text = r->base;
    const uint32_t *first = r->index->structural_indexes.get();
    const uint32_t *at = first + r->k;
    uint32_t pos = *at, end = pos;
    uint32_t n = 0, parent = NONE, gaps = 0;
    struct json_node *node;
    const char *why;
    int code = WH_ESYNTAX;

value: /* at pos */
    if (__builtin_expect(r->node_cap - n < 2, 0) && !nodes_grow(r))
        return -ENOMEM;
    node = &r->nodes[n];
    if (text[pos] == '"') {
        why = walk_string(r, at, limit, node, &end);
    } else if (text[pos] == '{' || text[pos] == '[') {
        if (++depth > LIMIT_JSON_DEPTH) {
            why = ERR_DEPTH;
            code = WH_ELIMIT;
            goto refused;
        }
        node->kind = text[pos] == '{' ? JSON_OBJECT : JSON_ARRAY;
        node->off = pos;
        node->count = 0;
        node->len = gaps;
        node->next = parent;
        parent = n++;
        end = pos + 1;
        STEP();
        /* A brace and its bracket differ by 2 from their opening ones. */
        if (text[pos] == text[node->off] + 2)
            goto close;
        if (node->kind == JSON_OBJECT)
            goto key;
        goto value;
    } else {
        why = walk_scalar(text, at, limit, node, &end);
    }
    if (__builtin_expect(why != nullptr, 0))
        goto refused;
    node->next = ++n;

after: /* a value is complete */
    if (parent == NONE) {
        r->k = static_cast<uint32_t>(at + 1 - first);
        r->value_end = end;
        return static_cast<int>(n);
    }
    node = &r->nodes[parent];
    node->count++;
    STEP();
    if (text[pos] == ',') {
        end = pos + 1;
        STEP();
        if (node->kind == JSON_ARRAY)
            goto value;
        if (__builtin_expect(r->node_cap - n < 2, 0) && !nodes_grow(r))
            return -ENOMEM;
        goto key;
    }
    if (text[pos] == text[node->off] + 2)
        goto close;
    why = ERR_SEPARATOR;
    goto refused;

key: /* at pos; room for its node is there */
    node = &r->nodes[n];
    why = text[pos] == '"' ? walk_string(r, at, limit, node, &end) : ERR_KEY;
    if (__builtin_expect(why != nullptr, 0))
        goto refused;
    node->next = ++n;
    STEP();
    if (text[pos] != ':') {
        why = ERR_COLON;
        goto refused;
    }
    end = pos + 1;
    STEP();
    goto value;

close: /* of parent, at pos */
    end = pos + 1;
    node = &r->nodes[parent];
    parent = node->next;
    node->flags = gaps != node->len ? JSON_F_SPACED : 0;
    node->len = end - node->off;
    node->next = n;
    depth--;
    goto after;

refused:
    r->k = static_cast<uint32_t>(at - first);
    return refuse(r, code, why);
}

#undef STEP

/* ---- flat objects -------------------------------------------------------------------------- */

/* The string whose opening quote is at pos and whose closing one must stand right before next. */
inline bool flat_string(json_reader *r, uint32_t pos, uint32_t next, struct json_node *node)
{
    const char *text = r->base;
    uint32_t last = next - 1;
    if (__builtin_expect(text[last] != '"' || last == pos, 0))
        return false;
    node->off = pos + 1;
    node->len = last - pos - 1;
    node->count = 0;
    node->kind = JSON_STRING;
    node->flags = 0;
    return __builtin_expect(last <= r->backslash, 1) || string_escapes(r, pos, last, node);
}

/* The number or word from pos up to next. */
inline bool flat_scalar(const char *text, uint32_t pos, uint32_t next, struct json_node *node)
{
    uint32_t len = next - pos;
    node->off = pos;
    node->len = len;
    node->count = 0;
    node->flags = JSON_F_INTEGER;
    node->kind = JSON_NUMBER;
    if (is_short_integer(text + pos, len))
        return true;
    const uint32_t at[2] = {pos, next};
    uint32_t end;
    return walk_scalar(text, at, next, node, &end) == nullptr && end == next;
}

/* walk() for an object of strings, numbers and words with no white space between its tokens, which
 * therefore lies on one line. 0: it is another value, or a wrong one, or nodes must grow first. A
 * member is four tokens; behind the last of the run stands NONE, which no offset equals. */
int walk_members(json_reader *r)
{
    const char *text = r->base;
    const uint32_t *first = r->index->structural_indexes.get(), *at = first + r->k;
    const uint32_t *end = first + r->count;
    uint32_t open = at[0], n = 1, members = 0;
    if (text[open] != '{' || at[1] != open + 1)
        return 0;
    for (at++;; at += 4) {
        if (end - at < 4 || r->node_cap < n + 2)
            return 0;
        uint32_t key = at[0], colon = at[1], value = at[2], next = at[3];
        struct json_node *node = &r->nodes[n];
        if (text[key] != '"' || text[colon] != ':' || value != colon + 1 ||
            !flat_string(r, key, colon, node))
            return 0;
        node->next = n + 1;
        node++;
        if (text[value] == '"' ? !flat_string(r, value, next, node)
                               : !flat_scalar(text, value, next, node))
            return 0;
        node->next = n += 2;
        members++;
        if (text[next] != ',' || at[4] != next + 1)
            break;
    }
    uint32_t close = at[3];
    if (text[close] != '}')
        return 0;
    r->nodes[0] = (struct json_node){open, close + 1 - open, n, members, JSON_OBJECT, 0};
    r->k = static_cast<uint32_t>(at + 4 - first);
    r->value_end = close + 1;
    return static_cast<int>(n);
}

/* The same; after 0 nothing has changed. */
int walk_flat(json_reader *r)
{
    uint32_t backslash = r->backslash;
    int n = walk_members(r);
    if (__builtin_expect(n == 0, 0))
        r->backslash = backslash;
    return n;
}

/* The value of the next token, up to the run's end. */
int walk_any(json_reader *r, uint32_t depth)
{
    int n = walk_flat(r);
    return n != 0 ? n : walk(r, r->run_len, depth);
}

/* n: nodes, or why there are none. */
int give(json_reader *r, int n, struct json_doc *doc)
{
    if (n < 0)
        return n;
    *doc = (struct json_doc){r->base, r->nodes, static_cast<uint32_t>(n)};
    return 0;
}

/* ---- lines ------------------------------------------------------------------------------- */

/* How many bytes from r->indexed on make the next run: whole lines, or the rest. */
size_t run_length(const json_reader *r)
{
    const char *p = r->text + r->indexed;
    size_t rest = r->len - r->indexed;
    const void *nl;
    if (r->indexed < r->by_line_end) {
        nl = memchr(p, '\n', rest);
    } else {
        if (rest <= r->run_bytes)
            return rest;
        nl = memrchr(p, '\n', r->run_bytes);
        if (nl == nullptr)
            nl = memchr(p + r->run_bytes, '\n', rest - r->run_bytes);
    }
    return nl == nullptr ? rest : static_cast<size_t>(static_cast<const char *>(nl) - p) + 1;
}

/* Index the next lines. 0; WH_EEND; -ENOMEM; WH_ESYNTAX or WH_ELIMIT: one line was refused. */
int next_run(json_reader *r)
{
    if (r->indexed == r->len)
        return WH_EEND;
    r->single = r->indexed < r->by_line_end;
    size_t len = run_length(r);
    const char *p = r->text + r->indexed;
    /* Only a run of one line is longer than RUN_BYTES_MAX. */
    if (len > LIMIT_NDJSON_LINE_BYTES && len - (p[len - 1] == '\n') > LIMIT_NDJSON_LINE_BYTES) {
        r->indexed += len;
        return refuse(r, WH_ELIMIT, ERR_LINE);
    }
    int rc = index_run(r, p, len);
    if (rc == WH_ESYNTAX && !r->single) {
        r->by_line_end = r->indexed + len;
        return 0;
    }
    r->indexed += len;
    return rc;
}

/* Does nothing but white space follow on the line of the value that was just walked? */
bool line_ends(const json_reader *r)
{
    uint32_t next = r->index->structural_indexes.get()[r->k];
    uint32_t stop = next < r->run_len ? next : r->run_len;
    return stop == r->run_len ||
           memchr(r->base + r->value_end, '\n', stop - r->value_end) != nullptr;
}

/* The value on the line of the next token. */
int walk_line(json_reader *r, struct json_doc *doc)
{
    const uint32_t *at = r->index->structural_indexes.get();
    uint32_t k = r->k, backslash = r->backslash;
    int n = walk_flat(r);
    if (n > 0 && (r->base[r->value_end] == '\n' || line_ends(r)))
        return give(r, n, doc);
    r->k = k;
    r->backslash = backslash;
    const char *from = r->base + at[r->k];
    const void *nl = memchr(from, '\n', r->run_len - at[r->k]);
    uint32_t limit =
        nl == nullptr ? r->run_len : static_cast<uint32_t>(static_cast<const char *>(nl) - r->base);
    int rc = give(r, walk(r, limit, 0), doc);
    if (rc == 0 && at[r->k] >= limit)
        return 0;
    if (rc == 0)
        rc = refuse(r, WH_ESYNTAX, ERR_MORE);
    while (at[r->k] < limit)
        r->k++;
    return rc;
}

/* The next line when it needs no index: its nodes, or 0. */
int scan_line(json_reader *r)
{
    size_t rest = r->len - r->indexed;
    const char *p = r->text + r->indexed;
    uint32_t n = json_scan_flat(&r->shape, p, rest, r->nodes, r->node_cap);
    if (n == 0)
        return 0;
    size_t end = r->nodes[0].len;
    if (end < rest && p[end] != '\n')
        return 0;
    r->base = p;
    r->indexed += end < rest ? end + 1 : end;
    r->run_bytes = RUN_BYTES_MIN;
    return static_cast<int>(n);
}

int next_line(json_reader *r, struct json_doc *doc)
{
    for (;;) {
        while (r->k == r->count) {
            int n = r->indexed < r->by_line_end ? 0 : scan_line(r);
            if (n > 0)
                return give(r, n, doc);
            int rc = next_run(r);
            r->run_bytes = std::min(2 * r->run_bytes, RUN_BYTES_MAX);
            if (rc != 0)
                return rc;
        }
        uint32_t token = r->index->structural_indexes.get()[r->k];
        int rc = walk_line(r, doc);
        if (rc != WH_ESYNTAX || r->error != ERR_STRING || r->single)
            return rc;
        /* A string over the line's end: simdjson's plain C++ kernel (processors without SSE 4.2)
         * lets a backslash hide the line end from its check. Take the rest of the run line by line.
         */
        r->by_line_end = r->indexed;
        r->indexed = static_cast<size_t>(r->base - r->text) + token;
        r->k = r->count;
    }
}

/* ---- the elements of one array ------------------------------------------------------------- */

int array_end(json_reader *r)
{
    r->k++;
    return r->k == r->count ? WH_EEND : refuse(r, WH_ESYNTAX, ERR_ARRAY_TRAILING);
}

int next_item(json_reader *r, struct json_doc *doc)
{
    const uint32_t *at = r->index->structural_indexes.get();
    if (r->k == r->count)
        return refuse(r, WH_ESYNTAX, r->started ? ERR_ARRAY_END : ERR_ARRAY_START);
    char c = r->base[at[r->k]];
    if (!r->started) {
        if (c != '[')
            return refuse(r, WH_ESYNTAX, ERR_ARRAY_START);
        r->started = true;
        r->k++;
        if (r->k < r->count && r->base[at[r->k]] == ']')
            return array_end(r);
    } else if (c == ']') {
        return array_end(r);
    } else if (c == ',') {
        r->k++;
    } else {
        return refuse(r, WH_ESYNTAX, ERR_SEPARATOR);
    }
    if (r->k == r->count)
        return refuse(r, WH_ESYNTAX, ERR_ARRAY_END);
    int rc = give(r, walk_any(r, 1), doc);
    if (rc == WH_ESYNTAX && r->error == ERR_TRUNCATED)
        r->error = ERR_ARRAY_END;
    return rc;
}

/* ---- one value --------------------------------------------------------------------------- */

/* Where the first value ends if brackets and quotes are right; len when it does not end. */
size_t first_value_end(const char *text, size_t len)
{
    size_t i = 0, depth = 0;
    while (i < len && is_space(text[i]))
        i++;
    if (i < len && strchr("{[\"", text[i]) == nullptr) {
        while (i < len && !is_space(text[i]) && strchr(",:{}[]", text[i]) == nullptr)
            i++;
        return i;
    }
    for (; i < len; i++) {
        if (text[i] == '"') {
            for (i++; i < len && text[i] != '"'; i++)
                if (text[i] == '\\')
                    i++;
        } else if (text[i] == '{' || text[i] == '[') {
            depth++;
        } else if ((text[i] == '}' || text[i] == ']') && depth > 0) {
            depth--;
        }
        if (depth == 0)
            return i < len ? i + 1 : len;
    }
    return len;
}

int begin_one(json_reader *r)
{
    r->scanned = json_scan_flat(&r->shape, r->text, r->len, r->nodes, r->node_cap);
    if (r->scanned > 0) {
        r->base = r->text;
        r->value_end = r->nodes[0].len;
        return 0;
    }
    int rc = index_run(r, r->text, r->len);
    if (rc != WH_ESYNTAX)
        return rc;
    /* What is wrong may lie behind the value, where nobody looks. */
    size_t end = first_value_end(r->text, r->len);
    return end < r->len ? index_run(r, r->text, end) : rc;
}

int next_one(json_reader *r, struct json_doc *doc)
{
    if (r->started || (r->scanned == 0 && r->count == 0))
        return WH_EEND;
    int rc = give(r, r->scanned > 0 ? static_cast<int>(r->scanned) : walk_any(r, 0), doc);
    r->started = rc == 0;
    return rc;
}

int begin_items(json_reader *r)
{
    int rc = index_run(r, r->text, r->len);
    if (rc != WH_ESYNTAX || r->error != ERR_STRING)
        return rc;
    size_t i = 0;
    while (i < r->len && is_space(r->text[i]))
        i++;
    if (r->text[i] == '[')
        r->error = ERR_ARRAY_END;
    return rc;
}

void release_excess(json_reader *r, size_t len)
{
    if (r->index != nullptr && r->index->capacity() > INDEX_BYTES_KEEP &&
        len < r->index->capacity() / 8)
        r->index.reset();
    if (r->node_cap > NODES_KEEP && len < r->node_cap) {
        free(r->nodes);
        r->nodes = nullptr;
        r->node_cap = 0;
    }
}

} // namespace

/* ---- the C interface ----------------------------------------------------------------------- */

struct json_reader *json_reader_new(size_t text_max)
{
    must(text_max <= LIMIT_INGEST_BODY_BYTES_HARD);
    json_reader *r = new (std::nothrow) json_reader();
    if (r != nullptr)
        r->text_max = text_max;
    return r;
}

void json_reader_free(struct json_reader *r)
{
    if (r == nullptr)
        return;
    CHECK_MAGIC(r, READER_MAGIC);
    r->magic = 0;
    free(r->nodes);
    delete r;
}

int json_reader_begin(struct json_reader *r, const char *text, size_t len,
                      enum json_framing framing)
{
    CHECK_MAGIC(r, READER_MAGIC);
    if (len > r->text_max)
        return WH_ELIMIT;
    release_excess(r, len);
    r->text = text;
    r->len = len;
    r->framing = framing;
    r->indexed = r->by_line_end = 0;
    r->k = r->count = r->value_end = r->scanned = 0;
    r->run_bytes = RUN_BYTES_MIN;
    r->started = false;
    r->error = "";
    r->final = 0;
    if (framing == JSON_LINES)
        return 0;
    r->final = framing == JSON_ONE ? begin_one(r) : begin_items(r);
    return r->final == -ENOMEM ? -ENOMEM : 0;
}

int json_reader_next(struct json_reader *r, struct json_doc *doc)
{
    CHECK_MAGIC(r, READER_MAGIC);
    if (r->framing == JSON_LINES)
        return next_line(r, doc);
    if (r->final == 0) {
        int rc = r->framing == JSON_ONE ? next_one(r, doc) : next_item(r, doc);
        if (rc == 0)
            return 0;
        r->final = rc;
    }
    return r->final;
}

const char *json_reader_error(const struct json_reader *r)
{
    return r->error;
}

bool json_reader_trailing(const struct json_reader *r)
{
    for (size_t i = r->value_end; i < r->len; i++)
        if (!is_space(r->text[i]))
            return true;
    return false;
}
