/* The keeper: the store process of a served archive. It has the archive open for writing and is the only one that does.
 *
 * Parcels come from the ingest process (archive/arrival.h), land, and are acknowledged after a group commit: 100 ms after the
 * first of them, when 8 MiB have landed, or as soon as nothing more comes. In idle time it merges and applies the retention.
 * A full disk stops landing (the collectors are told to wait), not reading. An error of the disk ends the process: the next
 * one verifies what is there.
 */
#ifndef INDEX_KEEPER_H
#define INDEX_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "index/reception.h"

struct keeper_limits {
	struct retention retention;
	uint64_t monitor_bytes;        /* stored of one monitor, at which nothing more lands of it; 0: no limit */
};

struct keeper_settings {
	struct keeper_limits limits;   /* what POST_SETTINGS replaces */
	char     dir[PATH_BYTES];
	char     key_file[PATH_BYTES]; /* "": in dir */
	unsigned ingest, http;         /* role numbers */
	unsigned port;                 /* where collectors connect, for who asks with `atoll enroll` */
	bool     no_sandbox;
};

/* As a process_role's run (base/process.h); arg: struct keeper_settings. Returns after POST_STOP. */
enum err keeper_run(int post, void *arg);

#endif
