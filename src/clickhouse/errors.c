/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse's error numbers by what an inserter has to do next (clickhouse-native §10). */
#include "clickhouse/native.h"

#include <string.h>

const char *ch_outcome_name(enum ch_outcome o)
{
    switch (o) {
    case CH_OK:
        return "ok";
    case CH_UNAVAILABLE:
        return "unavailable";
    case CH_UNKNOWN_FATE:
        return "unknown_fate";
    case CH_TOO_MANY_PARTS:
        return "too_many_parts";
    case CH_SPLIT_PARTITIONS:
        return "split_partitions";
    case CH_SCHEMA:
        return "schema";
    case CH_DATA:
        return "data";
    case CH_CONFIG:
        return "config";
    case CH_BUG:
        return "bug";
    }
    return "bug";
}

enum ch_outcome ch_classify(int32_t code, const char *text)
{
    switch (code) {
    case 252: /* one number for two things: a table that is behind, or a block that never fits */
        return text != NULL && strstr(text, "Too many partitions for single INSERT block") != NULL
                   ? CH_SPLIT_PARTITIONS
                   : CH_TOO_MANY_PARTS;
    case 319: /* UNKNOWN_STATUS_OF_INSERT */
        return CH_UNKNOWN_FATE;
    case 159: /* TIMEOUT_EXCEEDED */
    case 160: /* TOO_SLOW */
    case 173: /* CANNOT_ALLOCATE_MEMORY */
    case 201: /* QUOTA_EXCEEDED: the next interval has room */
    case 202: /* TOO_MANY_SIMULTANEOUS_QUERIES */
    case 203: /* NO_FREE_CONNECTION */
    case 209: /* SOCKET_TIMEOUT */
    case 210: /* NETWORK_ERROR */
    case 216: /* QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING */
    case 225: /* NO_ZOOKEEPER */
    case 236: /* ABORTED */
    case 241: /* MEMORY_LIMIT_EXCEEDED */
    case 242: /* TABLE_IS_READ_ONLY */
    case 243: /* NOT_ENOUGH_SPACE */
    case 279: /* ALL_CONNECTION_TRIES_FAILED */
    case 285: /* TOO_FEW_LIVE_REPLICAS */
    case 286: /* UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE */
    case 394: /* QUERY_WAS_CANCELLED */
    case 425: /* SYSTEM_ERROR */
    case 439: /* CANNOT_SCHEDULE_TASK */
    case 745: /* SERVER_OVERLOADED */
    case 999: /* KEEPER_EXCEPTION */
        return CH_UNAVAILABLE;
    case 8:   /* THERE_IS_NO_COLUMN */
    case 10:  /* NOT_FOUND_COLUMN_IN_BLOCK */
    case 16:  /* NO_SUCH_COLUMN_IN_TABLE */
    case 36:  /* BAD_ARGUMENTS */
    case 44:  /* ILLEGAL_COLUMN */
    case 47:  /* UNKNOWN_IDENTIFIER */
    case 60:  /* UNKNOWN_TABLE */
    case 81:  /* UNKNOWN_DATABASE */
    case 115: /* UNKNOWN_SETTING */
        return CH_SCHEMA;
    case 6:   /* CANNOT_PARSE_TEXT */
    case 26:  /* CANNOT_PARSE_QUOTED_STRING */
    case 27:  /* CANNOT_PARSE_INPUT_ASSERTION_FAILED */
    case 33:  /* CANNOT_READ_ALL_DATA */
    case 38:  /* CANNOT_PARSE_DATE */
    case 41:  /* CANNOT_PARSE_DATETIME */
    case 53:  /* TYPE_MISMATCH */
    case 69:  /* ARGUMENT_OUT_OF_BOUND */
    case 70:  /* CANNOT_CONVERT_TYPE */
    case 72:  /* CANNOT_PARSE_NUMBER */
    case 117: /* INCORRECT_DATA */
    case 130: /* CANNOT_READ_ARRAY_FROM_TEXT */
    case 190: /* SIZES_OF_ARRAYS_DONT_MATCH */
    case 321: /* VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE */
    case 349: /* CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN */
    case 368: /* a block that 18.16 cannot cast */
    case 407: /* DECIMAL_OVERFLOW */
    case 469: /* VIOLATED_CONSTRAINT */
    case 652: /* ONLY_NULLS_WHILE_READING_SCHEMA: {} in a Dynamic column */
    case 691: /* UNKNOWN_ELEMENT_OF_ENUM */
        return CH_DATA;
    case 164: /* READONLY */
    case 193: /* WRONG_PASSWORD (old servers) */
    case 194: /* REQUIRED_PASSWORD */
    case 497: /* ACCESS_DENIED */
    case 516: /* AUTHENTICATION_FAILED */
        return CH_CONFIG;
    default:
        /* 62, 73, 50, 43: we wrote nonsense. 3, 74, 76, 95, 99, 101 … 103, 40, 271: the protocol is
         * out of step or the link broke a checksum. All the rest: not known. For each of these a
         * few tries and then an alarm; never for ever. */
        return CH_BUG;
    }
}
