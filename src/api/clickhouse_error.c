/* SPDX-License-Identifier: Apache-2.0 */
#include "api/clickhouse_error.h"

#include <stddef.h>

struct clickhouse_error clickhouse_error(int32_t code)
{
    static const struct clickhouse_error table[] = {
        {6, "CANNOT_PARSE_TEXT", 400},
        {15, "DUPLICATE_COLUMN", 400},
        {16, "NO_SUCH_COLUMN_IN_TABLE", 500},
        {25, "CANNOT_PARSE_ESCAPE_SEQUENCE", 400},
        {26, "CANNOT_PARSE_QUOTED_STRING", 400},
        {27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", 400},
        {33, "CANNOT_READ_ALL_DATA", 500},
        {36, "BAD_ARGUMENTS", 500},
        {38, "CANNOT_PARSE_DATE", 400},
        {41, "CANNOT_PARSE_DATETIME", 400},
        {44, "ILLEGAL_COLUMN", 400},
        {48, "NOT_IMPLEMENTED", 501},
        {53, "TYPE_MISMATCH", 400},
        {60, "UNKNOWN_TABLE", 404},
        {62, "SYNTAX_ERROR", 400},
        {69, "ARGUMENT_OUT_OF_BOUND", 500},
        {70, "CANNOT_CONVERT_TYPE", 500},
        {72, "CANNOT_PARSE_NUMBER", 400},
        {73, "UNKNOWN_FORMAT", 404},
        {81, "UNKNOWN_DATABASE", 404},
        {115, "UNKNOWN_SETTING", 404},
        {117, "INCORRECT_DATA", 400},
        {130, "CANNOT_READ_ARRAY_FROM_TEXT", 500},
        {131, "TOO_LARGE_STRING_SIZE", 500},
        {164, "READONLY", 500},
        {190, "SIZES_OF_ARRAYS_DONT_MATCH", 500},
        {201, "QUOTA_EXCEEDED", 429},
        {202, "TOO_MANY_SIMULTANEOUS_QUERIES", 503},
        {210, "NETWORK_ERROR", 503},
        {243, "NOT_ENOUGH_SPACE", 503},
        {306, "TOO_DEEP_RECURSION", 400},
        {321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", 500},
        {349, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", 500},
        {376, "CANNOT_PARSE_UUID", 400},
        {407, "DECIMAL_OVERFLOW", 500},
        {467, "CANNOT_PARSE_BOOL", 500},
        {469, "VIOLATED_CONSTRAINT", 500},
        {497, "ACCESS_DENIED", 403},
        {516, "AUTHENTICATION_FAILED", 403},
        {675, "CANNOT_PARSE_IPV4", 400},
        {676, "CANNOT_PARSE_IPV6", 400},
        {691, "UNKNOWN_ELEMENT_OF_ENUM", 500},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].code == code)
            return table[i];
    return (struct clickhouse_error){code, "INCORRECT_DATA", 500};
}
