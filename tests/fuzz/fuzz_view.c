/* Frames with an address of their own at each place, changed and cut, and any bytes, under many policies: what a view shows is what
 * view_audit.h demands, and no planted address is in it. The functions that rewrite bytes read and write only what they may. */
#include <sanitizer/lsan_interface.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anonymize/rewrite.h"
#include "anonymize/rewrite_dns.h"
#include "base/bytes.h"
#include "tests/support/block_trip.h"
#include "tests/support/canary_frames.h"
#include "tests/support/frame_places.h"
#include "tests/support/view_audit.h"

#define POLICIES   4u /* decoders of each take a hundred MiB with sanitizers */
#define FRAMES_MAX 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint16_t linktypes[] = { 1, 1, 113, 276, 0, 108, 101, 228, 229, 147 };
static struct frames *bases, *in, *shown;
static struct canaries canaries;
static struct watched {
	struct view *view;
	struct view_thread thread;
	struct trip *trip;
} watched[POLICIES];

static void
must(enum err e)
{
	if (e != OK) {
		fprintf(stderr, "%s\n", err_text());
		abort();
	}
}

static struct watched *
watched_by(unsigned i)
{
	static const uint8_t master[VIEW_MASTER_BYTES] = "a master key";
	struct watched *w = &watched[i];
	if (w->view)
		return w;
	struct policy p = random_policy(i);
	p.payload_bytes = i % 4 ? 0 : p.payload_bytes; /* where it is copied nothing is planted */
	p.link_mac = p.link_mac == POLICY_KEEP ? POLICY_PERMUTE : p.link_mac;
	__lsan_disable(); /* memory of sodium_malloc() is not searched for pointers */
	must(view_open(&w->view, &p, 0, master));
	__lsan_enable();
	must(view_thread_open(&w->thread, w->view));
	must(trip_open(&w->trip, view_packets(w->view)));
	return w;
}

/* --- bytes --- */

/* Into as much memory as there may be, filled with two different things: each byte that is shown was written. */
#define TWICE(call)                                                                                \
	do {                                                                                       \
		uint8_t *out = malloc(n ? n : 1), *second = malloc(n ? n : 1);                     \
		memset(out, 0xa5, n);                                                              \
		uint32_t one = call;                                                               \
		uint8_t *first = out;                                                              \
		out = second;                                                                      \
		memset(out, 0x5a, n);                                                              \
		uint32_t two = call;                                                               \
		if (one != two || one > n || memcmp(first, second, one) != 0)                      \
			abort();                                                                   \
		free(first);                                                                       \
		free(second);                                                                      \
	} while (0)

static void
rewrite_all(struct watched *w, const uint8_t *bytes, uint32_t n, uint8_t some)
{
	struct rewrite r = { .thread = &w->thread, .tunnels = some % 6 };
	uint8_t *p = malloc(n ? n : 1);
	memcpy(p, bytes, n);
	TWICE(rewrite_ip(r, p, n, out));
	TWICE(rewrite_ethernet(r, p, n, out));
	TWICE(rewrite_arp(&w->thread, p, n, out));
	TWICE(rewrite_dns(&w->thread, p, n, out));
	TWICE(rewrite_tunnel(r, some & 1 ? 47 : 41, p, n, out));
	TWICE(rewrite_behind_udp(r, 1, 4789, p, n, out));
	TWICE(rewrite_behind_udp(r, 53, 1, p, n, out));
	TWICE(rewrite_behind_icmp(r, 6, 128 + some % 16, p, n, out));
	TWICE(rewrite_behind_icmp(r, 4, some % 16, p, n, out));
	if (rewrite_link(&w->thread, linktypes[some % 9], p, n < 80 ? n : 80) != OK)
		abort();
	free(p);
}

/* --- frames --- */

static void
add_frame(struct reader *r, bool made)
{
	uint8_t kind = reader_u8(r), which = reader_u8(r), n = reader_u8(r);
	struct frame *f = &in->v[in->count++];
	uint8_t *p = in->bytes + in->used_bytes;
	if (made) {
		*f = bases->v[(which + 256u * (kind & 1)) % bases->count];
		memcpy(p, bases->bytes + f->at, f->cap_len);
		for (unsigned i = 0; i < kind / 16u && f->cap_len; i++) {
			uint16_t at = reader_le16(r);
			p[at % f->cap_len] = reader_u8(r);
		}
		f->cap_len = kind & 2 ? f->cap_len * n / 256u : f->cap_len;
	} else {
		uint32_t left = (uint32_t)reader_left(r), bytes = n < left ? n : left;
		const uint8_t *from = reader_view(r, bytes);
		*f = (struct frame){ .wire_len = bytes, .cap_len = bytes, .linktype = linktypes[which % 10] };
		if (bytes)
			memcpy(p, from, bytes);
	}
	f->ts_ns = 1000u * in->count;
	f->at = in->used_bytes;
	in->used_bytes += f->cap_len;
}

struct planted {
	uint32_t frame, at, bytes;
};

/* An address that has nothing to do with the input at each place: a fuzzer learns what it is compared with. */
static uint32_t
plant(struct planted *out, uint32_t room, const uint8_t *data, size_t n, uint8_t salt)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < in->count; i++) {
		const struct frame *f = &in->v[i];
		uint8_t *p = in->bytes + f->at;
		struct frame_places places;
		frame_places(f->linktype, p, f->cap_len, p, &places);
		for (uint32_t k = 0; k < places.count && count < room; k++) {
			const struct place_of *x = &places.v[k];
			struct planted *o = &out[count];
			uint8_t hash[32];
			if (place_bytes(x) == 2 || (x->kind != PLACE_MAC && x->bits < 8 * place_bytes(x)))
				continue;
			*o = (struct planted){ i, f->at + x->at, place_bytes(x) };
			crypto_generichash(hash, sizeof hash, data, n, (const uint8_t[16]){ salt, (uint8_t)count, (uint8_t)(count >> 8) }, 16);
			hash[0] = o->bytes == 6 ? hash[0] & 0xfc : o->bytes == 4 ? (uint8_t)(hash[0] % 60 + 30) : 0x26;
			memcpy(in->bytes + o->at, hash, o->bytes);
			count++;
		}
	}
	return count;
}

/* The number of a planted address that is shown; UINT32_MAX: none. */
static uint32_t
leak(struct watched *w, const uint8_t *data, size_t n, uint8_t salt)
{
	static struct planted planted[FRAMES_MAX * PLACES_MAX];
	uint32_t count = salt ? plant(planted, FRAMES_MAX * PLACES_MAX, data, n, salt) : 0;
	const char *said = trip_view(w->trip, in, shown);
	if (!said)
		said = view_audit(w->view, in, shown);
	if (said) {
		policy_print(view_policy(w->view), stderr);
		fprintf(stderr, "%s\n", said);
		abort();
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct frame *f = &shown->v[planted[i].frame];
		if (memmem(shown->bytes + f->at, f->cap_len, in->bytes + planted[i].at, planted[i].bytes))
			return i;
	}
	return UINT32_MAX;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (!in) {
		if (sodium_init() < 0 || frames_open(&in, 1 << 20) != OK || frames_open(&shown, 1 << 20) != OK ||
		    frames_open(&bases, 1 << 20) != OK)
			abort();
		canaries.state = 3;
		canary_frames(bases, &canaries);
	}
	if (n < 2)
		return 0;
	struct reader r = reader_of(data + 2, n - 2);
	struct watched *w = watched_by(data[0] % POLICIES);
	frames_reset(in);
	while (reader_left(&r) >= 3 && in->count < FRAMES_MAX)
		add_frame(&r, !(data[1] & 1));
	if (in->count == 0)
		return 0;
	const struct frame *f = &in->v[0];
	uint32_t skip = data[1] & 2 && f->cap_len >= 14 ? 14 : data[1] & 4 && f->cap_len >= 42 ? 42 : 0;
	rewrite_all(w, in->bytes + f->at + skip, f->cap_len - skip, data[1]);
	bool may_plant = view_policy(w->view)->payload_bytes == 0 && data[1] & 8;
	uint32_t shown_one = leak(w, data, n, may_plant ? 1 : 0);
	if (shown_one != UINT32_MAX && leak(w, data, n, 2) == shown_one) {
		policy_print(view_policy(w->view), stderr);
		fprintf(stderr, "the planted address %u is shown\n", shown_one);
		abort();
	}
	return 0;
}
