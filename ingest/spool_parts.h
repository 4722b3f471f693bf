/* The inside of the spool: shared by spool.c (open, append, sync), spool_walk.c (reading files), spool_state.c (state, pushed
 * files), spool_epoch.c (another epoch), spool_drop.c (making room) and spool_send.c (the sender's side). */
#ifndef INGEST_SPOOL_PARTS_H
#define INGEST_SPOOL_PARTS_H

#include <pthread.h>

#include "base/limits.h"
#include "ingest/spool.h"

#define SPOOL_WALK_BYTES 65536u /* one look into a file: many fronts of small parcels, or one of a large one */

struct spool_part {         /* what one stream has in one file */
	uint32_t stream;
	uint64_t first, last;   /* sequences; a LOSS covers from_sequence on */
};

struct spool_file {
	uint64_t number;
	uint64_t bytes;         /* on disk */
	uint64_t readable_bytes;/* what lies behind is damaged */
	bool     recovered;     /* was there at the start: its parcels are verified before they are sent */
	bool     losses;        /* nothing but LOSS parcels */
	struct spool_part *parts;
	uint32_t part_count, part_room;
};

struct spool_place {        /* of a stream, in memory only */
	struct spool_stream row;
	uint64_t found_first;   /* at the start: lowest and highest sequence in the files */
	uint64_t found_last;
	bool     resumed;
	uint64_t read_sequence; /* sent up to here in this session */
	uint8_t  read_chain[PARCEL_HASH_BYTES];
	uint64_t refused;       /* sequence that goes as a LOSS */
	uint64_t given_up;      /* up to this sequence, what went as a LOSS because it was bad is counted */
};

struct spool_flight {
	uint32_t stream;        /* UINT32_MAX: acknowledged */
	uint64_t sequence, bytes;
};

struct spool {
	char     dir[PATH_BYTES];
	const struct identity *id;
	uint8_t  ingest[INGEST_KEY_BYTES];
	struct spool_options options;
	int      lock_fd;

	pthread_mutex_t lock;
	pthread_cond_t  changed;    /* acknowledged, synced, removed */
	enum err error;             /* final */
	char     sentence[ERR_TEXT_BYTES];

	struct spool_place *streams;
	unsigned stream_count;
	struct spool_file *files;   /* by number, ascending; the last may be open for appending */
	uint32_t file_count, file_room;
	uint64_t used_bytes, next_number;
	uint64_t dropping;          /* as in the state */
	int      fd;                /* of the last file; -1: the next append begins a new one */
	bool     syncing;           /* somebody is in fdatasync(fd) */
	uint64_t durable_number, durable_bytes; /* the sender may read up to there */
	bool     known;             /* the state file says that this identity signed what is here */
	bool     full, dirty;       /* dirty: the state file is behind */
	uint64_t state_ns;          /* when it was written, CLOCK_MONOTONIC */

	/* the sender's */
	uint64_t read_number, read_at;
	int      read_fd;
	uint64_t read_fd_number;
	uint64_t doubt_number;      /* parcels in files up to this one may have been sent */
	struct spool_flight flight[SENDER_FLIGHT_MAX];
	uint32_t flight_head, flight_count;
	uint64_t flight_bytes;
	uint8_t *parcel;            /* what spool_read() gave */
	uint32_t parcel_room;
	struct spool_walk *walk;
};

/* --- spool_walk.c --- */

/* Looking at the fronts of the parcels in one file. */
struct spool_walk {
	int      fd;
	const char *path;
	uint64_t end;               /* bytes of the file that may be read */
	uint64_t at, have;          /* buffer holds `have` bytes from `at` */
	uint8_t  buffer[SPOOL_WALK_BYTES];
};

void     spool_walk_begin(struct spool_walk *w, int fd, const char *path, uint64_t end);
/* The parcel at this offset, its block not read, and its length. p->front points into w until the next call. END: at the end of
 * the file. ERR_FORMAT and the like: no parcel there, or not all of it; ERR_IO. */
enum err spool_walk_front(struct spool_walk *w, uint64_t at, struct parcel *p, uint64_t *length);
enum err spool_file_path(const struct spool *s, uint64_t number, char path[PATH_BYTES]);
/* Notes that a parcel lies in f. ERR_NOMEM. */
enum err spool_file_note(struct spool_file *f, uint32_t stream, uint64_t first, uint64_t last);
struct spool_file *spool_file_add(struct spool *s, uint64_t number); /* NULL: no memory */
struct spool_file *spool_file_find(struct spool *s, uint64_t number); /* the one with this number or the next larger; NULL */
void     spool_file_forget(struct spool *s, uint32_t index);
enum err spool_foreign(const char *dir); /* ERR_DENIED, with a sentence */
/* Fills s->files and the streams from what is in the folder. */
enum err spool_scan(struct spool *s);
static inline uint64_t
parcel_first(const struct parcel *p)
{
	return p->kind == PARCEL_LOSS ? p->from_sequence : p->sequence;
}
/* What `previous` of the next parcel names. */
static inline const uint8_t *
parcel_chain(const struct parcel *p)
{
	return p->kind == PARCEL_LOSS ? p->hash : p->self;
}

/* --- spool_state.c --- */

/* ERR_ABSENT: none; ERR_FORMAT, ERR_UNSUPPORTED. */
enum err spool_state_read(const char *dir, uint8_t monitor[PARCEL_MONITOR_BYTES], uint64_t *dropping,
                          struct spool_stream **streams, unsigned *count);
enum err spool_state_write(struct spool *s); /* with the lock held; durable */

/* --- spool.c --- */

struct spool_place *spool_place_named(struct spool *s, const char *name); /* NULL: none */
enum err spool_place_add(struct spool *s, const char *name, struct spool_place **out);
/* Keeps e as the spool's last word. */
enum err spool_break(struct spool *s, enum err e);
/* Removes files of which all is acknowledged; the last one, too, when `last`. */
enum err spool_reap(struct spool *s, bool last);
/* Closes the last file; the next append begins another. */
enum err spool_file_end(struct spool *s);

/* --- spool_epoch.c --- */

/* Gives the stream and its parcels, of which none was ever acknowledged, this larger epoch. With the lock held; durable. */
enum err spool_epoch_anew(struct spool *s, struct spool_place *st, uint64_t epoch);

/* --- spool_drop.c --- */

/* Replaces the oldest file that may be dropped by losses. END: there is none. */
enum err spool_drop_oldest(struct spool *s);
/* After a crash: finishes what the state says was begun. */
enum err spool_drop_finish(struct spool *s);
/* Up to which number files are not to be dropped. */
uint64_t spool_kept_number(const struct spool *s);

#endif
