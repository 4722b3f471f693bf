/* What the walkers of trace formats share: each finds the records in bytes that were read into a struct frames, in place,
 * and says why it stopped. The reader (trace.c) reads more, skips, or ends. */
#ifndef INGEST_WALK_H
#define INGEST_WALK_H

#include <stdint.h>

#include "archive/frames.h"
#include "base/err.h"

#define WALK_REASON_BYTES 256

enum walk {
	WALK_MORE,   /* need_bytes must lie between at and end */
	WALK_FULL,   /* BLOCK_RECORDS_MAX frames */
	WALK_SKIP,   /* skip_bytes from at on are not wanted; not all of them were read yet */
	WALK_DAMAGE, /* error and reason say what is wrong with the bytes at `at` */
};

struct walker {
	uint32_t at, end;        /* in frames.bytes: first byte not yet used, end of what was read */
	uint32_t need_bytes;     /* WALK_MORE: at least 1 */
	uint64_t skip_bytes;     /* WALK_SKIP */
	uint64_t captured_bytes, wire_bytes; /* sums over the frames found, grow */
	enum err error;          /* WALK_DAMAGE: ERR_FORMAT, ERR_LIMIT, ERR_UNSUPPORTED, ERR_NOMEM */
	char     reason[WALK_REASON_BYTES];
};

/* Fills in error and reason, returns WALK_DAMAGE. */
enum walk walk_damage(struct walker *w, enum err e, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The most that libpcap takes as the captured length of a record of this link type (pcap-common.c, max_snaplen_for_dlt;
 * for USBPCAP Wireshark's, which is more): a larger one tells a damaged header from a record. */
static inline uint32_t
walk_snaplen_max(uint16_t linktype)
{
	switch (linktype) {
	case 279: /* EBHSCR */
		return 8u << 20;
	case 231: /* DBUS */
	case 249: /* USBPCAP */
		return 128u << 20;
	default:
		return 262144;
	}
}

#endif
