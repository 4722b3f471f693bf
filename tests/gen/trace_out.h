/* Where generated packets go: a pcap or pcapng file, written without libpcap (a generator that shares code with what it
 * tests proves little). */
#ifndef TESTS_GEN_TRACE_OUT_H
#define TESTS_GEN_TRACE_OUT_H

#include <stdint.h>
#include <stdio.h>

#define TRACE_FRAME_MAX 66000u /* bytes of one frame: an IP packet of 65,535 with link headers and tags */

enum trace_format { TRACE_PCAP, TRACE_PCAP_US, TRACE_PCAPNG };

struct trace {
	FILE    *to;
	enum trace_format format;
	uint32_t snaplen;
	uint32_t disorder; /* per million: so many packets get a time up to 10 ms too early */
	uint64_t disorder_state;
	uint64_t packets;
	uint8_t *buffer;
	size_t   used;
};

/* Writes the file header. Ends the program on an error (this is a test tool). */
void trace_open(struct trace *t, FILE *to, enum trace_format format, uint32_t snaplen);
/* Room for the TRACE_FRAME_MAX bytes of the next frame. */
uint8_t *trace_room(struct trace *t);
/* The frame of wire_len bytes in that room (of which at least the first snaplen are there) becomes a packet. */
void trace_packet(struct trace *t, uint64_t ts_ns, uint32_t wire_len);
void trace_close(struct trace *t);

#endif
