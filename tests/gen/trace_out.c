#include "tests/gen/trace_out.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define BUFFER_BYTES (1u << 20)
#define RECORD_MAX   (TRACE_FRAME_MAX + 64)

static void
flush(struct trace *t)
{
	if (fwrite(t->buffer, 1, t->used, t->to) != t->used) {
		perror("gen: write");
		exit(1);
	}
	t->used = 0;
}

static uint32_t
head_bytes(const struct trace *t)
{
	return t->format == TRACE_PCAPNG ? 28 : 16;
}

static void
write_pcapng_header(struct trace *t)
{
	struct writer w = writer_of(t->buffer, BUFFER_BYTES);
	writer_le32(&w, 0x0a0d0d0a); /* section header */
	writer_le32(&w, 28);
	writer_le32(&w, 0x1a2b3c4d);
	writer_le16(&w, 1);
	writer_le16(&w, 0);
	writer_le64(&w, UINT64_MAX);
	writer_le32(&w, 28);
	writer_le32(&w, 1); /* interface description: Ethernet, name, nanoseconds */
	writer_le32(&w, 40);
	writer_le16(&w, 1);
	writer_le16(&w, 0);
	writer_le32(&w, t->snaplen);
	writer_le16(&w, 2);
	writer_le16(&w, 4);
	writer_put(&w, "gen0", 4);
	writer_le16(&w, 9);
	writer_le16(&w, 1);
	writer_le32(&w, 9);
	writer_le32(&w, 0);
	writer_le32(&w, 40);
	t->used = (size_t)(w.at - t->buffer);
}

void
trace_open(struct trace *t, FILE *to, enum trace_format format, uint32_t snaplen)
{
	*t = (struct trace){ .to = to, .format = format, .snaplen = snaplen, .buffer = malloc(BUFFER_BYTES + RECORD_MAX) };
	if (!t->buffer) {
		perror("gen");
		exit(1);
	}
	if (format == TRACE_PCAPNG) {
		write_pcapng_header(t);
		return;
	}
	struct writer w = writer_of(t->buffer, BUFFER_BYTES);
	writer_le32(&w, format == TRACE_PCAP ? 0xa1b23c4d : 0xa1b2c3d4);
	writer_le16(&w, 2);
	writer_le16(&w, 4);
	writer_le64(&w, 0);
	writer_le32(&w, snaplen);
	writer_le32(&w, 1);
	t->used = (size_t)(w.at - t->buffer);
}

uint8_t *
trace_room(struct trace *t)
{
	if (t->used > BUFFER_BYTES)
		flush(t);
	return t->buffer + t->used + head_bytes(t);
}

void
trace_packet(struct trace *t, uint64_t ts_ns, uint32_t wire_len)
{
	uint32_t cap_len = wire_len < t->snaplen ? wire_len : t->snaplen;
	uint8_t *p = t->buffer + t->used;
	t->packets++;
	if (t->disorder > 0) {
		t->disorder_state = t->disorder_state * 6364136223846793005u + 1442695040888963407u;
		if ((t->disorder_state >> 32) % 1000000 < t->disorder)
			ts_ns -= t->disorder_state % 10000000;
	}
	if (t->format != TRACE_PCAPNG) {
		store_le32(p, (uint32_t)(ts_ns / 1000000000u));
		uint32_t fraction = (uint32_t)(ts_ns % 1000000000u);
		store_le32(p + 4, t->format == TRACE_PCAP ? fraction : fraction / 1000);
		store_le32(p + 8, cap_len);
		store_le32(p + 12, wire_len);
		t->used += 16 + cap_len;
		return;
	}
	uint32_t padded = (cap_len + 3) & ~3u, total = padded + 32;
	store_le32(p, 6);
	store_le32(p + 4, total);
	store_le32(p + 8, 0);
	store_le32(p + 12, (uint32_t)(ts_ns >> 32));
	store_le32(p + 16, (uint32_t)ts_ns);
	store_le32(p + 20, cap_len);
	store_le32(p + 24, wire_len);
	memset(p + 28 + cap_len, 0, padded - cap_len);
	store_le32(p + 28 + padded, total);
	t->used += total;
}

void
trace_close(struct trace *t)
{
	flush(t);
	if (fflush(t->to) != 0 || ferror(t->to)) {
		perror("gen: write");
		exit(1);
	}
	free(t->buffer);
}
