/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP layer alone: answers every request at once with {"ok":true}. For measuring against
 * another server's "return 200".
 * usage: http_bare [PORT]      default 18080, 127.0.0.1; ends on SIGTERM or SIGINT */
#include "http/http.h"

#include <event2/event.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int on_head(void *ctx, struct http_request *r, struct http_admit *admit)
{
    (void)ctx;
    (void)r;
    admit->body_max = 16 << 20;
    return 0;
}

static void on_request(void *ctx, struct http_request *r)
{
    (void)ctx;
    http_reply_json_const(r, SLICE_LIT("{\"ok\":true}"));
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(arg);
}

int main(int argc, char **argv)
{
    struct err e;
    int fd;
    uint16_t port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 18080);
    struct http_server *s;
    const struct http_handler handler = {.on_head = on_head, .on_request = on_request};
    const struct http_options options = {.connections_max = 20000,
                                         .idle_timeout_ms = 60000,
                                         .header_timeout_ms = 10000,
                                         .body_timeout_ms = 30000,
                                         .cors_any = true};
    struct event_config *config = event_config_new();
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    if (http_listen("127.0.0.1", port, &fd, &port, &e) != 0 ||
        http_server_new(&s, base, &(struct http_listener){.fd = fd}, 1, &handler, &options, &e) !=
            0) {
        (void)fprintf(stderr, "http_bare: %s\n", e.text);
        return 1;
    }
    struct event *term = evsignal_new(base, SIGTERM, on_signal, base);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, base);
    (void)event_add(term, NULL);
    (void)event_add(interrupt, NULL);
    printf("listening on 127.0.0.1:%u\n", port);
    (void)fflush(stdout);
    (void)event_base_dispatch(base);
    http_server_free(s);
    event_free(term);
    event_free(interrupt);
    event_base_free(base);
    return 0;
}
