/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that may be written in YAML or JSON (policies), for readers of JSON.
 *
 * YAML 1.2 (core schema): true and false are booleans, yes, no, on and off are texts, 0o17 and 0x1f
 * are numbers, and whatever stands in quotes is a text. What would be read in two ways, or is lost
 * in JSON, is refused: repeated keys, merge keys (<<), tags, numbers with leading zeros (octal to
 * YAML 1.1), .inf and .nan, keys that are no scalars, a second document. Anchors and aliases are
 * followed, within the bound of the result. Pure; any thread. */
#ifndef WH_CONFIG_YAML_JSON_H
#define WH_CONFIG_YAML_JSON_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

/* Append text as JSON to out. WH_ESYNTAX: e is "LINE:COLUMN: cause"; WH_ELIMIT: the result is over
 * max bytes, or nested too deep; -ENOMEM. */
int config_yaml_to_json(struct slice text, size_t max, struct buf *out,
                        struct err *e) WH_MUST_CHECK;

/* By the name's end (.yaml, .yml, .json); any other: by the first character, { or [ is JSON. */
bool config_is_yaml(const char *file, struct slice text);

#endif
