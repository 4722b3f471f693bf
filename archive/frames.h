/* Captured frames as they came, before they become columns: what a trace reader or a live capture fills and what the
 * block encoder takes. One struct frames holds at most one block. */
#ifndef ARCHIVE_FRAMES_H
#define ARCHIVE_FRAMES_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

struct frame {
	uint64_t ts_ns;    /* since 1970-01-01 UTC */
	uint32_t wire_len; /* bytes on the wire (pcap's orig_len) */
	uint32_t cap_len;  /* bytes captured; may exceed wire_len in odd files, and is kept so */
	uint32_t at;       /* where the captured bytes start in frames.bytes */
	uint16_t linktype; /* LINKTYPE_ value as in pcap and pcapng files (not DLT_) */
	uint16_t iface;    /* interface number within the stream, 0 when there is one */
};

/* How records were chosen of all that the source had (RFC 5475, section 5). */
enum sampler_kind {
	SAMPLER_ALL,       /* none was left out: one in 1 */
	SAMPLER_COUNT,     /* every Nth (systematic count-based) */
	SAMPLER_RANDOM,    /* each with probability 1/N (uniform probabilistic) */
	SAMPLER_FLOW,      /* all of one flow in N, by a hash of the five-tuple */
	SAMPLER_COUNT_OF,
};

struct frames {
	struct frame *v;   /* room for BLOCK_RECORDS_MAX */
	uint32_t      count;
	uint32_t      sampled; /* N: these are one in N of what the source had; 0 and 1: all */
	enum sampler_kind sampler;
	uint8_t      *bytes; /* room for room_bytes, and FRAMES_SLACK readable bytes behind */
	uint32_t      used_bytes;
	uint32_t      room_bytes;
};

#define FRAMES_SLACK 64u /* bytes after frames.bytes that may be read (not used): parsers load whole words */

/* room_bytes of captured bytes, at most BLOCK_BYTES_MAX. ERR_NOMEM. */
enum err frames_open(struct frames **out, uint32_t room_bytes);
void     frames_close(struct frames **f);
static inline void
frames_reset(struct frames *f)
{
	f->count = f->used_bytes = 0;
	f->sampled = 1;
	f->sampler = SAMPLER_ALL;
}

#endif
