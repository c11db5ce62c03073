/* SPDX-License-Identifier: Apache-2.0 */
/* TLS towards ClickHouse: which certificates are believed for which host, bytes both ways over
 * sockets that take little, and what is said when the other side is not what it should be. The
 * server is the one of src/http; both sides take turns in one thread. */
#include "clickhouse/tls_client.h"
#include "http/tls.h"

#include "tests/lib/tap.h"
#include "tests/lib/tls_pki.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BULK_BYTES ((size_t)3 << 20)

static struct {
    int fd[2]; /* ours, the server's */
    struct http_tls_context *context;
    struct http_tls *server;
    struct ch_tls *trust;
    struct ch_tls_conn *client;
    struct err e;
} s;

static struct ch_tls *trust_in(const char *ca, bool system, bool skip, struct err *e)
{
    struct ch_tls_options o = {.ca = slice_str(ca),
                               .ca_name = "ca.pem",
                               .ca_is_system = system,
                               .insecure_skip_verify = skip};
    struct ch_tls *x = NULL;
    *e = (struct err){0};
    return ch_tls_new(&x, &o, e) == 0 ? x : NULL;
}

static void open_pair(void)
{
    int small = 8192;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s.fd) != 0)
        exit(99);
    for (int i = 0; i < 2; i++)
        (void)setsockopt(s.fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void begin(const char *host, const char *cert, const char *key, const char *ca, bool skip)
{
    struct http_tls_pem cert_pem = {slice_str(cert), "cert"}, key_pem = {slice_str(key), "key"},
                        none = {{NULL, 0}, ""};
    struct http_tls_material *m = NULL;
    open_pair();
    if (http_tls_material_new(&m, &cert_pem, &key_pem, &none, &s.e) != 0 ||
        http_tls_context_new(&s.context, m, &s.e) != 0) {
        printf("Bail out! %s\n", s.e.text);
        exit(99);
    }
    http_tls_material_unref(m);
    s.server = http_tls_new(s.context, s.fd[1]);
    s.trust = trust_in(ca, false, skip, &s.e);
    s.client = ch_tls_conn_new(s.trust, s.fd[0], host);
    if (s.server == NULL || s.client == NULL)
        exit(99);
}

static void end(void)
{
    ch_tls_conn_free(s.client);
    ch_tls_unref(s.trust);
    http_tls_free(s.server);
    http_tls_context_unref(s.context);
    (void)close(s.fd[0]);
    if (s.fd[1] >= 0)
        (void)close(s.fd[1]);
}

/* Both sides in turn until ours knows. */
static int shake_hands(void)
{
    char byte;
    int rc = WH_EAGAIN;
    s.e = (struct err){0};
    for (int i = 0; i < 1000 && rc == WH_EAGAIN; i++) {
        rc = ch_tls_conn_handshake(s.client, &s.e);
        if (http_tls_recv(s.server, &byte, 1) >= 0 && rc == WH_EAGAIN)
            rc = -EPROTO; /* it came to an end, and ours did not see it */
    }
    return rc;
}

static void accepts(const char *host, const char *cert, const char *key)
{
    begin(host, cert, key, pki_authority, false);
    int rc = shake_hands();
    if (!ok(rc == 0, "%s is believed", host))
        printf("# %d: %s\n", rc, s.e.text);
    end();
}

static void refuses(const char *host, const char *cert, const char *key, const char *ca,
                    const char *want)
{
    begin(host, cert, key, ca, false);
    int rc = shake_hands();
    if (!ok(rc == -EPROTO && strstr(s.e.text, want) != NULL, "%s: %s", host, want))
        printf("# %d: %s\n", rc, s.e.text);
    end();
}

static void test_hosts(void)
{
    accepts("localhost", pki_good, pki_good_key);
    accepts("localhost.", pki_good, pki_good_key);
    accepts("LOCALHOST", pki_good, pki_good_key);
    accepts("one.example.test", pki_good, pki_good_key);
    accepts("127.0.0.1", pki_good, pki_good_key);
    accepts("::1", pki_good, pki_good_key);
    accepts("::1%lo", pki_good, pki_good_key);
    accepts("old.example.test", pki_common, pki_common_key);
    static const char name[] = "is for another name", address[] = "is for another IP address";
    refuses("localhos", pki_good, pki_good_key, pki_authority, name);
    refuses("example.test", pki_good, pki_good_key, pki_authority, name);
    refuses("two.one.example.test", pki_good, pki_good_key, pki_authority, name);
    refuses("unused", pki_good, pki_good_key, pki_authority, name); /* the common name */
    refuses("127.0.0.2", pki_good, pki_good_key, pki_authority, address);
    refuses("::2", pki_good, pki_good_key, pki_authority, address);
    refuses("127.0.0.1", pki_bent, pki_bent_key, pki_authority, address);
    refuses("127.0.0.1", pki_common, pki_common_key, pki_authority, address);
}

static void test_authorities(void)
{
    struct err e;
    char both[4096];
    refuses("localhost", pki_good, pki_good_key, pki_stranger, "not signed by a known authority");
    refuses("127.0.0.1", pki_good, pki_good_key, pki_stranger, "not signed by a known authority");
    refuses("localhost", pki_expired, pki_expired_key, pki_authority, "has expired");
    (void)snprintf(both, sizeof(both), "%s%s", pki_stranger, pki_authority);
    begin("localhost", pki_good, pki_good_key, both, false);
    ok(shake_hands() == 0, "one of several authorities");
    end();
    begin("nowhere", pki_expired, pki_expired_key, pki_stranger, true);
    ok(shake_hands() == 0, "insecure_skip_verify takes any name, time and authority");
    end();
    begin("127.0.0.9", pki_expired, pki_expired_key, pki_stranger, true);
    ok(shake_hands() == 0, "and any address");
    end();

    ok(trust_in("nonsense", false, false, &e) == NULL && e.code == WH_ESYNTAX &&
           strstr(e.text, "ca.pem: no PEM certificate") != NULL,
       "a file without a certificate is refused by name");
    (void)snprintf(both, sizeof(both), "%s%s", pki_authority,
                   "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    ok(trust_in(both, false, false, &e) == NULL && strstr(e.text, "1 of its certificates") != NULL,
       "so is one with a certificate that cannot be read");
    struct ch_tls *system = trust_in(both, true, false, &e);
    ok(system != NULL, "which is passed over in the system's store");
    struct ch_tls *a = trust_in(pki_authority, false, false, &e),
                  *b = trust_in(pki_authority, false, false, &e),
                  *other = trust_in(pki_stranger, false, false, &e),
                  *skips = trust_in(pki_authority, false, true, &e);
    ok(ch_tls_same(a, b) && ch_tls_same(NULL, NULL), "the same bytes are the same");
    ok(!ch_tls_same(a, other) && !ch_tls_same(a, skips) && !ch_tls_same(a, NULL) &&
           !ch_tls_same(NULL, a),
       "another authority, another strictness, and none are not");
    ch_tls_unref(system);
    ch_tls_unref(a);
    ch_tls_unref(b);
    ch_tls_unref(other);
    ch_tls_unref(skips);
}

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

/* BULK_BYTES each way at once, through sockets of a few KiB: writes are cut and repeated. */
static void test_bulk(void)
{
    unsigned char *data = malloc(BULK_BYTES), *piece = malloc(1 << 16);
    size_t sent = 0, got = 0, back_sent = 0, back_got = 0, waits = 0;
    bool good = data != NULL && piece != NULL;
    for (size_t i = 0; good && i < BULK_BYTES; i++)
        data[i] = pattern(i);
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    good = good && shake_hands() == 0;
    for (int i = 0; good && i < 100000 && (got < BULK_BYTES || back_got < BULK_BYTES); i++) {
        int n = sent < BULK_BYTES ? ch_tls_conn_write(s.client, data + sent, BULK_BYTES - sent) : 0;
        waits += n == WH_EAGAIN;
        good = n >= 0 || (n == WH_EAGAIN && (ch_tls_conn_events(s.client) & POLLOUT) != 0);
        sent += n > 0 ? (size_t)n : 0;
        ssize_t r = http_tls_recv(s.server, piece, 1 << 16);
        good = good && (r > 0 ? memcmp(piece, data + got, (size_t)r) == 0 : errno == EAGAIN);
        got += r > 0 ? (size_t)r : 0;
        struct iovec v = {data + back_sent, BULK_BYTES - back_sent};
        r = v.iov_len > 0 ? http_tls_send(s.server, &v, 1) : 0;
        back_sent += r > 0 ? (size_t)r : 0;
        n = ch_tls_conn_read(s.client, piece, 1 << 16);
        good = good && (n > 0 ? memcmp(piece, data + back_got, (size_t)n) == 0 : n == WH_EAGAIN);
        back_got += n > 0 ? (size_t)n : 0;
    }
    ok(good && got == BULK_BYTES && back_got == BULK_BYTES, "3 MiB each way at the same time");
    ok(waits > 10, "with writes that had to wait: %zu", waits);
    ok(!ch_tls_conn_pending(s.client), "nothing is left over");
    end();
    free(data);
    free(piece);
}

static void test_pending(void)
{
    char text[16];
    struct iovec v = {(char[]){"hello"}, 5};
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    ok(shake_hands() == 0 && ch_tls_conn_read(s.client, text, 16) == WH_EAGAIN &&
           ch_tls_conn_events(s.client) == POLLIN && !ch_tls_conn_pending(s.client),
       "an idle connection has nothing pending");
    ok(http_tls_send(s.server, &v, 1) == 5 && ch_tls_conn_read(s.client, text, 2) == 2 &&
           ch_tls_conn_pending(s.client),
       "what is decrypted and not taken is pending");
    ok(ch_tls_conn_read(s.client, text, 16) == 3 && !ch_tls_conn_pending(s.client), "until taken");
    ok(send(s.fd[1], "\x17\x03\x03\x00\x30half", 9, 0) == 9 &&
           ch_tls_conn_read(s.client, text, 16) == WH_EAGAIN && ch_tls_conn_pending(s.client),
       "half a record is pending");
    end();
}

static void test_ends(void)
{
    char text[16];
    struct iovec v = {(char[]){"hello"}, 5};
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    bool up = shake_hands() == 0 && http_tls_send(s.server, &v, 1) == 5;
    http_tls_close_notify(s.server);
    ok(up && ch_tls_conn_read(s.client, text, 16) == 5 &&
           ch_tls_conn_read(s.client, text, 16) == -ECONNRESET,
       "bytes, then an orderly end");
    end();
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    up = shake_hands() == 0;
    (void)close(s.fd[1]);
    s.fd[1] = -1;
    ok(up && ch_tls_conn_read(s.client, text, 16) == -ECONNRESET, "an end without notice");
    ok(ch_tls_conn_write(s.client, text, 16) == -EPIPE, "a write after it");
    end();
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    up = shake_hands() == 0 &&
         send(s.fd[1], "\x17\x03\x03\x00\x20 0123456789abcdef0123456789abcdef", 38, 0) == 38;
    ok(up && ch_tls_conn_read(s.client, text, 16) == -EPROTO, "a forged record");
    end();
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    up = shake_hands() == 0;
    ch_tls_conn_close_notify(s.client);
    ok(up && http_tls_recv(s.server, text, 16) == 0, "we end in order too");
    end();
}

/* A peer that does not speak TLS: bytes, and then perhaps the end. */
static void plain_peer(const char *bytes, size_t len, bool closes, const char *want)
{
    struct err e = {0};
    char skip[4096];
    int rc = WH_EAGAIN;
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    for (int i = 0; i < 3 && rc == WH_EAGAIN; i++) {
        rc = ch_tls_conn_handshake(s.client, &e);
        (void)!read(s.fd[1], skip, sizeof(skip));
        if (i == 0 && len > 0)
            (void)!write(s.fd[1], bytes, len);
        if (i == 0 && closes)
            (void)shutdown(s.fd[1], SHUT_RDWR);
    }
    if (!ok(rc < 0 && rc != WH_EAGAIN && strstr(e.text, want) != NULL, "%s", want))
        printf("# %d: %s\n", rc, e.text);
    end();
}

static void test_plain_peers(void)
{
    plain_peer("HTTP/1.1 400 Bad Request\r\n", 26, false, "does not speak TLS");
    plain_peer("\x02\x65\x01", 3, true, "the server has closed the connection");
    plain_peer("", 0, true, "has closed the connection; does the port speak TLS?");
    plain_peer("\x15\x03\x03\x00\x02\x02\x46", 7, true, "the server refuses");
}

/* Warnings without end, and nothing else: one call must come back to look at its deadline. */
static void test_flood(void)
{
    static char flood[160 * 1024];
    static const char warning[] = "\x15\x03\x03\x00\x02\x01\x5a";
    int room = 1 << 20, left = 0;
    struct err e = {0};
    for (size_t i = 0; i < sizeof(flood); i++)
        flood[i] = warning[i % 7];
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    (void)setsockopt(s.fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    ssize_t n = send(s.fd[1], flood, sizeof(flood), MSG_NOSIGNAL);
    is_u64((uint64_t)n, sizeof(flood), "a flood of warnings in the handshake");
    ok(ch_tls_conn_handshake(s.client, &e) == WH_EAGAIN, "has no end, and no result");
    (void)ioctl(s.fd[0], FIONREAD, &left);
    ok(left > 64 * 1024, "a call takes its share and comes back: %d bytes are left", left);
    end();
}

/* ---- a server that asks for another handshake ---- */

static int server_send(void *ctx, const unsigned char *p, size_t n)
{
    ssize_t sent = send(*(int *)ctx, p, n, MSG_NOSIGNAL);
    return sent > 0 ? (int)sent : MBEDTLS_ERR_SSL_WANT_WRITE;
}

static int server_recv(void *ctx, unsigned char *p, size_t n)
{
    ssize_t got = recv(*(int *)ctx, p, n, 0);
    return got > 0 ? (int)got : MBEDTLS_ERR_SSL_WANT_READ;
}

/* mbedtls would answer, and to do so end the record that is half sent, behind the back of the one
 * who then sends the same bytes again: they would come twice, in the middle of a block. */
static void test_hello_request(void)
{
    static char data[1 << 16];
    char text[16];
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt cert;
    mbedtls_pk_context key;
    mbedtls_ssl_config config;
    mbedtls_ssl_context server;
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_x509_crt_init(&cert);
    mbedtls_pk_init(&key);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&server);
    begin("localhost", pki_good, pki_good_key, pki_authority, false);
    int rc = mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0) |
             mbedtls_x509_crt_parse(&cert, (const unsigned char *)pki_good, strlen(pki_good) + 1) |
             mbedtls_pk_parse_key(&key, (const unsigned char *)pki_good_key,
                                  strlen(pki_good_key) + 1, NULL, 0) |
             mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_SERVER,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) |
             mbedtls_ssl_conf_own_cert(&config, &cert, &key);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    mbedtls_ssl_conf_renegotiation(&config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
    rc |= mbedtls_ssl_setup(&server, &config);
    mbedtls_ssl_set_bio(&server, &s.fd[1], server_send, server_recv, NULL);
    ok(rc == 0, "a server that renegotiates");
    struct err e = {0};
    int ours = WH_EAGAIN, theirs = -1;
    for (int i = 0; i < 1000 && (ours != 0 || theirs != 0); i++) {
        ours = ours != 0 ? ch_tls_conn_handshake(s.client, &e) : 0;
        theirs = theirs != 0 ? mbedtls_ssl_handshake(&server) : 0;
    }
    ok(ours == 0 && theirs == 0, "hands are shaken");
    int n;
    while ((n = ch_tls_conn_write(s.client, data, sizeof(data))) > 0) {
    }
    ok(n == WH_EAGAIN, "a record is half sent");
    ok(mbedtls_ssl_renegotiate(&server) == 0, "then it is asked for another handshake");
    ok(ch_tls_conn_read(s.client, text, sizeof(text)) == -EPROTO, "which ends the connection");
    end();
    mbedtls_ssl_free(&server);
    mbedtls_ssl_config_free(&config);
    mbedtls_pk_free(&key);
    mbedtls_x509_crt_free(&cert);
    mbedtls_ctr_drbg_free(&random);
    mbedtls_entropy_free(&entropy);
}

int main(void)
{
    test_flood();
    test_hello_request();
    test_hosts();
    test_authorities();
    test_bulk();
    test_pending();
    test_ends();
    test_plain_peers();
    return tap_done();
}
