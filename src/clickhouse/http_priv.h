/* SPDX-License-Identifier: Apache-2.0 */
/* What the two HTTP clients share about TLS (http_tls.c): http_client.c and http_pool.c, the files
 * that know libcurl. */
#ifndef WH_CLICKHOUSE_HTTP_PRIV_H
#define WH_CLICKHOUSE_HTTP_PRIV_H

#include "clickhouse/native.h"

#include <curl/curl.h>

/* "http" or "https". */
const char *ch_http_scheme(const struct ch_options *o);
/* Set h up for TLS as o says; nothing without TLS. o stays valid as long as h is used. detail has
 * CURL_ERROR_SIZE bytes, is h's as long, and gets libcurl's own words on a failure. */
bool ch_http_set_tls(CURL *h, const struct ch_options *o, char *detail) WH_MUST_CHECK;
/* What a failed transfer says to the operator, in cap bytes at out. */
void ch_http_explain(const struct ch_options *o, CURLcode rc, const char *detail, char *out,
                     size_t cap);

#endif
