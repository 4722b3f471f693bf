/* A live capture of one interface: libpcap with its memory-mapped ring, packets copied into struct frames as they are wanted.
 *
 * Nanosecond timestamps where libpcap gives them. An interface that goes down gives nothing until it is up again (both are
 * said in the log); one that disappears ends its capture (END).
 */
#ifndef INGEST_CAPTURE_H
#define INGEST_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/frames.h"
#include "base/err.h"
#include "ingest/sampler.h"

#define CAPTURE_SNAPLEN_HEADERS 128u    /* enough for Ethernet, two tags, IPv6 and TCP with all options */
#define CAPTURE_SNAPLEN_FULL    262144u /* libpcap's largest */

struct capture_options {
	const char *filter;      /* pcap-filter syntax; NULL: all */
	uint32_t snaplen;        /* 0: by headers_only */
	bool     headers_only;   /* cut each packet behind its innermost transport header */
	bool     promiscuous;
	uint32_t ring_bytes;
};

struct capture_losses {
	uint64_t kernel, interface; /* since the capture was opened */
};

struct capture;

/* Needs the right to capture (CAP_NET_RAW); what comes later needs none. ERR_ABSENT: no such interface; ERR_DENIED; ERR_USAGE: the
 * filter; the sentence quotes it. */
enum err capture_open(struct capture **out, const char *interface, const struct capture_options *o);
void     capture_close(struct capture **c);
const char *capture_name(const struct capture *c);
/* The largest packet that it gives: frames need so much room to take one more. */
uint32_t capture_snaplen(const struct capture *c);

/* Adds packets to f, as the sampler chooses (seen grows by all), until f takes no more (OK, *full), or milliseconds went by
 * (OK). END: the interface is gone. ERR_IO. */
enum err capture_fill(struct capture *c, struct frames *f, struct sampler *s, uint64_t *seen, unsigned milliseconds, bool *full);
/* Cheap: a system call. */
enum err capture_losses(struct capture *c, struct capture_losses *out);

#endif
