/* SPDX-License-Identifier: Apache-2.0 */
/* A ClickHouse for the flusher's tests: the functions of src/clickhouse over memory that several
 * processes share, so that it lives on when the process under test is killed.
 *
 * Rows are objects with a number "id"; what a table stores is a count per id. It knows dedup
 * tokens, fails by number, and notices a token that comes with other rows than before. Link its
 * object before libclickhouse.a. */
#ifndef WH_TESTS_FAKECH_H
#define WH_TESTS_FAKECH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FAKECH_IDS    400000
#define FAKECH_TOKENS 65536

struct fakech {
    _Atomic int lock; /* held while rows and token change together */
    _Atomic uint32_t next_id;
    uint8_t stored[FAKECH_IDS];
    uint8_t acked[FAKECH_IDS];   /* kept by the test */
    uint8_t letters[FAKECH_IDS]; /* kept by the test */
    uint8_t told[FAKECH_IDS];    /* kept by the test: what a watch said of the row */
    struct {
        uint64_t name, rows; /* hashes */
    } tokens[FAKECH_TOKENS];
    _Atomic uint32_t sends, inserts, repeats, misused, refused, largest, columns_wrong;
    /* INSERTs that began while ClickHouse had another one whole; that were cancelled;
     * that were ended while another one of the table was without a verdict (never) */
    _Atomic uint32_t overlapped, cancelled, disordered;
    /* faults; 0: never */
    _Atomic bool down;                 /* no connection */
    _Atomic uint32_t fate_every;       /* stored, but the answer is lost */
    _Atomic uint32_t busy_every;       /* not stored: 252 */
    _Atomic uint32_t cut_every;        /* not stored: the connection is cut within the block */
    _Atomic uint32_t kill_after_every; /* stored, then SIGKILL to ourselves */
    _Atomic uint32_t displaced;     /* so many repetitions of what is stored: 81 and 252 in turn */
    _Atomic uint32_t doubted;       /* after those, so many are refused for their data: 117 */
    _Atomic bool one_only;          /* 202 for an INSERT while another one of the table is there */
    _Atomic bool view_fails;        /* rows of "gamma" are stored, then a view refuses them */
    _Atomic bool beta_stuck;        /* every insert into the table "beta": 252 */
    uint32_t split_rows;            /* larger blocks: too many partitions */
    uint32_t good_below, good_from; /* smaller and (not 0) larger ids are never bad */
    _Atomic uint32_t delay_us;      /* of each insert */
    _Atomic bool held;              /* inserts wait until it is false */
};

/* Rows whose id leaves 7 in the remainder by 1009 are refused by the server (469), those that leave
 * 5 by 997 by the encoder (27). */
bool fakech_bad_id(uint32_t id);

struct fakech *fakech_make(void); /* shared memory */
void fakech_use(struct fakech *f);
void fakech_lock(struct fakech *f);
/* SIGKILL to the process while none of its inserts is half done, and wait for its end. */
void fakech_kill(struct fakech *f, pid_t pid);
void fakech_unlock(struct fakech *f);

#endif
