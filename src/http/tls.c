/* SPDX-License-Identifier: Apache-2.0 */
#include "http/tls.h"

#include "base/limits.h"
#include "base/magic.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define TLS_MATERIAL_MAGIC 0x544c534du
#define TLS_CONTEXT_MAGIC  0x544c5343u
#define TLS_MAGIC          0x544c5331u
#define TLS_TICKET_LIFE_S  86400
/* One record's plaintext: what is gathered from several answers before it is encrypted. */
#define TLS_RECORD_BYTES 16384

/* Forward secrecy and authenticated encryption, nothing else; AES before ChaCha20 because this
 * machine class has the instructions. */
static const int ciphersuites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                                   MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                                   MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                                   0};

struct http_tls_material {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct slice certificate, key, client_ca; /* PEM with its final NUL, as mbedtls wants it */
    int64_t ends_s;                           /* seconds since 1970 UTC */
};

struct http_tls_context {
    uint32_t magic;
    uint32_t refs;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt certificate, client_ca;
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets;
    mbedtls_ssl_config config;
    unsigned char record[TLS_RECORD_BYTES]; /* of whichever connection is sending */
};

struct http_tls {
    uint32_t magic;
    int fd;
    bool open;
    bool failed;
    bool wants_write;
    size_t unfinished; /* plain bytes whose record is encrypted and not out yet */
    struct http_tls_context *x;
    mbedtls_ssl_context ssl;
};

/* ---- material ---- */

static int explain(struct err *e, int code, int rc, const char *what, const char *name)
{
    char text[160];
    mbedtls_strerror(rc, text, sizeof(text));
    return err_set(e, code, "%s: %s: %s", name, what, text);
}

static bool pem_copy(struct slice *to, struct slice text)
{
    char *copy = slice_dup(text);
    if (copy == NULL)
        return false;
    *to = (struct slice){copy, text.len + 1};
    return true;
}

static void pem_free(struct slice *s, bool secret)
{
    if (s->ptr == NULL)
        return;
    char *p = (char *)(uintptr_t)s->ptr;
    if (secret)
        mbedtls_platform_zeroize(p, s->len);
    free(p);
    *s = (struct slice){NULL, 0};
}

static const unsigned char *bytes(struct slice s)
{
    return (const unsigned char *)s.ptr;
}

static int parse_certificates(mbedtls_x509_crt *crt, struct slice pem, const char *what,
                              const char *name, struct err *e)
{
    int rc = mbedtls_x509_crt_parse(crt, bytes(pem), pem.len);
    if (rc > 0) /* that many of a bundle could not be read: half a chain is no chain */
        return err_set(e, WH_ESYNTAX, "%s: %d of its certificates cannot be read", name, rc);
    if (rc < 0)
        return explain(e, WH_ESYNTAX, rc, what, name);
    return 0;
}

/* Read everything once, so that what is wrong shows before anything depends on it. */
static int material_check(struct http_tls_material *m, const struct http_tls_pem *certificate,
                          const struct http_tls_pem *key, const struct http_tls_pem *client_ca,
                          struct err *e)
{
    mbedtls_x509_crt crt, ca;
    mbedtls_pk_context pk;
    mbedtls_x509_crt_init(&crt);
    mbedtls_x509_crt_init(&ca);
    mbedtls_pk_init(&pk);
    int rc = parse_certificates(&crt, m->certificate, "no PEM certificate", certificate->name, e);
    if (rc == 0) {
        int r = mbedtls_pk_parse_key(&pk, bytes(m->key), m->key.len, NULL, 0);
        if (r != 0)
            rc = explain(e, WH_ESYNTAX, r, "no PEM private key without a password", key->name);
    }
    if (rc == 0 && mbedtls_pk_check_pair(&crt.pk, &pk) != 0)
        rc = err_set(e, WH_ESYNTAX,
                     "%s: the key does not belong to the first certificate of %s; the server's own "
                     "certificate must come first, its issuers after it",
                     key->name, certificate->name);
    if (rc == 0 && m->client_ca.ptr != NULL)
        rc = parse_certificates(&ca, m->client_ca, "no PEM certificate", client_ca->name, e);
    if (rc == 0) {
        const mbedtls_x509_time *t = &crt.valid_to;
        struct tm tm = {.tm_year = t->year - 1900,
                        .tm_mon = t->mon - 1,
                        .tm_mday = t->day,
                        .tm_hour = t->hour,
                        .tm_min = t->min,
                        .tm_sec = t->sec};
        m->ends_s = (int64_t)timegm(&tm);
    }
    mbedtls_pk_free(&pk);
    mbedtls_x509_crt_free(&ca);
    mbedtls_x509_crt_free(&crt);
    return rc;
}

int http_tls_material_new(struct http_tls_material **out, const struct http_tls_pem *certificate,
                          const struct http_tls_pem *key, const struct http_tls_pem *client_ca,
                          struct err *e)
{
    struct http_tls_material *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return err_set_errno(e, -ENOMEM, "reading %s", certificate->name);
    m->magic = TLS_MATERIAL_MAGIC;
    atomic_init(&m->refs, 1);
    int rc = 0;
    if (!pem_copy(&m->certificate, certificate->text) || !pem_copy(&m->key, key->text) ||
        (client_ca->text.len > 0 && !pem_copy(&m->client_ca, client_ca->text)))
        rc = err_set_errno(e, -ENOMEM, "reading %s", certificate->name);
    if (rc == 0)
        rc = material_check(m, certificate, key, client_ca, e);
    if (rc != 0) {
        http_tls_material_unref(m);
        return rc;
    }
    *out = m;
    return 0;
}

struct http_tls_material *http_tls_material_ref(struct http_tls_material *m)
{
    CHECK_MAGIC(m, TLS_MATERIAL_MAGIC);
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void http_tls_material_unref(struct http_tls_material *m)
{
    if (m == NULL)
        return;
    CHECK_MAGIC(m, TLS_MATERIAL_MAGIC);
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    pem_free(&m->certificate, false);
    pem_free(&m->key, true);
    pem_free(&m->client_ca, false);
    m->magic = 0;
    free(m);
}

bool http_tls_material_same(const struct http_tls_material *a, const struct http_tls_material *b)
{
    return slice_eq(a->certificate, b->certificate) && slice_eq(a->key, b->key) &&
           slice_eq(a->client_ca, b->client_ca);
}

void http_tls_material_end(const struct http_tls_material *m, int64_t now_s, char text[24],
                           int64_t *days)
{
    time_t at = (time_t)m->ends_s;
    struct tm tm;
    if (gmtime_r(&at, &tm) == NULL || strftime(text, 24, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        text[0] = '\0';
    int64_t left = m->ends_s - now_s;
    *days = left >= 0 ? left / 86400 : -((-left + 86399) / 86400);
}

/* ---- context ---- */

int http_tls_context_new(struct http_tls_context **out, struct http_tls_material *m, struct err *e)
{
    struct http_tls_context *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return err_set_errno(e, -ENOMEM, "preparing TLS");
    x->magic = TLS_CONTEXT_MAGIC;
    x->refs = 1;
    mbedtls_entropy_init(&x->entropy);
    mbedtls_ctr_drbg_init(&x->random);
    mbedtls_x509_crt_init(&x->certificate);
    mbedtls_x509_crt_init(&x->client_ca);
    mbedtls_pk_init(&x->key);
    mbedtls_ssl_ticket_init(&x->tickets);
    mbedtls_ssl_config_init(&x->config);

    int rc = mbedtls_ctr_drbg_seed(&x->random, mbedtls_entropy_func, &x->entropy, NULL, 0);
    if (rc == 0)
        rc = mbedtls_x509_crt_parse(&x->certificate, bytes(m->certificate), m->certificate.len);
    if (rc == 0)
        rc = mbedtls_pk_parse_key(&x->key, bytes(m->key), m->key.len, NULL, 0);
    if (rc == 0 && m->client_ca.ptr != NULL)
        rc = mbedtls_x509_crt_parse(&x->client_ca, bytes(m->client_ca), m->client_ca.len);
    if (rc == 0)
        rc = mbedtls_ssl_config_defaults(&x->config, MBEDTLS_SSL_IS_SERVER,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc == 0)
        rc = mbedtls_ssl_ticket_setup(&x->tickets, mbedtls_ctr_drbg_random, &x->random,
                                      MBEDTLS_CIPHER_AES_256_GCM, TLS_TICKET_LIFE_S);
    if (rc == 0)
        rc = mbedtls_ssl_conf_own_cert(&x->config, &x->certificate, &x->key);
    if (rc != 0) {
        rc = explain(e, WH_ESYNTAX, rc, "preparing TLS", "server.tls");
        http_tls_context_unref(x);
        return rc;
    }
    mbedtls_ssl_conf_rng(&x->config, mbedtls_ctr_drbg_random, &x->random);
    mbedtls_ssl_conf_min_version(&x->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3); /* TLS 1.2 */
    mbedtls_ssl_conf_ciphersuites(&x->config, ciphersuites);
    mbedtls_ssl_conf_renegotiation(&x->config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_session_tickets_cb(&x->config, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &x->tickets);
    if (m->client_ca.ptr != NULL) {
        mbedtls_ssl_conf_ca_chain(&x->config, &x->client_ca, NULL);
        mbedtls_ssl_conf_authmode(&x->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    }
    *out = x;
    return 0;
}

struct http_tls_context *http_tls_context_ref(struct http_tls_context *x)
{
    CHECK_MAGIC(x, TLS_CONTEXT_MAGIC);
    x->refs++;
    return x;
}

void http_tls_context_unref(struct http_tls_context *x)
{
    if (x == NULL)
        return;
    CHECK_MAGIC(x, TLS_CONTEXT_MAGIC);
    must(x->refs > 0);
    if (--x->refs > 0)
        return;
    mbedtls_ssl_config_free(&x->config);
    mbedtls_ssl_ticket_free(&x->tickets);
    mbedtls_pk_free(&x->key);
    mbedtls_x509_crt_free(&x->client_ca);
    mbedtls_x509_crt_free(&x->certificate);
    mbedtls_ctr_drbg_free(&x->random);
    mbedtls_entropy_free(&x->entropy);
    mbedtls_platform_zeroize(x->record, sizeof(x->record));
    x->magic = 0;
    free(x);
}

/* ---- one connection ---- */

static int net_result(ssize_t n, int want)
{
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EINTR)
        return want;
    return MBEDTLS_ERR_SSL_INTERNAL_ERROR; /* the socket is gone: any error ends the connection */
}

static int net_send(void *ctx, const unsigned char *p, size_t n)
{
    struct http_tls *t = ctx;
    return net_result(send(t->fd, p, n, MSG_NOSIGNAL), MBEDTLS_ERR_SSL_WANT_WRITE);
}

static int net_recv(void *ctx, unsigned char *p, size_t n)
{
    struct http_tls *t = ctx;
    return net_result(recv(t->fd, p, n, 0), MBEDTLS_ERR_SSL_WANT_READ);
}

struct http_tls *http_tls_new(struct http_tls_context *x, int fd)
{
    struct http_tls *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->magic = TLS_MAGIC;
    t->fd = fd;
    t->x = http_tls_context_ref(x);
    mbedtls_ssl_init(&t->ssl);
    if (mbedtls_ssl_setup(&t->ssl, &x->config) != 0) {
        http_tls_free(t);
        return NULL;
    }
    mbedtls_ssl_set_bio(&t->ssl, t, net_send, net_recv, NULL);
    return t;
}

void http_tls_free(struct http_tls *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TLS_MAGIC);
    mbedtls_ssl_free(&t->ssl);
    http_tls_context_unref(t->x);
    t->magic = 0;
    free(t);
}

bool http_tls_is_open(const struct http_tls *t)
{
    return t->open;
}

static ssize_t fail(struct http_tls *t)
{
    t->failed = true;
    errno = EPROTO;
    return -1;
}

static ssize_t again(struct http_tls *t, int rc)
{
    t->wants_write = rc == MBEDTLS_ERR_SSL_WANT_WRITE;
    errno = EAGAIN;
    return -1;
}

static bool is_want(int rc)
{
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

ssize_t http_tls_recv(struct http_tls *t, void *at, size_t room)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    if (t->failed)
        return fail(t);
    t->wants_write = false;
    if (!t->open) {
        int rc = mbedtls_ssl_handshake(&t->ssl);
        if (is_want(rc))
            return again(t, rc);
        if (rc != 0)
            return fail(t);
        t->open = true;
    }
    int n = mbedtls_ssl_read(&t->ssl, at, room);
    if (is_want(n))
        return again(t, n);
    /* An end without close_notify is an end all the same: HTTP frames its own messages. */
    if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || n == MBEDTLS_ERR_SSL_CONN_EOF || n == 0)
        return 0;
    return n < 0 ? fail(t) : n;
}

/* Up to a record's worth from the front of iov. */
static size_t gather(struct http_tls *t, const struct iovec *iov, size_t count, size_t want)
{
    size_t n = 0;
    for (size_t i = 0; i < count && n < want; i++) {
        size_t part = iov[i].iov_len < want - n ? iov[i].iov_len : want - n;
        memcpy(t->x->record + n, iov[i].iov_base, part);
        n += part;
    }
    return n;
}

ssize_t http_tls_send(struct http_tls *t, const struct iovec *iov, size_t count)
{
    CHECK_MAGIC(t, TLS_MAGIC);
    if (t->failed)
        return fail(t);
    if (!t->open) {
        errno = EAGAIN;
        return -1;
    }
    /* A record that is encrypted must leave before the next is made, and mbedtls wants to be called
     * with the very bytes again. */
    size_t want = t->unfinished > 0 ? t->unfinished : TLS_RECORD_BYTES;
    size_t n = gather(t, iov, count, want);
    must(t->unfinished == 0 || n == t->unfinished);
    int rc = mbedtls_ssl_write(&t->ssl, t->x->record, n);
    if (is_want(rc)) {
        t->unfinished = n;
        errno = EAGAIN;
        return -1;
    }
    if (rc < 0)
        return fail(t);
    t->unfinished = 0;
    return rc;
}

bool http_tls_pending(const struct http_tls *t)
{
    return t->open && !t->failed && mbedtls_ssl_check_pending(&t->ssl) != 0;
}

bool http_tls_wants_write(const struct http_tls *t)
{
    return t->wants_write;
}

void http_tls_close_notify(struct http_tls *t)
{
    if (t->open && !t->failed && t->unfinished == 0)
        (void)mbedtls_ssl_close_notify(
            &t->ssl); /* a full socket drops it: the FIN follows anyway */
}

bool http_tls_is_plain(unsigned char first)
{
    return first >= 'A' && first <= 'Z'; /* of a method; a TLS record begins with 20 to 23 */
}
