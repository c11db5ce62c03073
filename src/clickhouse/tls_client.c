/* SPDX-License-Identifier: Apache-2.0 */
#include "clickhouse/tls_client.h"

#include "base/magic.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/pem.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CH_TLS_MAGIC      0x63685473u
#define CH_TLS_CONN_MAGIC 0x63685463u
#define RECORD_BYTES      ((size_t)16384) /* the most plaintext of one record */
#define HOST_BYTES_MAX    256
/* Taken from the socket in one call, many records' worth. mbedtls reads on by itself over warnings,
 * and whoever sends nothing else would keep it for ever, past every deadline. */
#define CALL_BYTES_MAX ((size_t)64 << 10)

/* Forward secrecy and authenticated encryption, nothing else. */
static const int ciphersuites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                                   MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                                   MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                                   MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                                   0};

struct ch_tls {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct ch_tls_options options; /* points to the two copies */
    char *ca, *ca_name;
    /* Held during a step of a handshake: verifying with a key writes what mbedtls computes once
     * into that key, and the keys of the authorities are shared. A step computes and never waits;
     * connections stay open, so handshakes are few. */
    pthread_mutex_t lock;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt authorities;
    mbedtls_ssl_config config;
};

struct ch_tls_conn {
    uint32_t magic;
    int fd;
    int error;         /* errno of the socket; 0: none */
    short events;      /* to poll for after WH_EAGAIN */
    bool partial;      /* bytes of a record have come, and not yet its end */
    bool reading;      /* see on_send */
    size_t may_take;   /* of CALL_BYTES_MAX, in this call */
    size_t unfinished; /* plain bytes whose record is encrypted and not out yet */
    char host[HOST_BYTES_MAX];
    unsigned char address[sizeof(struct in6_addr)]; /* of a host that is one */
    size_t address_len;                             /* 4, 16; 0: the host is a name */
    struct ch_tls *x;
    mbedtls_ssl_context ssl;
};

/* ---- whom to believe ---- */

static int parse_authorities(struct ch_tls *x, struct err *e)
{
    const struct ch_tls_options *o = &x->options;
    char text[160];
    /* Binary (DER) would do for mbedtls, but not for libcurl. */
    if (strstr(x->ca, "-----BEGIN CERTIFICATE-----") == NULL)
        return err_set(e, WH_ESYNTAX, "%s: no PEM certificate in it", x->ca_name);
    /* PEM is handed over with its final NUL */
    int rc = mbedtls_x509_crt_parse(&x->authorities, (const unsigned char *)x->ca, o->ca.len + 1);
    if (rc == MBEDTLS_ERR_X509_ALLOC_FAILED || rc == MBEDTLS_ERR_PEM_ALLOC_FAILED)
        return err_set_errno(e, -ENOMEM, "reading %s", x->ca_name);
    if (rc > 0 && !o->ca_is_system)
        return err_set(e, WH_ESYNTAX, "%s: %d of its certificates cannot be read", x->ca_name, rc);
    if (rc >= 0)
        return 0;
    mbedtls_strerror(rc, text, sizeof(text));
    return err_set(e, WH_ESYNTAX, "%s: no PEM certificate: %s", x->ca_name, text);
}

static int configure(struct ch_tls *x, struct err *e)
{
    char text[160];
    int rc = mbedtls_ctr_drbg_seed(&x->random, mbedtls_entropy_func, &x->entropy, NULL, 0);
    if (rc == 0)
        rc = mbedtls_ssl_config_defaults(&x->config, MBEDTLS_SSL_IS_CLIENT,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc != 0) {
        mbedtls_strerror(rc, text, sizeof(text));
        return err_set(e, -ENOMEM, "preparing TLS towards ClickHouse: %s", text);
    }
    mbedtls_ssl_conf_rng(&x->config, mbedtls_ctr_drbg_random, &x->random);
    mbedtls_ssl_conf_min_version(&x->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3); /* TLS 1.2 */
    mbedtls_ssl_conf_ciphersuites(&x->config, ciphersuites);
    mbedtls_ssl_conf_renegotiation(&x->config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
    mbedtls_ssl_conf_session_tickets(&x->config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
    mbedtls_ssl_conf_ca_chain(&x->config, &x->authorities, NULL);
    mbedtls_ssl_conf_authmode(&x->config, x->options.insecure_skip_verify
                                              ? MBEDTLS_SSL_VERIFY_NONE
                                              : MBEDTLS_SSL_VERIFY_REQUIRED);
    return 0;
}

int ch_tls_new(struct ch_tls **out, const struct ch_tls_options *o, struct err *e)
{
    struct ch_tls *x = calloc(1, sizeof(*x));
    must(o->ca.len > 0 || o->insecure_skip_verify);
    if (x == NULL)
        return err_set_errno(e, -ENOMEM, "preparing TLS towards ClickHouse");
    x->magic = CH_TLS_MAGIC;
    atomic_init(&x->refs, 1);
    (void)pthread_mutex_init(&x->lock, NULL);
    mbedtls_entropy_init(&x->entropy);
    mbedtls_ctr_drbg_init(&x->random);
    mbedtls_x509_crt_init(&x->authorities);
    mbedtls_ssl_config_init(&x->config);
    x->options = *o;
    x->ca = slice_dup(o->ca);
    x->ca_name = strdup(o->ca_name != NULL ? o->ca_name : "");
    x->options.ca.ptr = x->ca;
    x->options.ca_name = x->ca_name;
    int rc = x->ca != NULL && x->ca_name != NULL
                 ? 0
                 : err_set_errno(e, -ENOMEM, "preparing TLS towards ClickHouse");
    if (rc == 0 && o->ca.len > 0)
        rc = parse_authorities(x, e);
    if (rc == 0)
        rc = configure(x, e);
    if (rc != 0) {
        ch_tls_unref(x);
        return rc;
    }
    *out = x;
    return 0;
}

struct ch_tls *ch_tls_ref(struct ch_tls *x)
{
    CHECK_MAGIC(x, CH_TLS_MAGIC);
    must(atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed) > 0);
    return x;
}

void ch_tls_unref(struct ch_tls *x)
{
    if (x == NULL)
        return;
    CHECK_MAGIC(x, CH_TLS_MAGIC);
    if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    mbedtls_ssl_config_free(&x->config);
    mbedtls_x509_crt_free(&x->authorities);
    mbedtls_ctr_drbg_free(&x->random);
    mbedtls_entropy_free(&x->entropy);
    (void)pthread_mutex_destroy(&x->lock);
    free(x->ca);
    free(x->ca_name);
    x->magic = 0;
    free(x);
}

bool ch_tls_same(const struct ch_tls *a, const struct ch_tls *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->options.insecure_skip_verify == b->options.insecure_skip_verify &&
           a->options.ca_is_system == b->options.ca_is_system &&
           slice_eq(a->options.ca, b->options.ca);
}

const struct ch_tls_options *ch_tls_options(const struct ch_tls *x)
{
    CHECK_MAGIC(x, CH_TLS_MAGIC);
    return &x->options;
}

/* ---- the socket, as mbedtls sees it ---- */

static int socket_failed(struct ch_tls_conn *t, int want)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return want;
    t->error = errno;
    return MBEDTLS_ERR_SSL_INTERNAL_ERROR; /* whatever: t->error is looked at first */
}

/* A reader of ours has nothing to say. mbedtls answers a HelloRequest, which asks for what we do
 * not do (renegotiation), by an alert; with a record of ours half sent it would end that one
 * instead, and we, who know nothing of it, would send the same bytes again. */
static int on_send(void *ctx, const unsigned char *p, size_t n)
{
    struct ch_tls_conn *t = ctx;
    if (t->reading) {
        t->error = EPROTO;
        return MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    }
    ssize_t sent = send(t->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent >= 0 ? (int)sent : socket_failed(t, MBEDTLS_ERR_SSL_WANT_WRITE);
}

static int on_recv(void *ctx, unsigned char *p, size_t n)
{
    struct ch_tls_conn *t = ctx;
    if (t->may_take == 0)
        return MBEDTLS_ERR_SSL_WANT_READ; /* poll says at once that there is more */
    ssize_t got = recv(t->fd, p, n < t->may_take ? n : t->may_take, MSG_DONTWAIT);
    t->partial = t->partial || got > 0;
    t->may_take -= got > 0 ? (size_t)got : 0;
    return got >= 0 ? (int)got : socket_failed(t, MBEDTLS_ERR_SSL_WANT_READ);
}

/* ---- one connection ---- */

/* mbedtls 2.28 compares a host with DNS names only, where a wildcard or a common name would do for
 * an address as well. Addresses are compared here, with addresses. */
static int check_address(void *ctx, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    const struct ch_tls_conn *t = ctx;
    if (depth != 0)
        return 0;
    for (const mbedtls_x509_sequence *s = &crt->subject_alt_names; s != NULL; s = s->next)
        if ((s->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == MBEDTLS_X509_SAN_IP_ADDRESS &&
            s->buf.len == t->address_len && memcmp(s->buf.p, t->address, t->address_len) == 0)
            return 0;
    *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

/* The name as it is in certificates: without the dot at the end that makes it absolute, and an
 * address without its zone. */
static void take_host(struct ch_tls_conn *t, const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    (void)snprintf(t->host, sizeof(t->host), "%s", host);
    size_t n = strlen(t->host);
    if (n > 1 && t->host[n - 1] == '.')
        t->host[n - 1] = '\0';
    if (strchr(t->host, ':') != NULL)
        t->host[strcspn(t->host, "%")] = '\0';
    if (inet_pton(AF_INET, t->host, &v4) == 1) {
        t->address_len = sizeof(v4);
        memcpy(t->address, &v4, sizeof(v4));
    } else if (inet_pton(AF_INET6, t->host, &v6) == 1) {
        t->address_len = sizeof(v6);
        memcpy(t->address, &v6, sizeof(v6));
    }
}

struct ch_tls_conn *ch_tls_conn_new(struct ch_tls *x, int fd, const char *host)
{
    struct ch_tls_conn *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->magic = CH_TLS_CONN_MAGIC;
    t->fd = fd;
    t->x = ch_tls_ref(x);
    take_host(t, host);
    mbedtls_ssl_init(&t->ssl);
    /* An address is no server name (RFC 6066); NULL says that this is meant. */
    if (mbedtls_ssl_setup(&t->ssl, &x->config) != 0 ||
        mbedtls_ssl_set_hostname(&t->ssl, t->address_len > 0 ? NULL : t->host) != 0) {
        ch_tls_conn_free(t);
        return NULL;
    }
    if (t->address_len > 0)
        mbedtls_ssl_set_verify(&t->ssl, check_address, t);
    mbedtls_ssl_set_bio(&t->ssl, t, on_send, on_recv, NULL);
    return t;
}

void ch_tls_conn_free(struct ch_tls_conn *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    mbedtls_ssl_free(&t->ssl);
    ch_tls_unref(t->x);
    t->magic = 0;
    free(t);
}

/* 0 when rc is no reason to wait. */
static int wants(struct ch_tls_conn *t, int rc)
{
    if (rc != MBEDTLS_ERR_SSL_WANT_READ && rc != MBEDTLS_ERR_SSL_WANT_WRITE)
        return 0;
    t->events = rc == MBEDTLS_ERR_SSL_WANT_READ ? POLLIN : POLLOUT;
    return WH_EAGAIN;
}

static int failure(const struct ch_tls_conn *t, int rc)
{
    if (t->error != 0)
        return -t->error;
    return rc == 0 || rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY
               ? -ECONNRESET
           : rc == MBEDTLS_ERR_SSL_ALLOC_FAILED ? -ENOMEM
                                                : -EPROTO;
}

static int explain_certificate(const struct ch_tls_conn *t, struct err *e)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&t->ssl);
    char text[256];
    if (flags == UINT32_MAX) /* it was not even compared */
        return err_set(e, -EPROTO, "the certificate cannot be read");
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0)
        return err_set(e, -EPROTO, "the certificate has expired, or one of its issuers'");
    if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0)
        return err_set(e, -EPROTO, "the certificate is not valid yet, or one of its issuers'");
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0)
        return err_set(e, -EPROTO,
                       "the certificate is not signed by a known authority (clickhouse.tls.ca)");
    if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0)
        return err_set(e, -EPROTO, "the certificate is for another %s (subjectAltName) than %s",
                       t->address_len > 0 ? "IP address" : "name", t->host);
    if (mbedtls_x509_crt_verify_info(text, sizeof(text), "", flags) <= 0)
        return err_set(e, -EPROTO, "the certificate is refused");
    text[strcspn(text, "\n")] = '\0';
    return err_set(e, -EPROTO, "the certificate is refused: %s", text);
}

static int explain(const struct ch_tls_conn *t, int rc, struct err *e)
{
    static const char usual[] = "(clickhouse.addr; usually 9440)";
    char text[160];
    if (t->error != 0)
        return err_set(e, -t->error, "%s", err_text(-t->error));
    switch (rc) {
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
        return explain_certificate(t, e);
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
        return err_set(e, -EPROTO, "the port does not speak TLS: name the one that does %s", usual);
    case MBEDTLS_ERR_SSL_CONN_EOF:
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
    case 0:
        return err_set(e, -ECONNRESET,
                       "the server has closed the connection; does the port speak TLS? %s", usual);
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return err_set(e, -EPROTO,
                       "the server refuses; if it asks for TLS 1.3 or for a client certificate: "
                       "neither is supported");
    case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION:
        return err_set(e, -EPROTO, "the server does not speak TLS 1.2");
    default:
        mbedtls_strerror(rc, text, sizeof(text));
        return err_set(e, failure(t, rc), "%s", text);
    }
}

int ch_tls_conn_handshake(struct ch_tls_conn *t, struct err *e)
{
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    t->may_take = CALL_BYTES_MAX;
    (void)pthread_mutex_lock(&t->x->lock);
    int rc = mbedtls_ssl_handshake(&t->ssl);
    (void)pthread_mutex_unlock(&t->x->lock);
    if (wants(t, rc) != 0)
        return WH_EAGAIN;
    if (rc != 0)
        return explain(t, rc, e);
    t->partial = false;
    return 0;
}

int ch_tls_conn_read(struct ch_tls_conn *t, void *at, size_t room)
{
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    t->may_take = CALL_BYTES_MAX;
    t->reading = true;
    int n = mbedtls_ssl_read(&t->ssl, at, room);
    t->reading = false;
    if (wants(t, n) != 0)
        return WH_EAGAIN;
    if (n <= 0)
        return failure(t, n);
    t->partial = false; /* mbedtls takes one record at a time from the socket */
    return n;
}

int ch_tls_conn_write(struct ch_tls_conn *t, const void *data, size_t len)
{
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    /* A record that is encrypted must leave before the next is made, and mbedtls wants to be called
     * with the very bytes again. */
    must(len > 0 && len >= t->unfinished);
    size_t n = t->unfinished > 0 ? t->unfinished : len < RECORD_BYTES ? len : RECORD_BYTES;
    int rc = mbedtls_ssl_write(&t->ssl, data, n);
    t->unfinished = wants(t, rc) != 0 ? n : 0;
    if (t->unfinished > 0)
        return WH_EAGAIN;
    return rc > 0 ? rc : failure(t, rc);
}

short ch_tls_conn_events(const struct ch_tls_conn *t)
{
    return t->events;
}

bool ch_tls_conn_pending(const struct ch_tls_conn *t)
{
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    return t->partial || mbedtls_ssl_check_pending(&t->ssl) != 0;
}

void ch_tls_conn_close_notify(struct ch_tls_conn *t)
{
    CHECK_MAGIC(t, CH_TLS_CONN_MAGIC);
    if (t->unfinished == 0 && t->error == 0)
        (void)mbedtls_ssl_close_notify(&t->ssl); /* a full socket drops it: the FIN follows */
}
