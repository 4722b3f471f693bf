/* Captures full of addresses of which none may be seen in anything that is shown (tests/support/canary_frames.h).
 *
 *     canary ROUNDS FILE.pcapng FILE.pcap
 *
 * Writes all frames to the first file, and those of Ethernet to the second: each round has addresses of its own, the frames of the
 * last one also cut to many lengths. Prints each address as hex, a line each. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "tests/support/canary_frames.h"

static void
put(FILE *to, const void *p, size_t n)
{
	if (fwrite(p, 1, n, to) != n) {
		perror("canary");
		exit(1);
	}
}

static void
put_block(FILE *to, uint32_t type, const uint8_t *head, uint32_t head_bytes, const uint8_t *p, uint32_t n)
{
	uint8_t number[4];
	uint32_t padding = (0u - n) % 4, total = 12 + head_bytes + n + padding;
	store_le32(number, type);
	put(to, number, 4);
	store_le32(number, total);
	put(to, number, 4);
	put(to, head, head_bytes);
	put(to, p, n);
	put(to, "\0\0\0", padding);
	put(to, number, 4);
}

static void
write_pcapng(FILE *to, const struct frames *f)
{
	static const uint8_t section[16] = { 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255 };
	uint16_t types[64];
	uint32_t count = 0;
	put_block(to, 0x0a0d0d0a, section, sizeof section, NULL, 0);
	for (uint32_t i = 0; i < f->count; i++) {
		const struct frame *v = &f->v[i];
		uint32_t which = 0;
		while (which < count && types[which] != v->linktype)
			which++;
		if (which == count) {
			uint8_t head[8] = { 0 };
			types[count++] = v->linktype;
			store_le16(head, v->linktype);
			put_block(to, 1, head, sizeof head, NULL, 0);
		}
		uint8_t head[20];
		store_le32(head, which);
		store_le32(head + 4, (uint32_t)(v->ts_ns / 1000 >> 32));
		store_le32(head + 8, (uint32_t)(v->ts_ns / 1000));
		store_le32(head + 12, v->cap_len);
		store_le32(head + 16, v->wire_len);
		put_block(to, 6, head, sizeof head, f->bytes + v->at, v->cap_len);
	}
}

static void
write_pcap(FILE *to, const struct frames *f, uint16_t linktype)
{
	uint8_t head[24] = { 0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, [16] = 255, 255, [20] = (uint8_t)linktype };
	put(to, head, 24);
	for (uint32_t i = 0; i < f->count; i++) {
		const struct frame *v = &f->v[i];
		if (v->linktype != linktype)
			continue;
		store_le32(head, (uint32_t)(v->ts_ns / 1000000000));
		store_le32(head + 4, (uint32_t)(v->ts_ns / 1000 % 1000000));
		store_le32(head + 8, v->cap_len);
		store_le32(head + 12, v->wire_len);
		put(to, head, 16);
		put(to, f->bytes + v->at, v->cap_len);
	}
}

int
main(int argc, char **argv)
{
	static struct canaries canaries = { .state = 3 };
	struct frames *f = NULL;
	if (argc != 4 || frames_open(&f, 8 << 20) != OK) {
		fprintf(stderr, "canary: canary ROUNDS FILE.pcapng FILE.pcap\n");
		return 2;
	}
	uint32_t round = 0;
	for (uint32_t rounds = (uint32_t)strtoul(argv[1], NULL, 10); round < rounds; round++)
		canary_frames(f, &canaries);
	canary_cuts(f, f->count - f->count / (round ? round : 1), 7);
	FILE *ng = fopen(argv[2], "wb"), *plain = fopen(argv[3], "wb");
	if (!ng || !plain) {
		perror("canary");
		return 1;
	}
	write_pcapng(ng, f);
	write_pcap(plain, f, 1);
	if (fclose(ng) != 0 || fclose(plain) != 0) {
		perror("canary");
		return 1;
	}
	for (uint32_t i = 0; i < canaries.count; i++) {
		for (unsigned k = 0; k < canaries.v[i].bytes; k++)
			printf("%02x", canaries.v[i].address[k]);
		putchar('\n');
	}
	frames_close(&f);
	return 0;
}
