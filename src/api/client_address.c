/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static bool parse_address(struct slice s, uint8_t out[16])
{
    char text[INET6_ADDRSTRLEN + 1];
    if (s.len == 0 || s.len >= sizeof(text))
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    return inet_pton(AF_INET, text, out + 12) == 1;
}

/* "192.0.2.7:80", "[::1]:80", "::1", "[::1]", "192.0.2.7" */
static struct slice without_port(struct slice s)
{
    if (s.len > 0 && s.ptr[0] == '[') {
        const char *end = memchr(s.ptr, ']', s.len);
        return end != NULL ? (struct slice){s.ptr + 1, (size_t)(end - s.ptr - 1)} : s;
    }
    const char *colon = s.len > 0 ? memchr(s.ptr, ':', s.len) : NULL;
    if (colon == NULL || memchr(colon + 1, ':', (size_t)(s.ptr + s.len - colon - 1)) != NULL)
        return s;
    return (struct slice){s.ptr, (size_t)(colon - s.ptr)};
}

static bool parse_network(const char *text, struct client_network *out)
{
    const char *slash = strchr(text, '/');
    struct slice address = {text, slash != NULL ? (size_t)(slash - text) : strlen(text)};
    if (!parse_address(address, out->address))
        return false;
    bool v4 = memchr(address.ptr, ':', address.len) == NULL;
    unsigned long bits = slash != NULL ? strtoul(slash + 1, NULL, 10) : v4 ? 32 : 128;
    if (bits > (v4 ? 32u : 128u))
        return false;
    out->bits = (uint8_t)(v4 ? 96 + bits : bits);
    return true;
}

void client_networks_set(struct client_networks *n, const char *const *texts, uint32_t count)
{
    client_networks_free(n);
    if (count == 0)
        return;
    n->list = calloc(count, sizeof(*n->list));
    for (uint32_t i = 0; n->list != NULL && i < count; i++)
        if (parse_network(texts[i], &n->list[n->count]))
            n->count++;
}

void client_networks_free(struct client_networks *n)
{
    free(n->list);
    *n = (struct client_networks){NULL, 0};
}

static bool is_within(const struct client_network *n, const uint8_t address[16])
{
    uint32_t bytes = n->bits / 8, rest = n->bits % 8;
    if (memcmp(n->address, address, bytes) != 0)
        return false;
    return rest == 0 || ((n->address[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

static bool is_trusted(const struct client_networks *n, const uint8_t address[16])
{
    for (uint32_t i = 0; i < n->count; i++)
        if (is_within(&n->list[i], address))
            return true;
    return false;
}

/* Take the last element of a list with commas off *list. */
static struct slice take_last(struct slice *list)
{
    const char *comma = list->len > 0 ? memrchr(list->ptr, ',', list->len) : NULL;
    struct slice last = *list;
    if (comma != NULL) {
        last = (struct slice){comma + 1, (size_t)(list->ptr + list->len - comma - 1)};
        list->len = (size_t)(comma - list->ptr);
    } else {
        list->len = 0;
    }
    while (last.len > 0 && (last.ptr[0] == ' ' || last.ptr[0] == '\t'))
        last = (struct slice){last.ptr + 1, last.len - 1};
    while (last.len > 0 && (last.ptr[last.len - 1] == ' ' || last.ptr[last.len - 1] == '\t'))
        last.len--;
    return last;
}

struct slice client_address(const struct client_networks *trusted, const struct http_request *r,
                            char out[CLIENT_ADDRESS_CAP])
{
    struct slice client = without_port(r->peer);
    uint8_t address[16];
    if (trusted->count == 0 || !parse_address(client, address))
        return client;
    /* Several fields are one list (RFC 9110 §5.3): from the last of the last to the first. */
    for (uint32_t i = r->field_count; i > 0 && is_trusted(trusted, address); i--) {
        if (!http_field_is(&r->fields[i - 1], "x-forwarded-for"))
            continue;
        struct slice list = r->fields[i - 1].value;
        while (list.len > 0 && is_trusted(trusted, address)) {
            struct slice one = without_port(take_last(&list));
            if (!parse_address(one, address)) /* no address: nothing before it can be believed */
                goto done;
            client = one;
        }
    }
done:
    (void)snprintf(out, CLIENT_ADDRESS_CAP, "%.*s", SLICE_ARG(client));
    return slice_str(out);
}
