/* SPDX-License-Identifier: Apache-2.0 */
/* Where libevent's smallest objects live.
 *
 * For each descriptor ever watched libevent keeps some 24 bytes as long as its base lives. In the
 * common heap, between the buffers of ten thousand connections, each of them holds on to a page
 * when the connections are gone: half of what they took would never go back. Here they lie side by
 * side. */
#ifndef WH_HTTP_SMALLMEM_H
#define WH_HTTP_SMALLMEM_H

/* Tells libevent; before its first other call, any number of times, from any thread. Without room
 * for it everything comes from malloc as ever. */
void smallmem_init(void);

#endif
