/* Vitals: the numbers of a running server, by monitor, in one message: from the store process to the http process (/metrics)
 * and to `atoll monitors`. One table gives struct, bytes, metric and help.
 *
 *     message = "VTL2", server numbers, le32 count of monitors, monitors (number, state, name, reason: both with a
 *               byte of length before, numbers)
 *
 * Numbers are le64 each, in the order of the table, so both ends must be of one build: the magic is changed with the tables.
 */
#ifndef BASE_VITALS_H
#define BASE_VITALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define VITALS_MAGIC        0x324c5456u /* "VTL2" */
#define VITALS_MONITORS_MAX 4096u
#define VITALS_INVITED      3u          /* a state beside those of index/rows.h: there is only a code */
#define VITALS_INVITED_ID   0x80000000u /* and up: of those, who have no number yet */
#define VITALS_NAME_BYTES   64u         /* with the NUL */
#define VITALS_REASON_BYTES 256u        /* with the NUL */

/* F(kind, name, metric, label, help). Kinds: counter (since the start of the store process, or ever), gauge, seconds (a
 * gauge in ns), offset (the same, signed), clock (ns since 1970, 0: never). Rows of one metric stand together. */
#define VITALS_SERVER(F)                                                                                                         \
	F(clock, started_ns, "start_time_seconds", "", "When the store process started; 0: no server runs.")                 \
	F(gauge, sessions, "sessions", "", "Collectors connected now.")                                                          \
	F(counter, handshakes, "handshakes_total", "result=\"ok\"", "Handshakes by result.")                                     \
	F(counter, handshakes_failed, "handshakes_total", "result=\"failed\"", "")                                               \
	F(counter, codes_failed, "enrolments_failed_total", "", "Enrolments with a code that was refused.")                      \
	F(counter, connections_refused, "connections_refused_total", "", "Connections refused at a limit.")                      \
	F(counter, parcels, "parcels_total", "", "Parcels landed.")                                                              \
	F(counter, commits, "commit_seconds_count", "", "Commits, and the time that they took.")                                 \
	F(seconds, commit_ns, "commit_seconds_sum", "", "")                                                                      \
	F(seconds, commit_max_ns, "commit_max_seconds", "", "The slowest commit of the last minute.")                            \
	F(gauge, landed_blocks, "landed_blocks", "", "Blocks landed that wait to be merged into segments.")                      \
	F(gauge, landed_bytes, "landed_bytes", "", "Bytes of them.")                                                             \
	F(gauge, stored_records, "stored_records", "", "Records in the archive.")                                                \
	F(gauge, stored_bytes, "stored_bytes", "", "Bytes of all segments.")                                                     \
	F(gauge, segments, "segments", "", "Segments in the archive.")                                                           \
	F(gauge, streams, "streams", "", "Streams in the archive.")                                                              \
	F(gauge, disk_free_bytes, "disk_free_bytes", "", "Free on the archive's file system.")                                   \
	F(gauge, disk_bytes, "disk_bytes", "", "Size of the archive's file system.")                                             \
	F(gauge, stopped, "landing_stopped", "", "1 while nothing lands because the disk is full.")                              \
	F(gauge, clock_doubtful, "clock_doubtful", "", "1 while nothing is removed for its age because the clock is not believed.") \
	F(counter, restarts, "restarts_total", "", "Processes of the server that died and were started again.")

#define VITALS_MONITOR(F)                                                                                                        \
	F(gauge, connected, "connected", "", "1 while its collector is connected.")                                              \
	F(clock, seen_ns, "last_seen_timestamp_seconds", "", "When it was last heard of, or its last parcel came.")                                   \
	F(clock, code_expires_ns, "code_expires_timestamp_seconds", "", "Until when a code waits for it to enrol.")                   \
	F(clock, last_ns, "last_record_timestamp_seconds", "", "Time of its latest record.")                                     \
	F(seconds, lag_ns, "lag_seconds", "", "From capture, or from reading the file that is pushed, to commit, of the last parcel.")                                     \
	F(offset, clock_offset_ns, "clock_offset_seconds", "", "Its clock minus the archive's.")                                 \
	F(counter, records, "records_total", "", "Records received, ever.")                                                      \
	F(gauge, records_per_s, "records_per_second", "", "Records received, over the last ten seconds.")                        \
	F(counter, parcels, "parcels_total", "", "Parcels received, ever.")                                                      \
	F(counter, bytes, "received_bytes_total", "", "Bytes of parcels received, since the start.")                                              \
	F(gauge, stored_records, "stored_records", "", "Its records in the archive.")                                            \
	F(gauge, stored_bytes, "stored_bytes", "", "Their bytes, landed ones included.")                                                   \
	F(gauge, landed_blocks, "landed_blocks", "", "Its blocks that wait to be merged.")                                       \
	F(counter, lost_kernel, "lost_packets_total", "cause=\"kernel\"", "Packets lost, by cause, as the monitor counts them.") \
	F(counter, lost_interface, "lost_packets_total", "cause=\"interface\"", "")                                              \
	F(counter, lost_spool, "lost_packets_total", "cause=\"spool\"", "")                                                      \
	F(counter, lost_policy, "lost_packets_total", "cause=\"policy\"", "")                                                    \
	F(counter, lost_archive, "lost_packets_total", "cause=\"archive\"", "")                                                  \
	F(counter, gaps, "gaps_total", "", "Gaps recorded in its streams.")                                                      \
	F(counter, refused, "refused_parcels_total", "", "Parcels refused: quota, place or signature.")                          \
	F(gauge, sampled, "sampled_one_in", "", "It sends one packet in so many.")                                               \
	F(gauge, spool_parcels, "spool_parcels", "", "Parcels in its spool, as it reports.")                                     \
	F(gauge, spool_bytes, "spool_bytes", "", "Bytes in its spool, as it reports.")

#define VITALS_MEMBER(kind, name, metric, label, help) uint64_t name;
struct vitals_monitor {
	uint32_t id;
	uint8_t  state; /* enum monitor_state, or VITALS_INVITED */
	char     name[VITALS_NAME_BYTES], reason[VITALS_REASON_BYTES]; /* reason: of a quarantine */
	VITALS_MONITOR(VITALS_MEMBER)
};

struct vitals {
	VITALS_SERVER(VITALS_MEMBER)
	uint32_t               monitor_count;
	struct vitals_monitor *monitors; /* by number */
};
#undef VITALS_MEMBER

void     vitals_fini(struct vitals *v);
/* The monitor with this number, NULL when there is none. */
struct vitals_monitor *vitals_find(const struct vitals *v, uint32_t id);
/* A malloc'ed message. ERR_NOMEM. */
enum err vitals_encode(const struct vitals *v, uint8_t **bytes, size_t *n);
/* ERR_FORMAT; ERR_NOMEM. *v is unchanged then. */
enum err vitals_decode(struct vitals *v, const void *bytes, size_t n);

/* --- over a socketpair (stream): one byte asks, le32 length and the message answer --- */

/* Who asks. */
struct vitals_asker {
	int      fd;     /* not owned */
	bool     asked;  /* an answer is due */
	uint8_t  head[4], *body;
	size_t   have, n; /* of head and body */
};
void     vitals_asker_init(struct vitals_asker *a, int fd);
void     vitals_asker_fini(struct vitals_asker *a);
/* Blocks for at most timeout_ms. ERR_BUSY: no answer by then, the next call goes on waiting for it; ERR_IO: the other end is gone
 * or talks nonsense, this connection is of no more use. */
enum err vitals_ask(struct vitals_asker *a, unsigned timeout_ms, struct vitals *v);

/* Who answers; never blocks. Poll fd for reading, and for writing while vitals_desk_pending(). */
struct vitals_desk {
	int      fd;    /* not owned; set to non-blocking */
	uint8_t *out;
	size_t   at, n;
};
enum err vitals_desk_init(struct vitals_desk *d, int fd);
void     vitals_desk_fini(struct vitals_desk *d);
bool     vitals_desk_pending(const struct vitals_desk *d);
/* Reads and writes what it can. *asked: an answer is wanted: vitals_desk_answer(). END: the other end closed. */
enum err vitals_desk_serve(struct vitals_desk *d, bool *asked);
enum err vitals_desk_answer(struct vitals_desk *d, const struct vitals *v);

#endif
