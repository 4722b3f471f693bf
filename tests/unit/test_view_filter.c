/* Filters on a view: the selection is what libpcap selects of the frames that the view shows, though the index knows only what was
 * captured, and blocks that the index leaves out hold no match. */
#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anonymize/view.h"
#include "archive/block_read.h"
#include "base/bytes.h"
#include "base/sandbox.h"
#include "query/bpf_run.h"
#include "query/filter.h"
#include "tests/support/canary_frames.h"
#include "tests/support/filter_cases.h"
#include "tests/support/frame_places.h"
#include "tests/support/sealed_frames.h"
#include "tests/support/view_audit.h"

#define VIEWS      (PROGRAM_IS_SANITIZED ? 3u : 6u)
#define PER_BLOCK  64u
#define TEXT_BYTES 4096u

/* A frame as captured, as shown, and where it is in its block. */
struct record {
	uint32_t row, conversation;
	bool     hidden;
};

static struct frames *in, *shown;
static struct record *records;
static struct segment *segment;
static struct tally {
	uint64_t expressions, matches, blocks, skipped;
} tally;

static int
open_all(void **state)
{
	static struct canaries canaries = { .state = 3 };
	struct dice d = { 8 };
	(void)state;
	records = calloc(BLOCK_RECORDS_MAX, sizeof *records);
	if (!records || frames_open(&in, 4 << 20) != OK || frames_open(&shown, 4 << 20) != OK)
		return 1;
	make_frames(in, &d, 1, 10 * PER_BLOCK);
	canary_frames(in, &canaries);
	make_frames(in, &d, 113, PER_BLOCK);
	make_frames(in, &d, 101, PER_BLOCK);
	make_frames(in, &d, 147, PER_BLOCK);
	return sealed_frames(&segment, in, PER_BLOCK) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	segment_close(&segment);
	sealed_frames_release();
	frames_close(&in);
	frames_close(&shown);
	free(records);
	return 0;
}

static void
show_all(struct block_decoder *d)
{
	frames_reset(shown);
	for (uint32_t block = 0; block * PER_BLOCK < in->count; block++) {
		const struct batch *b = NULL;
		MUST(segment_load(segment, block, d, BATCH_ALL, &b, NULL));
		for (uint32_t i = 0; i < b->count; i++) {
			const uint8_t *p;
			uint32_t n, row = b->row_of[i], c = batch_conversation(b, row);
			MUST(batch_bytes(b, row, &p, &n));
			records[shown->count] = (struct record){ row, c, b->flows[2 * c].flags & FLOW_HIDDEN };
			shown->v[shown->count++] = (struct frame){ .wire_len = b->wire_len[row], .cap_len = n, .at = shown->used_bytes,
				                                   .linktype = batch_link(b, row)->linktype };
			memcpy(shown->bytes + shown->used_bytes, p, n);
			shown->used_bytes += n;
		}
	}
	assert_int_equal(shown->count, in->count);
}

/* --- libpcap's answer --- */

struct oracle {
	uint16_t linktype;
	bool     ok, open; /* open: it reads what it did not set, or may never end */
	struct bpf_program program;
};

static struct oracle
ask(const char *expression, uint16_t linktype)
{
	struct oracle o = { .linktype = linktype };
	o.ok = libpcap_compile(expression, linktype, &o.program);
	o.open = o.ok && o.program.bf_len && (bpf_jumps_back(o.program.bf_insns, o.program.bf_len) ||
	                                     bpf_reads_unset(o.program.bf_insns, o.program.bf_len));
	return o;
}

static struct oracle *
oracle_for(struct oracle *oracles, uint32_t *count, const char *expression, uint16_t linktype)
{
	uint32_t i = 0;
	while (i < *count && oracles[i].linktype != linktype)
		i++;
	if (i == *count)
		oracles[(*count)++] = ask(expression, linktype);
	return &oracles[i];
}

/* --- one expression --- */

static bool
raw_address_in(const struct filter_net *net, uint32_t i)
{
	struct frame_places places;
	const struct frame *f = &in->v[i];
	const uint8_t *p = in->bytes + f->at;
	frame_places(f->linktype, p, f->cap_len, p, &places);
	for (uint32_t k = 0; k < places.count; k++) {
		const uint8_t *a = p + places.v[k].at;
		bool same = places.v[k].kind == (net->family == 4 ? PLACE_IP4 : PLACE_IP6);
		for (unsigned bit = 0; same && bit < net->bits; bit++)
			same = ((a[bit / 8] ^ net->addr[bit / 8]) >> (7 - bit % 8) & 1) == 0;
		if (same)
			return true;
	}
	return false;
}

/* A match has an address in one of the networks that the index is asked for. */
static bool
index_would_find(const struct filter *f, uint32_t i)
{
	const struct filter_net *nets;
	uint32_t count;
	bool found = !filter_index_nets(f, &nets, &count);
	for (uint32_t k = 0; !found && k < count; k++)
		found = raw_address_in(&nets[k], i);
	return found;
}

static void
select_block(const struct filter *f, struct filter_state *s, struct block_decoder *d, uint32_t block)
{
	const struct batch *b = NULL;
	unsigned need = 0;
	(void)f;
	MUST(segment_load(segment, block, d, 0, &b, NULL));
	MUST(filter_flows(s, b, &need));
	if (!need)
		return;
	struct selection maybe = filter_selection(s);
	MUST(segment_load_selected(segment, block, d, need, &maybe, &b, NULL));
	MUST(filter_rows(s, b));
}

static void
check(const struct view *v, struct block_decoder *d, const char *expression)
{
	struct filter *f = NULL;
	struct filter_state *s = NULL;
	struct oracle oracles[32];
	uint32_t oracle_count = 0;
	uint64_t blocks;
	if (filter_open(&f, expression, v) != OK)
		return; /* which expressions are taken does not depend on the view */
	MUST(filter_state_open(&s, f));
	MUST(filter_blocks(f, segment, &blocks));
	tally.expressions++;
	for (uint32_t i = 0; i < shown->count; i++) {
		uint32_t block = i / PER_BLOCK;
		bool looked = blocks >> block & 1;
		if (i % PER_BLOCK == 0) {
			tally.blocks++;
			tally.skipped += !looked;
			if (looked)
				select_block(f, s, d, block);
		}
		const struct frame *x = &shown->v[i];
		struct oracle *o = oracle_for(oracles, &oracle_count, expression, x->linktype);
		if (o->open || records[i].hidden)
			continue;
		struct pcap_pkthdr h = { .caplen = x->cap_len, .len = x->wire_len };
		bool wanted = o->ok && o->program.bf_len && pcap_offline_filter(&o->program, &h, shown->bytes + x->at), got = false;
		if (looked) {
			struct selection sel = filter_selection(s);
			uint8_t flow = sel.conversation[records[i].conversation];
			got = flow == 2 ? sel.row[records[i].row] : flow;
		}
		tally.matches += wanted;
		if (wanted != got || (wanted && !index_would_find(f, i))) {
			policy_print(view_policy(v), stderr);
			fail_msg("`%s` frame %u of link type %u: libpcap %d, we %d; its block is %s", expression, i, x->linktype, wanted,
			         got, looked ? "looked at" : "left out");
		}
	}
	for (uint32_t i = 0; i < oracle_count; i++)
		if (oracles[i].ok)
			pcap_freecode(&oracles[i].program);
	filter_state_close(&s);
	filter_close(&f);
}

/* --- many expressions --- */

/* About an address that is shown, or that was captured and must not be found by it. */
static void
address_expression(struct dice *d, char out[TEXT_BYTES])
{
	static const char *const forms[] = { "host %s", "src host %s", "dst host %s", "ip6 or host %s", "not host %s", "arp host %s",
		                             "host %s and tcp", "host %s or port 53", "ip broadcast or host %s" };
	const struct frames *from = dice_roll(d, 4) ? shown : in;
	struct frame_places places = { 0 };
	char text[INET6_ADDRSTRLEN], net[INET6_ADDRSTRLEN + 8];
	const uint8_t *p = NULL;
	while (places.count == 0) {
		const struct frame *f = &from->v[dice_roll(d, from->count)];
		p = from->bytes + f->at;
		frame_places(f->linktype, p, f->cap_len, p, &places);
	}
	const struct place_of *x = &places.v[dice_roll(d, places.count)];
	uint8_t a[16] = { 0 };
	uint32_t bytes = place_bytes(x) == 16 ? 16 : 4, bits = dice_roll(d, 8 * bytes + 1);
	memcpy(a, p + x->at, place_bytes(x) < bytes ? place_bytes(x) : bytes);
	bool whole = dice_roll(d, 2);
	for (uint32_t i = whole ? 8 * bytes : bits; i < 8 * bytes; i++)
		a[i / 8] &= (uint8_t)~(0x80 >> i % 8);
	inet_ntop(bytes == 16 ? AF_INET6 : AF_INET, a, text, sizeof text);
	if (whole) {
		const char *form = forms[dice_roll(d, sizeof forms / sizeof forms[0])], *hole = strstr(form, "%s");
		snprintf(out, TEXT_BYTES, "%.*s%s%s", (int)(hole - form), form, text, hole + 2);
		return;
	}
	snprintf(net, sizeof net, "net %s/%u", text, bits);
	snprintf(out, TEXT_BYTES, dice_roll(d, 2) ? "%s" : "src %s and not udp", net);
}

static void
selects_what_libpcap_selects_of_the_view(void **state)
{
	char *text = NULL, made[TEXT_BYTES];
	uint32_t count = 0;
	struct listed *listed = read_expressions(&text, &count);
	(void)state;
	for (uint32_t i = 0; i < VIEWS; i++) {
		struct view *v = NULL;
		struct block_decoder *d = NULL;
		struct dice dice = { i };
		struct policy p = random_policy(500 + i);
		if (i % 3 != 2) /* most of them such that the index can be asked */
			p.addresses_ip4.kind = p.addresses_ip6.kind = i % 3 ? SCHEME_PFX : SCHEME_CRYPTOPAN;
		MUST(view_open(&v, &p, 0, (const uint8_t[VIEW_MASTER_BYTES]){ 4 }));
		MUST(block_decoder_open(&d, view_packets(v)));
		show_all(d);
		for (uint32_t k = i % 2; k < count; k += PROGRAM_IS_SANITIZED ? 7 : 2)
			if (listed[k].mark != '!')
				check(v, d, listed[k].text);
		for (uint32_t k = 0; k < (PROGRAM_IS_SANITIZED ? 60 : 300); k++) {
			if (k % 3)
				address_expression(&dice, made);
			else
				make_expression(&dice, made, sizeof made);
			check(v, d, made);
		}
		block_decoder_close(&d);
		view_close(&v);
	}
	free(listed);
	free(text);
	print_message("# %llu expressions on %u views, %llu matches; %llu of %llu blocks were left out by the index\n",
	              (unsigned long long)tally.expressions, VIEWS, (unsigned long long)tally.matches,
	              (unsigned long long)tally.skipped, (unsigned long long)tally.blocks);
	assert_true(tally.skipped * 10 > tally.blocks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(selects_what_libpcap_selects_of_the_view),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
