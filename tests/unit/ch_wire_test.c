/* SPDX-License-Identifier: Apache-2.0 */
/* The wire encoders against the byte vectors of clickhouse-native §12, and the decoder of server
 * packets on whole, cut and hostile input. */
#include "base/le.h"
#include "clickhouse/wire.h"

#include "tests/lib/tap.h"

#include <stdlib.h>

static const struct ch_identity probe = {
    .name = "probe", .os_user = "u", .host = "h", .major = 1, .minor = 0, .revision = 54460};

static int nibble(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void is_hex(struct buf *b, const char *hex, const char *name)
{
    char want[1024];
    size_t n = 0;
    for (; *hex != '\0' && n < sizeof(want); hex += 2)
        want[n++] = (char)(nibble(hex[0]) << 4 | nibble(hex[1]));
    bool same = b->len == n && memcmp(b->ptr, want, n) == 0;
    ok(same && buf_ok(b), "%s", name);
    if (!same) {
        printf("# got ");
        for (size_t i = 0; i < b->len; i++)
            printf("%02x", (unsigned char)b->ptr[i]);
        printf("\n");
    }
    buf_reset(b);
}

static void test_vectors(void)
{
    struct buf b;
    struct slice sql = SLICE_LIT("INSERT INTO t (k, s) VALUES");
    struct ch_setting off = {"async_insert", "0", false};
    buf_init(&b, 1 << 20);

    ch_put_hello(&b, &probe, "default", "default", "");
    is_hex(&b, "000570726f62650100bca9030764656661756c740764656661756c7400", "hello");
    ch_put_query(&b, &probe, 54412, &off, 1, false, sql);
    ch_put_empty_data(&b, CH_FRAMES_OFF);
    is_hex(&b,
           "010001000009302e302e302e303a3001017501680570726f62650100bca90300000002001b494e53455254"
           "20494e544f207420286b2c2073292056414c5545530200010002ffffffff000000",
           "query and empty block at 54412, without any setting");
    ch_put_query(&b, &probe, 54460, &off, 1, false, sql);
    ch_put_empty_data(&b, CH_FRAMES_OFF);
    is_hex(&b,
           "010001000009302e302e302e303a30000000000000000001017501680570726f62650100bca90300000000"
           "0000000c6173796e635f696e73657274000130000002001b494e5345525420494e544f207420286b2c2073"
           "292056414c554553000200010002ffffffff000000",
           "query and empty block at 54460 with async_insert=0");
    ch_put_data_head(&b);
    ch_put_block_head(&b, 2, 1);
    ch_put_cstring(&b, "k");
    ch_put_cstring(&b, "UInt32");
    buf_put(&b, "\0\x07\0\0\0", 5);
    ch_put_cstring(&b, "s");
    ch_put_cstring(&b, "String");
    buf_put_u8(&b, 0);
    ch_put_cstring(&b, "hi");
    is_hex(&b, "0200010002ffffffff000201016b0655496e7433320007000000017306537472696e6700026869",
           "block of one row");
    ch_put_empty_data(&b, CH_FRAMES_PLAIN);
    is_hex(&b, "0200bb9489a1c169e900ecaff168956a647402130000000a000000010002ffffffff000000",
           "empty block in a frame of method none");
    ch_put_empty_data(&b, CH_FRAMES_LZ4);
    is_hex(&b, "0200a783ac6cd55c7a7cb5ac46bddb86e21482140000000a000000a0010002ffffffff000000",
           "empty block in an LZ4 frame");
    ch_put_addendum(&b, 54457);
    is_hex(&b, "", "no addendum before 54458");
    ch_put_addendum(&b, 54458);
    is_hex(&b, "00", "addendum: an empty quota key");
    ch_put_identifier(&b, SLICE_LIT("a`b\\c d"));
    is_mem(b.ptr, b.len, "`a\\`b\\\\c d`", 11, "identifier with ` and \\");
    buf_fini(&b);
}

static void test_frames(void)
{
    static char text[100000];
    struct buf b, out;
    size_t used = 0;
    buf_init(&b, 1 << 20);
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)("GET /index.html 200 "[i % 20] + (i % 977 == 0));
    for (enum ch_framing f = CH_FRAMES_PLAIN; f <= CH_FRAMES_LZ4; f++) {
        buf_reset(&b);
        buf_reset(&out);
        ch_put_frame(&b, f, text, sizeof(text), 4);
        ok(ch_frame_take(buf_slice(&b), &used, &out) == 0 && used == b.len &&
               out.len == sizeof(text) && memcmp(out.ptr, text, sizeof(text)) == 0,
           "frame %d there and back (%zu bytes)", f, b.len);
        buf_reset(&out);
        ok(ch_frame_take((struct slice){b.ptr, b.len - 1}, &used, &out) == WH_EAGAIN,
           "a cut frame %d asks for more", f);
        b.ptr[30] ^= 1;
        ok(ch_frame_take(buf_slice(&b), &used, &out) == WH_ECORRUPT, "a flipped bit in frame %d",
           f);
        b.ptr[30] ^= 1;
        le32_put(b.ptr + 21, 0xffffffffu);
        ok(ch_frame_take(buf_slice(&b), &used, &out) == WH_ELIMIT, "a huge plain size in frame %d",
           f);
    }
    buf_fini(&b);
    buf_fini(&out);
}

static void put_exception(struct buf *b, int32_t code, const char *text, bool nested)
{
    buf_put_le32(b, (uint32_t)code);
    ch_put_cstring(b, "DB::Exception");
    ch_put_cstring(b, text);
    ch_put_cstring(b, "stack");
    buf_put_u8(b, nested);
}

static void put_column(struct buf *b, const char *name, const char *type)
{
    ch_put_cstring(b, name);
    ch_put_cstring(b, type);
    buf_put_u8(b, 0);
}

/* A stream with one packet of each kind. */
static void put_stream(struct buf *b)
{
    buf_put_u8(b, CH_S_TABLE_COLUMNS);
    ch_put_cstring(b, "");
    ch_put_cstring(b, "columns format version: 1");
    buf_put_u8(b, CH_S_PROGRESS);
    for (uint64_t i = 1; i <= 6; i++)
        ch_put_varint(b, i << (7 * i));
    buf_put_u8(b, CH_S_LOG);
    ch_put_cstring(b, "");
    ch_put_block_head(b, 4, 2);
    put_column(b, "event_time", "DateTime");
    buf_put(b, "aaaabbbb", 8);
    put_column(b, "priority", "Int8");
    buf_put(b, "\1\2", 2);
    put_column(b, "text", "String");
    ch_put_cstring(b, "one");
    ch_put_cstring(b, "");
    put_column(b, "type", "Enum8('increment' = 1, 'gauge' = 2)");
    buf_put(b, "\1\2", 2);
    buf_put_u8(b, CH_S_PROFILE_INFO);
    buf_put(b, "\1\1\1\0\1\0", 6);
    buf_put_u8(b, CH_S_TIMEZONE);
    ch_put_cstring(b, "UTC");
    buf_put_u8(b, CH_S_DATA);
    ch_put_cstring(b, "");
    ch_put_block_head(b, 2, 0);
    put_column(b, "k", "UInt32");
    put_column(b, "s", "LowCardinality(String)");
    buf_put_u8(b, CH_S_EXCEPTION);
    put_exception(b, 60, "outer", true);
    put_exception(b, 62, "inner", false);
    buf_put_u8(b, CH_S_PONG);
    buf_put_u8(b, CH_S_END);
}

static void test_stream(void)
{
    static const uint64_t codes[] = {CH_S_TABLE_COLUMNS, CH_S_PROGRESS, CH_S_LOG,
                                     CH_S_PROFILE_INFO,  CH_S_TIMEZONE, CH_S_DATA,
                                     CH_S_EXCEPTION,     CH_S_PONG,     CH_S_END};
    struct buf b;
    struct ch_decoder d;
    struct ch_packet p;
    size_t at = 0, used = 0;
    bool cut = true;
    buf_init(&b, 1 << 20);
    ch_decoder_init(&d, 54460);
    put_stream(&b);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct slice rest = {b.ptr + at, b.len - at};
        bool took = ch_packet_take(&d, rest, &used, &p) == 0 && p.code == codes[i];
        ok(took, "packet %u", (unsigned)codes[i]);
        if (!took)
            break;
        if (p.code == CH_S_DATA)
            ok(p.column_count == 2 && slice_eq_str(p.columns[1].name, "s") &&
                   slice_eq_str(p.columns[1].type, "LowCardinality(String)"),
               "the sample's columns");
        if (p.code == CH_S_EXCEPTION)
            ok(p.exception == 60 && slice_eq_str(p.text, "outer"), "the outermost exception");
        /* Every shorter prefix asks for more; exactly sized on the heap for ASan. */
        for (size_t n = 0; n < used; n++) {
            char *copy = malloc(n + 1);
            size_t none;
            memcpy(copy, rest.ptr, n);
            cut = cut && ch_packet_take(&d, (struct slice){copy, n}, &none, &p) == WH_EAGAIN;
            free(copy);
        }
        at += used;
    }
    ok(at == b.len && cut, "every cut asks for more, and nothing is left over");
    ch_decoder_fini(&d);
    buf_fini(&b);
}

static int take_bytes(struct buf *b, bool framed, struct ch_packet *p)
{
    static struct ch_decoder d;
    size_t used;
    ch_decoder_fini(&d);
    ch_decoder_init(&d, 54460);
    d.framed = framed;
    int rc = ch_packet_take(&d, buf_slice(b), &used, p);
    buf_reset(b);
    return rc;
}

static void test_hostile(void)
{
    struct buf b, block;
    struct ch_packet p;
    buf_init(&b, 32 << 20);
    buf_init(&block, 1 << 20);
    ch_put_varint(&b, 99);
    ok(take_bytes(&b, false, &p) == WH_ESYNTAX, "an unknown code");
    buf_put(&b, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    ok(take_bytes(&b, false, &p) == WH_ESYNTAX, "a varint of eleven bytes");
    buf_put_u8(&b, CH_S_TIMEZONE);
    ch_put_varint(&b, UINT64_MAX);
    ok(take_bytes(&b, false, &p) == WH_ELIMIT, "a string of 2^64−1 bytes");
    buf_put_u8(&b, CH_S_DATA);
    ch_put_cstring(&b, "");
    ch_put_block_head(&b, UINT64_MAX, 0);
    ok(take_bytes(&b, false, &p) == WH_ELIMIT, "2^64−1 columns");
    buf_put_u8(&b, CH_S_LOG);
    ch_put_cstring(&b, "");
    ch_put_block_head(&b, 1, UINT64_MAX);
    ok(take_bytes(&b, false, &p) == WH_ELIMIT, "2^64−1 rows");
    buf_put_u8(&b, CH_S_DATA);
    ch_put_cstring(&b, "");
    ch_put_block_head(&b, 1, 1);
    ok(take_bytes(&b, false, &p) == WH_EUNSUPPORTED, "rows where there can be none");
    buf_put_u8(&b, CH_S_EXCEPTION);
    for (int i = 0; i < 100; i++)
        put_exception(&b, 1, "again", true);
    ok(take_bytes(&b, false, &p) == WH_ELIMIT, "exceptions without end");
    buf_put_u8(&b, CH_S_TIMEZONE);
    ch_put_varint(&b, CH_PACKET_BYTES_MAX);
    char *half = buf_extend(&b, CH_PACKET_BYTES_MAX - 8);
    memset(half, 0, CH_PACKET_BYTES_MAX - 8);
    ok(take_bytes(&b, false, &p) == WH_EAGAIN, "just under the limit: more is awaited");
    buf_put_u8(&b, CH_S_TIMEZONE);
    ch_put_varint(&b, CH_PACKET_BYTES_MAX);
    half = buf_extend(&b, CH_PACKET_BYTES_MAX - 1);
    memset(half, 0, CH_PACKET_BYTES_MAX - 1);
    ok(take_bytes(&b, false, &p) == WH_ELIMIT, "a packet over the limit");

    /* A framed sample in two frames, then one with bytes behind its end. */
    ch_put_block_head(&block, 1, 0);
    put_column(&block, "k", "UInt32");
    buf_put_u8(&b, CH_S_DATA);
    ch_put_cstring(&b, "");
    ch_put_frame(&b, CH_FRAMES_LZ4, block.ptr, 5, 1);
    ch_put_frame(&b, CH_FRAMES_PLAIN, block.ptr + 5, block.len - 5, 1);
    ok(take_bytes(&b, true, &p) == 0 && p.column_count == 1, "a sample in two frames");
    buf_put_u8(&block, 0);
    buf_put_u8(&b, CH_S_DATA);
    ch_put_cstring(&b, "");
    ch_put_frame(&b, CH_FRAMES_LZ4, block.ptr, block.len, 1);
    ok(take_bytes(&b, true, &p) == WH_ESYNTAX, "bytes behind the end of a framed block");
    buf_fini(&b);
    buf_fini(&block);
}

static void test_hello(void)
{
    struct buf b;
    struct ch_decoder d;
    struct ch_packet p;
    size_t used = 0;
    buf_init(&b, 1 << 20);
    for (int modern = 0; modern < 2; modern++) {
        buf_reset(&b);
        buf_put_u8(&b, CH_S_HELLO);
        ch_put_cstring(&b, "ClickHouse");
        ch_put_varint(&b, modern ? 26 : 18);
        ch_put_varint(&b, modern ? 7 : 16);
        ch_put_varint(&b, modern ? 54488 : 54412);
        ch_put_cstring(&b, "Europe/Berlin");
        ch_put_cstring(&b, "box");
        ch_put_varint(&b, 2);
        ch_decoder_init(&d, 54460);
        ok(ch_packet_take(&d, buf_slice(&b), &used, &p) == 0 && used == b.len &&
               d.revision == (modern ? 54460 : 54412) && p.hello.patch == 2 &&
               strcmp(p.hello.timezone, "Europe/Berlin") == 0,
           "hello of %s", modern ? "26.7" : "18.16");
        ch_decoder_fini(&d);
    }
    buf_fini(&b);
}

int main(void)
{
    test_vectors();
    test_frames();
    test_stream();
    test_hello();
    test_hostile();
    return tap_done();
}
