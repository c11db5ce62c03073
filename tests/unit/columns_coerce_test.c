/* SPDX-License-Identifier: Apache-2.0 */
/* Coercion, value by value. Every line was measured on ClickHouse 26.7 (JSONEachRow with
 * input_format_null_as_default=1, date_time_input_format=best_effort); tests/e2e/coercion_diff
 * compares thousands more with a server at hand. */
#include "tests/unit/columns_lib.h"

struct line {
    const char *type;
    const char *value;
    const char *want; /* data in hexadecimal, or E and the code */
};

static const struct line lines[] = {
    /* integers wrap, quotes do not matter, fractions do */
    {"UInt8", "12", "0c"},
    {"UInt8", "\"12\"", "0c"},
    {"UInt8", "256", "00"},
    {"UInt8", "300", "2c"},
    {"UInt8", "true", "01"},
    {"UInt8", "\"false\"", "00"},
    {"UInt8", "null", "00"},
    {"UInt8", "\"\"", "00"},
    {"UInt8", "\"+5\"", "05"},
    {"UInt8", "\"012\"", "0c"},
    {"UInt8", "-1", "E72"},
    {"UInt8", "-0", "E72"},
    {"UInt8", "1.0", "E27"},
    {"UInt8", "1e3", "E27"},
    {"UInt8", "\" 5\"", "E27"},
    {"UInt8", "\"5 \"", "E27"},
    {"UInt8", "\"\\u0031\"", "E27"},
    {"UInt8", "[1]", "E27"},
    {"Int8", "-129", "7f"},
    {"Int8", "\"--5\"", "E72"},
    {"Int8", "\"-\"", "E72"},
    {"Int64", "9223372036854775808", "0000000000000080"},
    {"UInt64", "18446744073709551616", "0000000000000000"},
    {"Int128", "-1", "ffffffffffffffffffffffffffffffff"},
    {"UInt128", "340282366920938463463374607431768211455", "ffffffffffffffffffffffffffffffff"},
    {"Int256", "-2", "feffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"},
    /* floats: the nearest, nan and inf in any case */
    {"Float64", "0.1", "9a9999999999b93f"},
    {"Float64", "9007199254740993", "0000000000004043"},
    {"Float64", "1e23", "f64ae1c7022db544"},
    {"Float64", "5e-324", "0100000000000000"},
    {"Float64", "1e400", "000000000000f07f"},
    {"Float64", "\"-Infinity\"", "000000000000f0ff"},
    {"Float64", "\"nAn\"", "000000000000f87f"},
    {"Float64", "-0", "0000000000000080"},
    {"Float64", "true", "000000000000f03f"},
    {"Float64", "\".5\"", "000000000000e03f"},
    {"Float64", "\"\"", "E72"},
    {"Float64", "\"1e\"", "E27"},
    {"Float64", "\"--1\"", "E72"},
    {"Float64", "{}", "E72"},
    {"Float32", "16777217", "0000804b"},
    {"Float32", "1.00000017881393432617187500000", "0200803f"},
    {"Float32", "3.4028236e38", "0000807f"},
    {"BFloat16", "1.1", "8c3f"},
    {"Bool", "true", "01"},
    {"Bool", "1", "01"},
    {"Bool", "2", "E467"},
    {"Bool", "\"true\"", "E467"},
    {"Bool", "1.0", "E27"},
    /* strings: what is no string keeps its digits and spaces */
    {"String", "\"a\"", "0161"},
    {"String", "-1.50", "052d312e3530"},
    {"String", "true", "0474727565"},
    {"String", "[1, 2]", "065b312c20325d"},
    {"String", "null", "00"},
    {"String", "\"\\u0000x\"", "020078"},
    {"String", "\"\\ud83d\\ude00\"", "04f09f9880"},
    {"String", "\"\\ude00\"", "03edb880"},
    {"String", "\"\\ud83d\"", "E25"},
    {"FixedString(4)", "\"abc\"", "61626300"},
    {"FixedString(4)", "\"abcde\"", "E131"},
    {"FixedString(4)", "1", "E26"},
    {"Enum8('a' = 1, '5' = 3)", "\"5\"", "03"},
    {"Enum8('a' = 1, '5' = 3)", "\"1\"", "01"},
    {"Enum8('a' = 1, '5' = 3)", "257", "01"},
    {"Enum8('a' = 1, '5' = 3)", "\"257\"", "E691"},
    {"Enum8('a' = 1, '5' = 3)", "2", "E691"},
    {"Enum8('a' = 1, '5' = 3)", "\"A\"", "E691"},
    {"Enum8('a' = 1, 'z' = 0)", "null", "00"},
    {"UUID", "\"61F0C4045CB311E7907BA6006AD3DBA0\"", "e711b35c04c4f061a0dbd36a00a67b90"},
    {"UUID", "\"61f0c404-5cb3-11e7-907b-a6006ad3dba\"", "E376"},
    {"UUID", "\"61f0c404-5cb3-11e7-907b-a6006ad3dba00\"", "E27"},
    {"UUID", "1", "E27"},
    {"IPv4", "\"001.2.3.4\"", "04030201"},
    {"IPv4", "\"256.1.1.1\"", "E675"},
    {"IPv4", "\"1.2.3.4 \"", "E632"},
    {"IPv4", "16909060", "E27"},
    {"IPv6", "\"2001:DB8::1\"", "20010db8000000000000000000000001"},
    {"IPv6", "\"1:2:3:4:5:6:1.2.3.4\"", "00010002000300040005000601020304"},
    {"IPv6", "\"1::2::3\"", "E676"},
    {"IPv6", "\"01.2.3.4\"", "E676"},
    /* dates are lax about the calendar, times are not */
    {"Date", "\"2024-01-02\"", "0c4d"},
    {"Date", "\"2024-1-2\"", "0c4d"},
    {"Date", "\"20240102\"", "0c4d"},
    {"Date", "19724", "0c4d"},
    {"Date", "\"2024-02-30\"", "474d"},
    {"Date", "\"2024-13-01\"", "0000"},
    {"Date", "\"1900-01-01\"", "0000"},
    {"Date", "\"9999-12-31\"", "ffff"},
    {"Date", "\"19724\"", "E38"},
    {"Date", "\"2024-01-02 03:04:05\"", "E27"},
    {"Date32", "\"1899-12-31\"", "219cffff"},
    {"Date32", "\"2300-01-01\"", "d1d60100"},
    {"Date32", "-1", "ffffffff"},
    {"DateTime", "1704164645", "257d9365"},
    {"DateTime", "\"1704164645\"", "257d9365"},
    {"DateTime", "-1", "00000000"},
    {"DateTime", "4294967296", "ffffffff"},
    {"DateTime", "\"2024-01-02T03:04:05Z\"", "257d9365"},
    {"DateTime", "\"2024-01-02T03:04:05.999Z\"", "257d9365"},
    {"DateTime", "\"2024-01-02 05:04:05+02:00\"", "257d9365"},
    {"DateTime", "\"Tue, 02 Jan 2024 03:04:05 GMT\"", "257d9365"},
    {"DateTime", "\"2 Jan 2024 03:04:05 AM\"", "257d9365"},
    {"DateTime", "\"02/01/2024 03:04:05\"", "257d9365"},
    {"DateTime", "\"20240102030405\"", "257d9365"},
    {"DateTime", "\"1969-12-31 23:59:59\"", "00000000"},
    {"DateTime", "\"2200-01-01\"", "ffffffff"},
    {"DateTime", "\"2024-02-30\"", "E41"},
    {"DateTime", "\"\"", "E41"},
    {"DateTime", "\"1704164645.5\"", "E27"},
    {"DateTime", "1.5", "E27"},
    {"DateTime('America/New_York')", "\"2024-03-10 02:30:00\"", "6853ed65"},
    {"DateTime('America/New_York')", "\"2024-11-03 01:30:00\"", "580a2767"},
    {"DateTime64(3)", "\"1704164645.1239\"", "03d920c88c010000"},
    {"DateTime64(3)", "\"1704164645123456\"", "03d920c88c010000"},
    {"DateTime64(3)", "\"1969-12-31 23:59:58.25\"", "2af9ffffffffffff"},
    {"DateTime64(9)", "\"2262-04-11 23:47:16.854775807\"", "ffffffffffffff7f"},
    {"DateTime64(9)", "\"2262-04-11 23:47:16.854775808\"", "E407"},
    /* decimals: digits beyond the scale are cut */
    {"Decimal(7, 2)", "1.999", "c7000000"},
    {"Decimal(7, 2)", "-1.999", "39ffffff"},
    {"Decimal(7, 2)", "\"\"", "00000000"},
    {"Decimal(7, 2)", "1e4", "40420f00"},
    {"Decimal(7, 2)", "1e5", "E69"},
    {"Decimal(7, 2)", "99999.999", "7f969800"},
    {"Decimal(7, 2)", "100000", "E69"},
    {"Decimal(7, 2)", "12345678.9", "E69"},
    {"Decimal(7, 2)", "\"1.2.3\"", "7b000000"},
    {"Decimal(7, 2)", "\"1e+\"", "E72"},
    {"Decimal(7, 2)", "\"abc\"", "E27"},
    {"Decimal(7, 2)", "0e100", "E69"},
    {"Decimal(38, 0)", "-99999999999999999999999999999999999999",
     "01000000c0dd75f6853b79a557b3c4b4"},
    /* null within, and what the place makes of a value that goes on */
    {"Nullable(UInt8)", "null", "0100"},
    {"Nullable(UInt8)", "\"null\"", "E27"},
    {"Array(UInt8)", "null", "0000000000000000"},
    {"Array(UInt8)", "[1,null]", "02000000000000000100"},
    {"Array(UInt8)", "[1.5]", "E130"},
    {"Array(UInt8)", "[\"x\"]", "E27"},
    {"Array(UInt8)", "\"[1]\"", "E130"},
    {"Map(UInt8, UInt8)", "{\"300\":1}", "01000000000000002c01"},
    {"Map(String, UInt8)", "{\"a\":1.5}", "E563"},
    {"Map(String, UInt8)", "[]", "E27"},
    {"Map(String, UInt8)", "{\"a\":1,\"a\":2}", "0200000000000000016101610102"},
    {"Tuple(a UInt8, b UInt8)", "{\"b\":2}", "0002"},
    {"Tuple(a UInt8, b UInt8)", "{\"c\":2}", "0000"},
    {"Tuple(a UInt8, b UInt8)", "{\"a\":1,\"a\":2}", "E117"},
    {"Tuple(a UInt8, b UInt8)", "{\"\\u0061\":1}", "0000"},
    {"Tuple(a UInt8, b UInt8)", "[1,2]", "E27"},
    {"Tuple(UInt8, UInt8)", "[1,2]", "0102"},
    {"Tuple(UInt8, UInt8)", "[1]", "E27"},
};

static void check_line(const struct line *l)
{
    char column[256], record[1024], got[1024];
    struct fixture *f = malloc(sizeof(*f));
    struct buf out;
    buf_init(&out, SIZE_MAX);
    (void)snprintf(column, sizeof(column), "v %s", l->type);
    (void)snprintf(record, sizeof(record), "{\"v\":%s}", l->value);

    int code =
        fixture_init(f, "UTC", (const char *const[]){column, NULL}) ? fixture_add(f, record) : -2;
    if (code != 0) {
        (void)snprintf(got, sizeof(got), "E%d", code);
    } else {
        (void)ch_block_write(f->block, false, &out);
        size_t head = 3 + strlen(l->type);
        (void)hex_of(out.ptr + head, out.len - head, got, sizeof(got));
    }
    char name[512];
    (void)snprintf(name, sizeof(name), "%s: %s", l->type, l->value);
    is_str(got, l->want, name);
    buf_fini(&out);
    fixture_fini(f);
    free(f);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        check_line(&lines[i]);
    return tap_done();
}
