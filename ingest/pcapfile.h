/* The classic pcap file format, as libpcap reads it: both byte orders; microseconds (0xa1b2c3d4), nanoseconds
 * (0xa1b23c4d) and Kuznetzov's 24-byte record headers (0xa1b2cd34, whose 8 extra bytes are dropped); versions 2.x and
 * DG/UX's 543.0, with the two length fields exchanged before 2.3.
 * Source: draft-ietf-opsawg-pcap, libpcap sf-pcap.c.
 *
 * Unlike libpcap it keeps all captured bytes when a record has more than the file's snapshot length, and takes versions
 * above 2.4 (as Wireshark does).
 */
#ifndef INGEST_PCAPFILE_H
#define INGEST_PCAPFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ingest/walk.h"

#define PCAPFILE_HEADER_BYTES 24

struct pcapfile {
	bool     swapped;         /* big-endian */
	bool     nanoseconds;
	bool     modified;        /* Kuznetzov's */
	uint8_t  lengths;         /* 0: captured, wire; 1: wire, captured; 2: the smaller one is the captured one */
	uint16_t linktype;
	uint32_t snaplen;         /* as in the file */
	uint32_t cap_max_bytes;   /* a larger captured length is damage */
};

/* True when the first four bytes are one of the magic numbers. */
bool     pcapfile_magic(const uint8_t magic[4]);
/* Reads the file header. ERR_FORMAT, ERR_UNSUPPORTED: archaic version; the sentence says it without the file's name. */
enum err pcapfile_begin(struct pcapfile *p, const uint8_t header[PCAPFILE_HEADER_BYTES]);
/* Finds records from w->at on and adds them to f. */
enum walk pcapfile_walk(const struct pcapfile *p, struct frames *f, struct walker *w);

#endif
