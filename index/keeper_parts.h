/* For the files that make the keeper: keeper.c (loop, commits), keeper_arrivals.c (what the ingest process says),
 * keeper_vitals.c (numbers). */
#ifndef INDEX_KEEPER_PARTS_H
#define INDEX_KEEPER_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/arrival.h"
#include "base/channel.h"
#include "base/log.h"
#include "base/vitals.h"
#include "index/clock.h"
#include "index/control.h"
#include "index/keeper.h"
#include "index/monitors.h"

#define KEEPER_COMMIT_NS    100000000u    /* the first uncommitted arrival waits no longer */
#define KEEPER_COMMIT_BYTES (8u << 20)    /* ... or so much landed */
#define KEEPER_IDLE_NS      20000000u     /* ... or nothing more comes and the last commit began so long ago */
#define KEEPER_WAITING_MAX  4096u         /* ... or so many wait */
#define KEEPER_KEYS         256u          /* opened block keys remembered: more than the gate asks for at once, most times */
#define KEEPER_ANSWERS_BYTES (16u << 20)  /* wait for the ingest process before the link is given up */
#define KEEPER_OFFENCES_MAX 3u            /* within ... */
#define KEEPER_OFFENCES_NS  3600000000000ull /* ... so long: quarantine */
#define KEEPER_STREAMS_MAX  256u          /* of one monitor, whose reports are kept */
#define KEEPER_RATE_SLOTS   10u           /* seconds over which records_per_s is taken */

struct keeper_stream {             /* what a monitor last said of one of its streams; a list per monitor */
	char     name[STREAM_NAME_BYTES];
	struct arrival_report report;
	struct keeper_stream *next;
};

struct keeper_monitor {
	struct arrival_monitor row;    /* as the ingest process was told */
	bool     known;
	uint64_t session;              /* 0: none */
	uint64_t seen_ns, lag_ns, refused, records, parcels, bytes;
	int64_t  clock_offset_ns;
	uint64_t offence_ns[KEEPER_OFFENCES_MAX];
	uint64_t rate[KEEPER_RATE_SLOTS], rate_second[KEEPER_RATE_SLOTS];
	uint64_t stored_bytes;         /* as of the last look (monitors_vitals) */
	struct keeper_stream *streams;
	unsigned stream_count;
};

struct keeper_waiting {            /* landed, not committed: to be acknowledged */
	uint64_t session, epoch, sequence;
	char     stream[STREAM_NAME_BYTES];
};

struct keeper_key { bool known; uint8_t sealed[PARCEL_SEALED_KEY_BYTES], key[BLOCK_KEY_BYTES]; };

struct keeper_secrets {            /* sodium_malloc'ed */
	struct archive_identity identity;
	struct keeper_key keys[KEEPER_KEYS];
	uint32_t next_key;
};

struct keeper {
	const struct keeper_settings *settings;
	struct keeper_limits limits;
	struct store *store;
	struct keeper_secrets *secrets;
	uint8_t  archive[ARCHIVE_ID_BYTES];
	struct channel ingest;
	struct vitals_desk desk;
	bool     desk_open;
	struct control *control;
	int      post;
	struct arrival_terms terms;
	struct keeper_monitor *monitors;   /* MONITORS_MAX + 1, by number */
	uint8_t *told;                     /* the table of monitors as it was sent last */
	uint32_t told_bytes;
	bool     monitors_changed, stopping, hold;
	uint64_t hold_since_ns;
	struct clock_trust clock;
	bool     clock_doubted;            /* as of the last look; false too when nothing goes for its age */
	struct keeper_waiting *waiting;    /* KEEPER_WAITING_MAX */
	uint32_t waiting_count;
	bool     reported;                 /* losses, since the last commit */
	uint64_t first_waiting_ns, committed_ns, tended_ns, looked_ns; /* steady clock */
	bool     tend_more;
	struct vitals numbers;             /* of the server; no monitors */
	uint64_t handshakes_past, failed_past, refused_past; /* of ingest processes before this one */
	struct arrival_numbers gate;
	uint64_t slowest_ns[2], slowest_minute; /* of this minute and the one before */
	struct log_brake refusals;
};

uint64_t keeper_clock(void); /* steady, ns */
/* Somebody else says that the clock is right. */
void     keeper_clock_confirmed(struct keeper *k);
/* What a monitor says of its clock. */
void     keeper_note_clock(struct keeper *k, struct keeper_monitor *m, uint64_t clock_ns);

/* --- keeper_arrivals.c --- */
/* The link to a new ingest process. */
void     keeper_link_open(struct keeper *k, int fd);
void     keeper_link_lost(struct keeper *k);
/* Takes messages until there are none, a commit is due, or its time is up. *idle: there were no more. Errors are the store's. */
enum err keeper_take(struct keeper *k, bool *idle);
/* Sends; a full or broken link is closed. */
void     keeper_tell(struct keeper *k, const struct arrival_message *m);
/* Reads the monitors' rows, and tells the ingest process when they changed. */
enum err keeper_tell_monitors(struct keeper *k);
/* Acknowledges (or, when the disk was full, refuses) all that waits. */
void     keeper_answer_waiting(struct keeper *k, bool landed, const char *sentence);
void     keeper_hold(struct keeper *k, bool full, const char *sentence);

/* --- keeper_vitals.c --- */
void     keeper_note_parcel(struct keeper *k, struct keeper_monitor *m, const struct parcel *p, uint64_t now_ns);
void     keeper_note_report(struct keeper *k, const struct arrival_report *r, uint64_t now_ns);
void     keeper_note_commit(struct keeper *k, uint64_t took_ns);
/* The hook of index/control.h; arg is the keeper. */
void     keeper_add_vitals(void *arg, struct vitals *v);
/* All numbers, for the http process. */
enum err keeper_vitals(struct keeper *k, struct vitals *v);
void     keeper_forget_reports(struct keeper *k);

#endif
