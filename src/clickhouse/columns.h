/* SPDX-License-Identifier: Apache-2.0 */
/* Column encoder: JSON records into a native block (clickhouse-native §6, http-api §7.3).
 *
 * A ch_block is made for one table and one set of columns; rows are added one by one, values
 * coerced exactly as ClickHouse's own JSON reader does with input_format_null_as_default=1 and
 * date_time_input_format=best_effort; then the columns are written out. A row that ClickHouse
 * would refuse is refused with its error number and leaves the block unchanged. Memory is kept
 * between blocks (ch_block_reset). One owner thread. */
#ifndef WH_CLICKHOUSE_COLUMNS_H
#define WH_CLICKHOUSE_COLUMNS_H

#include "base/buf.h"
#include "clickhouse/sink.h"
#include "schema/schema.h"
#include "json/json.h"

struct ch_block;

/* columns: ordinals of the table's columns in this block, ascending, each native and insertable (or
 * EPHEMERAL). The table must stay valid. server_timezone: for zone-less DateTime text in columns
 * without a zone. NULL when memory ran out, a zone is unknown or a type is not native. */
struct ch_block *ch_block_new(const struct schema_table *table, const uint32_t *columns,
                              uint32_t column_count, struct slice server_timezone);
void ch_block_free(struct ch_block *b);
void ch_block_reset(struct ch_block *b);

struct ch_value_error {
    int32_t code; /* ClickHouse's number: 6, 26, 27, 33, 38, 41, 53, 69, 72, 117, 130, 190, … */
    char column[256]; /* whose value */
    char text[512];
};

/* Add one canonical record (an OBJECT). Keys outside the block's columns are an error 117. A column
 * of the block that the record omits, or gives null without being nullable, gets the type's default
 * (DEFAULT expressions are the caller's: it groups rows by columns present and not null, see
 * ch_row_columns). 0, WH_ESYNTAX (data error in *e; the block is as before), -ENOMEM (as before,
 * too). The result depends on nothing but the record, with one exception that is ClickHouse's: a
 * DateTime text without a year ("Mar 3 01:33") is of the current year, or the last one. */
int ch_block_add(struct ch_block *b, const struct json_doc *doc,
                 struct ch_value_error *e) WH_MUST_CHECK;

/* The short way for the usual record, one look at each key: true when its keys are exactly the
 * block's columns, ch_row_columns would name exactly these, and ch_block_add would take it; then it
 * is added, with the same bytes. Otherwise false and the block is as before: the two calls say what
 * is with it. */
bool ch_block_try_add(struct ch_block *b, const struct json_doc *doc) WH_MUST_CHECK;

/* Would a row of this record be taken? As ch_block_add into a block of the columns that
 * ch_row_columns names, but nothing is added, and only what the record has is looked at; keys of
 * insertable columns outside the block are passed over, and a null that asks for a DEFAULT, too.
 * The block has all columns that can be judged and no rows. 0, WH_ESYNTAX (see *e), -ENOMEM. */
int ch_block_check(struct ch_block *b, const struct json_doc *doc,
                   struct ch_value_error *e) WH_MUST_CHECK;
/* Add a record that ch_block_check has taken to such a block. 0 or -ENOMEM. */
int ch_block_add_checked(struct ch_block *b, const struct json_doc *doc) WH_MUST_CHECK;
/* Give back value memory if there is more than keep_bytes of it. The block has no rows. */
void ch_block_trim(struct ch_block *b, size_t keep_bytes);

/* Append the value that this column of the block has in its only row, as JSON in the form of
 * http-api §8.6: integers and decimals with all digits, NaN and infinity as null, times canonical
 * (in arrays, maps and tuples: ClickHouse's text), names of enumerations, maps as objects. 0 or
 * -ENOMEM. */
int ch_block_show(const struct ch_block *b, uint32_t ordinal, struct buf *out) WH_MUST_CHECK;

uint64_t ch_block_rows(const struct ch_block *b);
uint64_t ch_block_bytes(const struct ch_block *b); /* of column data so far */
/* Memory of column data that it holds on to: each column's most, at whatever time that was. */
uint64_t ch_block_held(const struct ch_block *b);

/* Every column (name, type, custom byte when asked, prefix and data); ctx for
 * ch_insert.write_columns is the block itself. 0, -ENOMEM, or what the sink said. */
int ch_block_send(void *block, bool custom_byte, struct ch_sink *sink) WH_MUST_CHECK;
/* The same, appended to out. */
int ch_block_write(void *block, bool custom_byte, struct buf *out);

/* Which columns a record fills: sets bit ordinal in bits (schema column_count bits, words of 64)
 * for each key whose value must travel; a null for a non-nullable column with a default is left
 * out, so that ClickHouse evaluates the DEFAULT. WH_ESYNTAX when a key is no insertable column. */
int ch_row_columns(const struct schema_table *table, const struct json_doc *doc, uint64_t *bits,
                   struct ch_value_error *e) WH_MUST_CHECK;

/* Set the bits of the columns that must be left out of a block whose rows do not fill them: those
 * with a DEFAULT, and the others of a Nested that has one. Of all others the type's default that is
 * sent and a column that is left out are the same. */
void ch_apart_columns(const struct schema_table *table, uint64_t *bits);

#endif
