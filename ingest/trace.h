/* A trace file: pcap or pcapng, packed or not, from a path, standard input or memory, read a block's worth at a time.
 *
 *	struct trace *t;
 *	TRY(trace_open(&t, path));
 *	while ((e = trace_fill(t, frames)) == OK)
 *		...                                  frames->count >= 1
 *	if (e != END)
 *		...                                  frames may still hold what came before the damage
 *	trace_close(&t);
 *
 * The format is hand-written because libpcap reads neither packed input nor pcapng files with several link types, snapshot
 * lengths or byte orders; what libpcap reads, this reads the same way (tests/unit/test_trace.c compares them).
 *
 * Records are found in place: the file is read straight into frames->bytes and a frame's bytes lie there between record
 * headers. A record cut by the end of what was read is carried over to the next fill.
 */
#ifndef INGEST_TRACE_H
#define INGEST_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/frames.h"
#include "base/err.h"
#include "ingest/fingerprint.h"
#include "ingest/pcapng.h"

#define TRACE_ROOM_BYTES_MIN 4096u /* any record header, section header or ordinary interface description */

struct trace;

/* path "-" is standard input. Reads the file header. ERR_ABSENT, ERR_DENIED, ERR_IO, ERR_NOMEM; ERR_USAGE: a folder;
 * ERR_FORMAT: empty, cut off, or not a pcap or pcapng file (the sentence names the format where its magic is known);
 * ERR_UNSUPPORTED: a version; and what inflate_read() gives. */
enum err trace_open(struct trace **out, const char *path);
/* From n bytes (borrowed until close), at most piece_bytes per read (0: no limit). name is for messages. */
enum err trace_open_memory(struct trace **out, const void *bytes, size_t n, size_t piece_bytes, const char *name);
void     trace_close(struct trace **t); /* sets *t to NULL */

/* Empties `into`, then fills it with the next records: at most BLOCK_RECORDS_MAX, fewer when its bytes are full or the
 * file ends. used_bytes counts record headers, too; the sum of cap_len is less. room_bytes is at least TRACE_ROOM_BYTES_MIN
 * and the same in all fills of one trace; a record that does not fit into all of it is ERR_LIMIT (PCAPNG_BLOCK_BYTES_MAX
 * takes every record).
 *
 * OK: at least one frame. END: none, the file ended where a record ended. Any other: the file is damaged (ERR_FORMAT,
 * ERR_LIMIT, ERR_UNSUPPORTED) or could not be read on (ERR_IO, ERR_INTERRUPTED, ERR_NOMEM); `into` holds the frames before
 * that (maybe none), the sentence gives file, byte offset in the (unpacked) file, reason, and how many bytes remain unread:
 * all that follows damage is given up. END and errors are sticky; later calls give them again with no frames. */
enum err trace_fill(struct trace *t, struct frames *into);

struct trace_stats {
	char     format[64];      /* "pcap", "pcap nanosecond", "pcap modified", "pcapng"; ", big-endian"; ", gzip" ... */
	uint64_t records;
	uint64_t captured_bytes, wire_bytes; /* sums over the records */
	uint64_t skipped_blocks;  /* pcapng blocks that hold no packet */
	uint64_t rounded_times;   /* times finer than a ns, rounded down */
	uint32_t sections;        /* of pcapng; 1 for pcap */
	uint32_t interface_count; /* frame.iface is an index into interfaces; so far, for pcapng */
	const struct pcapng_interface *interfaces; /* owned by the trace, valid until the next fill */
};
void        trace_stats(const struct trace *t, struct trace_stats *out);

uint64_t    trace_offset(const struct trace *t); /* bytes of the file as stored read so far, for progress */
uint64_t    trace_size(const struct trace *t);   /* of the file as stored; 0: unknown (a pipe) */
const char *trace_name(const struct trace *t);   /* the path, or "standard input" */

/* Whether it can not be read twice: standard input, a pipe, a device. */
bool        trace_is_stream(const struct trace *t);

/* Of its content as stored (ingest/fingerprint.h). Of a stream only the first half before its end was read, *whole tells; then
 * waits for the bytes that it is made of, and keeps them for the next fill (fewer after an interrupt or an error, which the
 * next fill meets). Not of memory. ERR_IO, ERR_NOMEM. */
enum err trace_fingerprint(struct trace *t, uint8_t out[TRACE_FINGERPRINT_BYTES], bool *whole);

/* What in a trace file's path names its contents: without folder and without the endings of traces and packers; "stdin" for
 * "-". *n bytes, not ended by a NUL; borrowed from path. */
const char *trace_stem(const char *path, size_t *n);

#endif
