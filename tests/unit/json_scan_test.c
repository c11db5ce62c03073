/* SPDX-License-Identifier: Apache-2.0 */
/* The flat scanner as other processors run it, against this one's, byte by byte: the same records
 * taken, the same nodes. That they are those of the general reader is json_test's. */
#include "tests/lib/tap.h"

#define JSON_SCAN_PLAIN
#define json_scan_flat     plain_scan_flat
#define json_number_valid  plain_number_valid
#define json_escapes_valid plain_escapes_valid
#include "json/json_scan.h"
/* NOLINTNEXTLINE(bugprone-suspicious-include): the same source once more */
#include "json/json_scan.c"
#undef json_scan_flat
uint32_t json_scan_flat(struct json_shape *shape, const char *text, size_t len,
                        struct json_node *nodes, uint32_t node_cap);

enum {
    TEXT_BYTES = 120,
    NODES = 40
};

static uint64_t taken, refused, different;

static void compare(const char *text, size_t len)
{
    static struct json_shape shape, plain_shape;
    struct json_node nodes[NODES], plain_nodes[NODES];
    uint32_t n = json_scan_flat(&shape, text, len, nodes, NODES);
    uint32_t plain = plain_scan_flat(&plain_shape, text, len, plain_nodes, NODES);
    different += n != plain;
    for (uint32_t i = 0; i < n && n == plain; i++) {
        const struct json_node *a = &nodes[i], *b = &plain_nodes[i];
        different += a->off != b->off || a->len != b->len || a->next != b->next ||
                     a->count != b->count || a->kind != b->kind || a->flags != b->flags;
    }
    taken += n != 0;
    refused += n == 0;
}

int main(void)
{
    char text[TEXT_BYTES + LIMIT_JSON_PADDING];
    static const char record[] = "{\"id\":12345,\"host\":\"web-1 \\n a name over one "
                                 "step\",\"ok\":true,\"x\":-1.5e3,\"\":\"\"}";
    size_t len = sizeof(record) - 1;
    memset(text, '"', sizeof(text));
    memcpy(text, record, len);
    /* Every byte of it as every other byte, and every pair of places as the bytes that matter. */
    for (size_t i = 0; i < len; i++)
        for (unsigned c = 0; c < 256; c++) {
            text[i] = (char)c;
            compare(text, len);
            text[i] = record[i];
        }
    static const char bytes[] = "\"\\\x1f \x7f\x80\xff}{,:0-";
    for (size_t i = 0; i < len; i++)
        for (size_t k = 0; k < i; k++)
            for (size_t a = 0; a < sizeof(bytes); a++) {
                text[i] = bytes[a];
                text[k] = bytes[(a * 7 + i) % sizeof(bytes)];
                compare(text, len);
                text[i] = record[i];
                text[k] = record[k];
            }
    for (size_t cut = 0; cut <= len; cut++)
        compare(text, cut);
    ok(taken > 5000 && refused > 5000, "%" PRIu64 " taken, %" PRIu64 " refused", taken, refused);
    is_u64(different, 0, "plain and by vectors: the same");
    return tap_done();
}
