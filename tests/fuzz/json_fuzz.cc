/* SPDX-License-Identifier: Apache-2.0 */
/* The reader against simdjson's own document parser, and its framings against each other.
 *
 *   one value   accepted or refused as simdjson does (but for numbers that do not fit a double,
 *               depth, and lone surrogates); minified text equal to simdjson's
 *   lines       the whole text at once gives what each line gives alone
 *   items       the elements of an array give what the array as one value gives */
#include "base/limits.h"
#include "json/json.h"

#include <algorithm>
#include <simdjson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <vector>

#define CHECK(cond)                                                          \
    do {                                                                     \
        if (!(cond)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                         \
        }                                                                    \
    } while (0)

namespace
{

struct json_reader *reader;

struct answer {
    int rc;
    std::string text; /* minified value, or the cause */
    bool operator==(const answer &o) const
    {
        return rc == o.rc && text == o.text;
    }
};

/* What follows the text is of no consequence, so it is something nasty. */
std::string padded(const std::string &text)
{
    return text + std::string(LIMIT_JSON_PADDING, '"');
}

std::string minify(const struct json_doc *doc, const struct json_node *n)
{
    /* buf.c is C: only json_put_minified touches the buffer. */
    static struct buf out = {nullptr, 0, 0, SIZE_MAX, false, false};
    buf_reset(&out);
    json_put_minified(&out, doc, n);
    CHECK(buf_ok(&out));
    return std::string(out.ptr, out.len);
}

void check_nodes(const struct json_doc *doc, size_t text_len)
{
    const struct json_node *nodes = doc->nodes;
    CHECK(nodes[0].next == doc->node_count);
    for (uint32_t i = 0; i < doc->node_count; i++) {
        const struct json_node *n = &nodes[i];
        CHECK(n->next > i && n->next <= doc->node_count);
        CHECK(n->off <= text_len && n->len <= text_len - n->off);
        if (n->kind == JSON_STRING) {
            std::string dst(n->len + 1, 0);
            size_t len = json_unescape(json_raw(doc, n), &dst[0]);
            CHECK(len <= n->len && simdjson::validate_utf8(dst.data(), len));
        } else if (n->kind >= JSON_ARRAY) {
            uint32_t count = 0;
            for (uint32_t k = i + 1; k < n->next; k = nodes[k].next, count++)
                if (n->kind == JSON_OBJECT)
                    CHECK(nodes[k++].kind == JSON_STRING);
            CHECK(count == n->count);
        } else {
            CHECK(n->next == i + 1);
        }
    }
}

std::vector<answer> read_all(const std::string &text, enum json_framing framing, bool *trailing)
{
    std::vector<answer> all;
    std::string body = padded(text);
    struct json_doc doc;
    CHECK(json_reader_begin(reader, body.data(), text.size(), framing) == 0);
    for (;;) {
        int rc = json_reader_next(reader, &doc);
        if (rc == WH_EEND)
            break;
        CHECK(rc == 0 || rc == WH_ESYNTAX || rc == WH_ELIMIT);
        if (rc == 0) {
            check_nodes(&doc, text.size());
            all.push_back({rc, minify(&doc, &doc.nodes[0])});
            CHECK(std::none_of(all.back().text.begin(), all.back().text.end(),
                               [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
        } else {
            all.push_back({rc, json_reader_error(reader)});
            CHECK(!all.back().text.empty());
            if (framing != JSON_LINES) {
                CHECK(json_reader_next(reader, &doc) == rc);
                break;
            }
        }
    }
    if (trailing != nullptr)
        *trailing = json_reader_trailing(reader);
    return all;
}

void check_one(const std::string &text)
{
    bool trailing = false;
    std::vector<answer> got = read_all(text, JSON_ONE, &trailing);
    bool accepted = got.size() == 1 && got[0].rc == 0 && !trailing;
    static simdjson::dom::parser dom;
    simdjson::dom::element root;
    simdjson::error_code e = dom.parse(text.data(), text.size(), true).get(root);
    if (e == simdjson::DEPTH_ERROR || (got.size() == 1 && got[0].rc == WH_ELIMIT))
        return;
    if (e == simdjson::SUCCESS)
        CHECK(accepted);
    if (accepted && e != simdjson::SUCCESS) {
        bool number = e == simdjson::NUMBER_ERROR;
        bool surrogate = e == simdjson::STRING_ERROR && (text.find("\\ud") != std::string::npos ||
                                                         text.find("\\uD") != std::string::npos);
        CHECK(number || surrogate);
    }
    if (!accepted)
        return;
    std::string theirs(text.size() + LIMIT_JSON_PADDING, 0);
    size_t len = 0;
    CHECK(simdjson::minify(text.data(), text.size(), &theirs[0], len) == simdjson::SUCCESS);
    theirs.resize(len);
    CHECK(got[0].text == theirs);
    CHECK(read_all(got[0].text, JSON_ONE, nullptr) == got);
}

void check_lines(const std::string &text)
{
    std::vector<answer> whole = read_all(text, JSON_LINES, nullptr), single;
    for (size_t at = 0; at < text.size();) {
        size_t nl = text.find('\n', at);
        size_t end = nl == std::string::npos ? text.size() : nl;
        std::vector<answer> line = read_all(text.substr(at, end - at), JSON_LINES, nullptr);
        CHECK(line.size() <= 1);
        single.insert(single.end(), line.begin(), line.end());
        at = end + 1;
    }
    CHECK(whole.size() == single.size());
    for (size_t i = 0; i < whole.size(); i++)
        CHECK(whole[i].rc == single[i].rc && (whole[i].rc != 0 || whole[i].text == single[i].text));
}

void check_items(const std::string &text)
{
    bool trailing = false;
    std::vector<answer> items = read_all(text, JSON_ITEMS, nullptr);
    std::vector<answer> one = read_all(text, JSON_ONE, &trailing);
    bool is_array = one.size() == 1 && one[0].rc == 0 && one[0].text[0] == '[' && !trailing;
    bool good = items.empty() || items.back().rc == 0;
    CHECK(good == is_array);
    if (!good)
        return;
    std::string joined = "[";
    for (size_t i = 0; i < items.size(); i++)
        joined += (i == 0 ? "" : ",") + items[i].text;
    CHECK(joined + "]" == one[0].text);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (reader == nullptr)
        reader = json_reader_new(16 * MIB);
    CHECK(reader != nullptr);
    std::string text(reinterpret_cast<const char *>(data), size);
    check_one(text);
    check_lines(text);
    check_items(text);
    return 0;
}
