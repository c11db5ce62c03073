/* SPDX-License-Identifier: Apache-2.0 */
#include "api/openapi.h"

#include <inttypes.h>

/* More names than that make a document that nobody reads. */
#define ENUM_NAMES_MAX 256

static void put_lit(struct buf *out, const char *text)
{
    buf_put_str(out, text);
}

static void put_enum(struct buf *out, const struct ch_type *t, enum openapi_side side)
{
    if (t->enum_count > ENUM_NAMES_MAX) {
        put_lit(out, side == OPENAPI_SENT ? "{\"type\":[\"string\",\"number\"]}"
                                          : "{\"type\":\"string\"}");
        return;
    }
    /* Ingest also takes the number that stands for a name. */
    put_lit(out, side == OPENAPI_SENT
                     ? "{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"string\",\"enum\":["
                     : "{\"type\":\"string\",\"enum\":[");
    for (uint32_t i = 0; i < t->enum_count; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        buf_put_json_string(out, t->enum_items[i].name);
    }
    put_lit(out, side == OPENAPI_SENT ? "]}]}" : "]}");
}

static void put_tuple(struct buf *out, const struct ch_type *t, enum openapi_side side)
{
    if (t->names != NULL) {
        put_lit(out, "{\"type\":\"object\",\"properties\":{");
        for (uint32_t i = 0; i < t->child_count; i++) {
            if (i > 0)
                buf_put_u8(out, ',');
            buf_put_json_string(out, t->names[i]);
            buf_put_u8(out, ':');
            openapi_put_type(out, t->children[i], side);
        }
        put_lit(out, "}}");
        return;
    }
    put_lit(out, "{\"type\":\"array\",\"prefixItems\":[");
    for (uint32_t i = 0; i < t->child_count; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        openapi_put_type(out, t->children[i], side);
    }
    buf_printf(out, "],\"minItems\":%" PRIu32 ",\"maxItems\":%" PRIu32 "}", t->child_count,
               t->child_count);
}

/* Nested: an array of its named elements. */
static void put_nested(struct buf *out, const struct ch_type *t, enum openapi_side side)
{
    put_lit(out, "{\"type\":\"array\",\"items\":");
    put_tuple(out, t, side);
    buf_put_u8(out, '}');
}

static const char *integer_format(enum ch_kind kind)
{
    switch (kind) {
    case CH_INT8:
    case CH_INT16:
    case CH_INT32:
    case CH_UINT8:
    case CH_UINT16:
        return ",\"format\":\"int32\"";
    case CH_INT64:
    case CH_UINT32:
        return ",\"format\":\"int64\"";
    default:
        return ""; /* beyond 64 bits signed: no format has a name for it */
    }
}

static void put_plain(struct buf *out, const struct ch_type *t, enum openapi_side side)
{
    bool sent = side == OPENAPI_SENT;
    switch (t->kind) {
    case CH_INT8:
    case CH_INT16:
    case CH_INT32:
    case CH_INT64:
    case CH_INT128:
    case CH_INT256:
    case CH_UINT8:
    case CH_UINT16:
    case CH_UINT32:
    case CH_UINT64:
    case CH_UINT128:
    case CH_UINT256:
        buf_printf(out, "{\"type\":%s%s}", sent ? "[\"integer\",\"string\"]" : "\"integer\"",
                   sent ? "" : integer_format(t->kind));
        return;
    case CH_FLOAT32:
    case CH_FLOAT64:
    case CH_BFLOAT16:
        /* NaN and infinities are answered as null. */
        put_lit(out,
                sent ? "{\"type\":[\"number\",\"string\"]}" : "{\"type\":[\"number\",\"null\"]}");
        return;
    case CH_DECIMAL:
        put_lit(out, sent ? "{\"type\":[\"number\",\"string\"]}" : "{\"type\":\"number\"}");
        return;
    case CH_BOOL:
        put_lit(out,
                sent ? "{\"type\":[\"boolean\",\"number\",\"string\"]}" : "{\"type\":\"boolean\"}");
        return;
    case CH_DATETIME:
    case CH_DATETIME64:
        put_lit(out, sent ? "{\"type\":[\"string\",\"number\"]}"
                          : "{\"type\":\"string\",\"format\":\"date-time\"}");
        return;
    case CH_DATE:
    case CH_DATE32:
        put_lit(out, sent ? "{\"type\":[\"string\",\"number\"]}"
                          : "{\"type\":\"string\",\"format\":\"date\"}");
        return;
    case CH_UUID:
        put_lit(out, sent ? "{\"type\":[\"string\",\"number\",\"boolean\"]}"
                          : "{\"type\":\"string\",\"format\":\"uuid\"}");
        return;
    case CH_IPV4:
        put_lit(out, sent ? "{\"type\":[\"string\",\"number\"]}"
                          : "{\"type\":\"string\",\"format\":\"ipv4\"}");
        return;
    case CH_IPV6:
        put_lit(out, sent ? "{\"type\":[\"string\",\"number\"]}"
                          : "{\"type\":\"string\",\"format\":\"ipv6\"}");
        return;
    case CH_STRING:
    case CH_FIXED_STRING:
        put_lit(out,
                sent ? "{\"type\":[\"string\",\"number\",\"boolean\"]}" : "{\"type\":\"string\"}");
        return;
    case CH_ENUM8:
    case CH_ENUM16:
        put_enum(out, t, side);
        return;
    case CH_ARRAY:
        put_lit(out, "{\"type\":\"array\",\"items\":");
        openapi_put_type(out, t->children[0], side);
        buf_put_u8(out, '}');
        return;
    case CH_MAP:
        put_lit(out, "{\"type\":\"object\",\"additionalProperties\":");
        openapi_put_type(out, t->children[1], side);
        buf_put_u8(out, '}');
        return;
    case CH_TUPLE:
        put_tuple(out, t, side);
        return;
    case CH_NESTED:
        put_nested(out, t, side);
        return;
    default:
        put_lit(out, "{}"); /* JSON, Variant, geo …: any value */
        return;
    }
}

void openapi_put_type(struct buf *out, const struct ch_type *t, enum openapi_side side)
{
    const struct ch_type *peeled = ch_type_peel(t);
    if (!ch_type_is_nullable(t)) {
        put_plain(out, peeled, side);
        return;
    }
    put_lit(out, "{\"anyOf\":[");
    put_plain(out, peeled, side);
    put_lit(out, ",{\"type\":\"null\"}]}");
}
