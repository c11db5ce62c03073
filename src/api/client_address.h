/* SPDX-License-Identifier: Apache-2.0 */
/* Who sent a request, seen through proxies (server.trusted_proxies). A name in X-Forwarded-For
 * counts only as far as the proxies that wrote it are trusted:
 *
 *   X-Forwarded-For: whatever, 203.0.113.9, 10.0.0.7      peer 10.0.0.8, trusted 10.0.0.0/8
 *                              ▲ the client: the last that is no proxy of ours */
#ifndef WH_API_CLIENT_ADDRESS_H
#define WH_API_CLIENT_ADDRESS_H

#include "http/http.h"

struct client_network {
    uint8_t address[16]; /* IPv4 as mapped into IPv6 */
    uint8_t bits;
};
struct client_networks {
    struct client_network *list;
    uint32_t count;
};

#define CLIENT_ADDRESS_CAP 64

/* Replace the list by "10.0.0.0/8", "::1" …; others are left out. Without memory it is empty. */
void client_networks_set(struct client_networks *n, const char *const *texts, uint32_t count);
void client_networks_free(struct client_networks *n);

/* The address, without a port, in out or in the request. */
struct slice client_address(const struct client_networks *trusted, const struct http_request *r,
                            char out[CLIENT_ADDRESS_CAP]);

#endif
