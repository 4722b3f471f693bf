/* Some link types begin with a pseudo-header in the byte order of the machine that captured. A file tells that order once,
 * for all of it, so that records taken out of a big-endian file and put into a little-endian one would be misread. These
 * are brought to little-endian when they are read, exactly as libpcap does (pcap-common.c, swap_pseudo_headers), so that
 * libpcap gives the same bytes for the imported file and for its export. */
#ifndef INGEST_PSEUDO_H
#define INGEST_PSEUDO_H

#include <stdbool.h>
#include <stdint.h>

#define LINKTYPE_LINUX_SLL          113
#define LINKTYPE_USB_LINUX          189
#define LINKTYPE_USB_LINUX_MMAPPED  220
#define LINKTYPE_NFLOG              239

static inline bool
pseudo_has(uint16_t linktype)
{
	return linktype == LINKTYPE_LINUX_SLL || linktype == LINKTYPE_USB_LINUX ||
	       linktype == LINKTYPE_USB_LINUX_MMAPPED || linktype == LINKTYPE_NFLOG;
}

/* Swaps what is to be swapped in the captured bytes of one record of a byte-swapped file. */
void pseudo_swap(uint16_t linktype, uint8_t *p, uint32_t cap_len);

#endif
