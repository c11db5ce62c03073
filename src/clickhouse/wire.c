/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/wire.h"

void ch_put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_put_u8(b, (uint8_t)(v | 0x80));
    buf_put_u8(b, (uint8_t)v);
}

void ch_put_string(struct buf *b, struct slice s)
{
    ch_put_varint(b, s.len);
    buf_put_slice(b, s);
}

void ch_put_cstring(struct buf *b, const char *s)
{
    ch_put_string(b, slice_str(s));
}

void ch_put_identifier(struct buf *b, struct slice name)
{
    buf_put_u8(b, '`');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '\\' || name.ptr[i] == '`')
            buf_put_u8(b, '\\');
        buf_put_u8(b, (uint8_t)name.ptr[i]);
    }
    buf_put_u8(b, '`');
}

void ch_put_hello(struct buf *b, const struct ch_identity *id, const char *database,
                  const char *user, const char *password)
{
    ch_put_varint(b, CH_C_HELLO);
    ch_put_cstring(b, id->name);
    ch_put_varint(b, id->major);
    ch_put_varint(b, id->minor);
    ch_put_varint(b, id->revision);
    ch_put_cstring(b, database);
    ch_put_cstring(b, user);
    ch_put_cstring(b, password);
}

void ch_put_addendum(struct buf *b, uint32_t revision)
{
    if (revision >= CH_REV_ADDENDUM)
        ch_put_cstring(b, ""); /* quota key */
}

static void put_client_info(struct buf *b, const struct ch_identity *id, uint32_t revision)
{
    buf_put_u8(b, 1);               /* initial query */
    ch_put_cstring(b, "");          /* initial user */
    ch_put_cstring(b, "");          /* initial query id */
    ch_put_cstring(b, "0.0.0.0:0"); /* initial address; 18.16 parses it */
    if (revision >= CH_REV_START_TIME)
        buf_put_le64(b, 0);
    buf_put_u8(b, 1); /* TCP */
    ch_put_cstring(b, id->os_user);
    ch_put_cstring(b, id->host);
    ch_put_cstring(b, id->name);
    ch_put_varint(b, id->major);
    ch_put_varint(b, id->minor);
    ch_put_varint(b, id->revision);
    ch_put_cstring(b, ""); /* quota key */
    if (revision >= CH_REV_DEPTH)
        ch_put_varint(b, 0);
    if (revision >= CH_REV_PATCH)
        ch_put_varint(b, 0);
    if (revision >= CH_REV_OPENTELEMETRY)
        buf_put_u8(b, 0);
    if (revision >= CH_REV_PARALLEL_REPLICAS)
        buf_put(b, "\0\0\0", 3);
}

void ch_put_query(struct buf *b, const struct ch_identity *id, uint32_t revision,
                  const struct ch_setting *settings, uint32_t setting_count, bool compression,
                  struct slice sql)
{
    ch_put_varint(b, CH_C_QUERY);
    ch_put_cstring(b, ""); /* the server makes a query id */
    put_client_info(b, id, revision);
    if (revision >= CH_REV_TEXT_SETTINGS) {
        for (uint32_t i = 0; i < setting_count; i++) {
            ch_put_cstring(b, settings[i].name);
            ch_put_varint(b, settings[i].important ? 1 : 0);
            ch_put_cstring(b, settings[i].value);
        }
    }
    ch_put_cstring(b, ""); /* end of settings */
    if (revision >= CH_REV_SECRET)
        ch_put_cstring(b, "");
    ch_put_varint(b, 2); /* stage: complete */
    ch_put_varint(b, compression ? 1 : 0);
    ch_put_string(b, sql);
    if (revision >= CH_REV_PARAMETERS)
        ch_put_cstring(b, ""); /* end of parameters */
}

void ch_put_data_head(struct buf *b)
{
    ch_put_varint(b, CH_C_DATA);
    ch_put_cstring(b, "");
}

void ch_put_block_head(struct buf *b, uint64_t column_count, uint64_t row_count)
{
    /* Field 1, overflows: 0; field 2, bucket: −1; end. */
    buf_put(b, "\x01\x00\x02\xff\xff\xff\xff\x00", 8);
    ch_put_varint(b, column_count);
    ch_put_varint(b, row_count);
}

void ch_put_empty_data(struct buf *b, enum ch_framing framing)
{
    ch_put_data_head(b);
    if (framing == CH_FRAMES_OFF) {
        ch_put_block_head(b, 0, 0);
        return;
    }
    char memory[16];
    struct buf block = {.ptr = memory, .cap = sizeof(memory), .max = sizeof(memory)};
    ch_put_block_head(&block, 0, 0);
    ch_put_frame(b, framing, block.ptr, block.len, 1);
}
