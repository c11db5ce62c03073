/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/http_priv.h"
#include "clickhouse/tls_client.h"

#include <stdio.h>

const char *ch_http_scheme(const struct ch_options *o)
{
    return o->tls != NULL ? "https" : "http";
}

/* How long what libcurl keeps of the system's store by its path may be behind the file. */
#define SYSTEM_CA_SECONDS 60L

/* libcurl parses the store once for many connections, and keeps connections and sessions of it: all
 * of that ends after a minute, so that a reload is followed. */
static bool set_system_authorities(CURL *h, const char *path)
{
#if LIBCURL_VERSION_NUM >= 0x075700
    if (curl_easy_setopt(h, CURLOPT_CA_CACHE_TIMEOUT, SYSTEM_CA_SECONDS) != CURLE_OK)
        return false;
#endif
    return curl_easy_setopt(h, CURLOPT_CAINFO, path) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_MAXLIFETIME_CONN, SYSTEM_CA_SECONDS) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK;
}

/* A file of the operator's own is given as it was when it was checked, so that what is put in its
 * place counts from a reload on, as for the native connections, and not when it happens to be
 * broken. The system's store is large: libcurl reads it by itself, and once for many connections,
 * which it does only without a folder beside the file. */
static bool set_authorities(CURL *h, const struct ch_tls_options *o)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)o->ca.ptr,
                             .len = o->ca.len,
                             .flags = CURL_BLOB_NOCOPY};
    if (o->insecure_skip_verify)
        return curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L) == CURLE_OK &&
               curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L) == CURLE_OK;
    return curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_CAPATH, NULL) == CURLE_OK &&
           (o->ca_is_system ? set_system_authorities(h, o->ca_name)
                            : curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK);
}

bool ch_http_set_tls(CURL *h, const struct ch_options *o, char *detail)
{
    detail[0] = '\0';
    if (o->tls == NULL)
        return true;
    return curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           set_authorities(h, ch_tls_options(o->tls));
}

void ch_http_explain(const struct ch_options *o, CURLcode rc, const char *detail, char *out,
                     size_t cap)
{
    const char *words = detail[0] != '\0' ? detail : curl_easy_strerror(rc);
    if (o->tls == NULL && (rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_WEIRD_SERVER_REPLY))
        (void)snprintf(out, cap,
                       "the answer is not HTTP; if the port speaks HTTPS, set "
                       "clickhouse.tls.enabled, or name the plain one in clickhouse.http_port");
    else if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE)
        (void)snprintf(out, cap, "TLS handshake: %s (see clickhouse.tls.ca and clickhouse.addr)",
                       words);
    else if (rc == CURLE_SSL_CONNECT_ERROR)
        (void)snprintf(out, cap,
                       "TLS handshake: %s; does the port speak HTTPS? (clickhouse.http_port; "
                       "usually 8443)",
                       words);
    else
        (void)snprintf(out, cap, "%s", o->tls != NULL ? words : curl_easy_strerror(rc));
}
