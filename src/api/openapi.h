/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse types as JSON Schema (draft 2020-12, which OpenAPI 3.1 uses). Any thread. */
#ifndef WH_API_OPENAPI_H
#define WH_API_OPENAPI_H

#include "base/buf.h"
#include "schema/schema.h"

enum openapi_side {
    OPENAPI_SENT,    /* what ingest takes (http-api §7.3) */
    OPENAPI_ANSWERED /* what a query answers (http-api §8.6) */
};

/* Append the schema of a value of type t. */
void openapi_put_type(struct buf *out, const struct ch_type *t, enum openapi_side side);

#endif
