/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse's error numbers as its HTTP clients see them. */
#ifndef WH_API_CLICKHOUSE_ERROR_H
#define WH_API_CLICKHOUSE_ERROR_H

#include <stdint.h>

struct clickhouse_error {
    int32_t code;
    const char *name;
    int status; /* of HTTP, as a 26.7 answers */
};

/* Of a code that is not in the table: INCORRECT_DATA's name with that code, 500. */
struct clickhouse_error clickhouse_error(int32_t code);

#endif
