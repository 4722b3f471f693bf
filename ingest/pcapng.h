/* The pcapng file format: sections of either byte order, interfaces, and the packets of enhanced, simple and obsolete
 * packet blocks. Every other block is passed over by its length and counted.
 * Source: draft-ietf-opsawg-pcapng.
 *
 * libpcap's reader takes one link type, one snapshot length and one byte order per file only, and blocks up to 16 MiB;
 * none of this is asked here.
 *
 * Damage: a block length below 12 or not a multiple of 4, or repeated wrongly behind the block; a section header without
 * byte-order magic or of another major version; an unknown interface; a captured length that its block can not hold;
 * options that overrun their block; a time before 1970 or after 2554. A packet block above PCAPNG_BLOCK_BYTES_MAX, a
 * record above RECORD_BYTES_MAX or more than 65536 interfaces is ERR_LIMIT.
 */
#ifndef INGEST_PCAPNG_H
#define INGEST_PCAPNG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "ingest/walk.h"

#define PCAPNG_BLOCK_BYTES_MAX  (RECORD_BYTES_MAX + (64u << 10)) /* a block that is looked into: a record and its options */
#define PCAPNG_INTERFACES_MAX   65536u                           /* numbers fit frame.iface */
#define PCAPNG_NAME_BYTES       64                               /* of an interface name, with the NUL; longer ones are cut */

struct pcapng_interface {
	char     name[PCAPNG_NAME_BYTES]; /* "" when the file gives none */
	uint16_t linktype;
	uint8_t  tsresol;                 /* as in the file: 10^-n s, with the top bit set 2^-n s; 6 when not given */
	uint32_t snaplen;                 /* as in the file; 0: no limit */
	int64_t  tsoffset_s;              /* added to every time */
	uint64_t records;

	/* Made from tsresol. */
	uint64_t multiplier;              /* ns per unit; 0: divide */
	uint64_t divisor;                 /* units per ns, power of ten; 0: power of two, or more than 64 bits */
};

struct pcapng {
	bool     swapped;                 /* of the section */
	bool     trailer_due;             /* a block was skipped up to the copy of its length */
	uint32_t trailer;                 /* what it must be */
	uint32_t sections;
	uint32_t interface_first;         /* of the section, in interfaces */
	uint32_t interface_count;         /* over all sections */
	uint32_t interface_room;
	struct pcapng_interface *interfaces;
	uint64_t skipped_blocks;
	uint64_t rounded_times;           /* records whose time was not a whole number of ns */
};

/* True when these are the first 12 bytes of a section header. */
bool pcapng_magic(const uint8_t first[12]);
/* *p is zero before the first walk. Finds packets from w->at on and adds them to f. */
enum walk pcapng_walk(struct pcapng *p, struct frames *f, struct walker *w);
void      pcapng_fini(struct pcapng *p);

#endif
