/* TCP conversations: handshake with options, requests and answers in bursts with delayed acknowledgements, loss with
 * selective acknowledgement, closing by FIN or RST; scans that nobody answers and ports that refuse. */
#include <string.h>

#include "base/bytes.h"
#include "tests/gen/talk.h"

enum flags { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum step {
	STEP_SYN, STEP_SYN_ACK, STEP_ESTABLISH, STEP_REQUEST, STEP_REQUEST_ACK, STEP_DATA, STEP_DATA_ACK, STEP_AGAIN,
	STEP_FIN, STEP_FIN_ACK, STEP_LAST_ACK, STEP_SCAN, STEP_REFUSE,
};
enum { CLIENT, SERVER };

#define LOSS_PER_MILLION    4000u
#define OFFLOAD_MAX         40u /* segments that a card gets as one frame */
#define OFFLOAD_RECORD_MAX  11u /* of them in one TLS record of 16,384 bytes */

static uint16_t
server_port(struct chance *c)
{
	static const uint16_t ports[] = { 443, 443, 443, 443, 443, 443, 443, 80, 80, 8443, 993, 8080 };
	uint32_t i = chance_below(c, 14);
	return i < sizeof ports / sizeof *ports ? ports[i] : (uint16_t)(20000 + chance_below(c, 3000));
}

/* Both of even length. The answer's body ends with the connection. */
static const char ask[] = "GET /index.html HTTP/1.1\r\nHost: www.example.net\r\nConnection: close\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n";
_Static_assert(sizeof ask % 2 == 1 && sizeof answer % 2 == 1, "payload starts at an even offset");

static bool
web(const struct talk *t)
{
	return t->port[SERVER] == 80 || t->port[SERVER] == 8080;
}

void
tcp_start(struct talk *t, struct net *n)
{
	struct chance *c = &n->chance;
	t->port[CLIENT] = (uint16_t)(32768 + chance_below(c, 20000));
	t->port[SERVER] = server_port(c);
	t->rtt_ns = 400000 + chance_exponential(c, 35000000);
	t->mss = t->path.tunnel ? 1360 : t->v6 ? 1440 : 1460;
	t->timestamps = chance_in(c, 800000);
	t->upload = chance_in(c, 120000);
	t->rounds = 1 + chance_exponential(c, 2);
	t->seq[CLIENT] = (uint32_t)chance_bits(c);
	t->seq[SERVER] = (uint32_t)chance_bits(c);
	t->receive[CLIENT] = (uint16_t)(500 + chance_below(c, 2000));
	t->receive[SERVER] = (uint16_t)(200 + chance_below(c, 400));
	t->scale[CLIENT] = (uint8_t)(7 + chance_below(c, 3));
	t->scale[SERVER] = 7;
	if (web(t)) {
		t->upload = false;
		t->rounds = 1;
	}
	t->step = chance_in(c, 60000) ? STEP_SCAN : STEP_SYN;
	if (t->step == STEP_SCAN) {
		t->port[SERVER] = (uint16_t)(1 + chance_below(c, 10000));
		t->rounds = 1 + chance_below(c, 3);
	}
}

static uint32_t
put_syn_options(uint8_t *o, const struct talk *t, uint8_t side, uint32_t stamp, uint32_t echo)
{
	uint8_t *p = o;
	store_be32(p, 0x02040000u | t->mss);
	p += 4;
	if (t->timestamps) {
		store_be16(p, 0x0402); /* SACK permitted */
		store_be16(p + 2, 0x080a);
		store_be32(p + 4, stamp);
		store_be32(p + 8, echo);
		p += 12;
	} else {
		store_be32(p, 0x01010402);
		p += 4;
	}
	store_be32(p, 0x01030300u | t->scale[side]);
	return (uint32_t)(p + 4 - o);
}

static uint32_t
put_options(uint8_t *o, const struct talk *t, uint8_t side, uint32_t stamp, bool sack)
{
	uint8_t *p = o;
	if (t->timestamps) {
		store_be32(p, 0x0101080a);
		store_be32(p + 4, stamp);
		store_be32(p + 8, t->stamp[!side]);
		p += 12;
	}
	if (sack) {
		store_be32(p, 0x0101050a);
		store_be32(p + 4, t->again_seq + t->again_len);
		store_be32(p + 8, t->seq[!side]);
		p += 12;
	}
	return (uint32_t)(p - o);
}

/* What stands before the pattern, so that dissectors see what the port promises. An even number of bytes. */
static uint32_t
put_prefix(uint8_t *p, const struct talk *t, uint8_t side, uint32_t seq, uint32_t len)
{
	uint16_t port = t->port[SERVER];
	if ((port == 443 || port == 8443 || port == 993) && len >= 6) {
		p[0] = 0x17; /* application data: one record per segment */
		p[1] = p[2] = 3;
		store_be16(p + 3, (uint16_t)(len - 5));
		p[5] = (uint8_t)len;
		return 6;
	}
	if (web(t) && side == CLIENT && len == sizeof ask - 1)
		memcpy(p, ask, len);
	else if (web(t) && side == SERVER && seq == t->answer_seq && len >= sizeof answer - 1)
		memcpy(p, answer, sizeof answer - 1);
	else
		return 0;
	return side == CLIENT ? sizeof ask - 1 : sizeof answer - 1;
}

static void
send(struct talk *t, struct net *n, uint64_t now, uint8_t side, uint8_t flags, uint32_t seq, uint32_t len, bool sack)
{
	const struct host *host = &n->hosts.v[t->host[side]];
	struct packet p;
	talk_packet(&p, t, n, side, 6);
	uint32_t stamp = host->stamp_base + (uint32_t)(now / host->stamp_ns);
	uint32_t options = flags & SYN ? put_syn_options(p.head + 20, t, side, stamp, flags & ACK ? t->stamp[!side] : 0)
	                               : put_options(p.head + 20, t, side, stamp, sack);
	uint32_t header = 20 + options;
	store_be16(p.head, t->port[side]);
	store_be16(p.head + 2, t->port[!side]);
	store_be32(p.head + 4, seq);
	store_be32(p.head + 8, flags & ACK ? t->ack[side] : 0);
	p.head[12] = (uint8_t)(header / 4 << 4);
	p.head[13] = flags;
	store_be16(p.head + 14, flags & SYN ? 64240 : flags & RST ? 0 : t->receive[side]);
	store_be16(p.head + 18, 0);
	uint32_t prefix = len > 0 ? put_prefix(p.head + header, t, side, seq, len) : 0;
	p.head_len = header + prefix;
	p.pattern_at = pattern_place(seq, t->flow_label + side);
	p.pattern_len = len - prefix;
	p.sum_at = 16;
	p.pseudo = true;
	t->stamp[side] = stamp;
	packet_send(&n->trace, now, &p, 0);
}

/* The other side has got all that was sent by `side` so far. */
static void
received(struct talk *t, uint8_t side)
{
	t->ack[!side] = t->seq[side];
}

static uint64_t
turn_open(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	switch (t->step) {
	case STEP_SYN:
		send(t, n, now, CLIENT, SYN, t->seq[CLIENT]++, 0, false);
		received(t, CLIENT);
		t->step = chance_in(c, 15000) ? STEP_REFUSE : STEP_SYN_ACK;
		return t->rtt_ns;
	case STEP_SYN_ACK:
		send(t, n, now, SERVER, SYN | ACK, t->seq[SERVER]++, 0, false);
		received(t, SERVER);
		t->step = STEP_ESTABLISH;
		return 20000 + chance_exponential(c, 40000);
	case STEP_ESTABLISH:
		send(t, n, now, CLIENT, ACK, t->seq[CLIENT], 0, false);
		t->step = STEP_REQUEST;
		return 50000 + chance_exponential(c, 300000);
	case STEP_REFUSE:
		send(t, n, now, SERVER, RST | ACK, 0, 0, false);
		return 0;
	default: /* STEP_SCAN: the same SYN again after one, two, four seconds */
		send(t, n, now, CLIENT, SYN, t->seq[CLIENT], 0, false);
		return t->rounds-- > 1 ? 1000000000ull << t->count++ : 0;
	}
}

static uint64_t
turn_request(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	if (t->step == STEP_REQUEST) {
		uint32_t len = web(t) ? sizeof ask - 1 : 120 + chance_below(c, 900);
		send(t, n, now, CLIENT, PSH | ACK, t->seq[CLIENT], len, false);
		t->seq[CLIENT] += len;
		received(t, CLIENT);
		t->left = chance_pareto(c, 700, 1.2, 400000000); /* heavy tail: most answers are small, most bytes are in few */
		t->answer_seq = t->seq[SERVER];
		t->window = 10;
		t->burst = 0;
		t->step = chance_in(c, 600000) ? STEP_REQUEST_ACK : STEP_DATA;
		return t->rtt_ns;
	}
	send(t, n, now, SERVER, ACK, t->seq[SERVER], 0, false);
	t->step = STEP_DATA;
	return 100000 + chance_exponential(c, 3000000);
}

/* After a segment or an acknowledgement of the answer: what comes next. */
static uint64_t
next_data(struct talk *t, struct chance *c)
{
	if (t->left > 0) {
		t->step = STEP_DATA;
		if (t->burst < t->window)
			return 2000 + chance_exponential(c, 14000);
		t->burst = 0;
		if (t->window < 200)
			t->window += t->window / 2;
		return t->rtt_ns + chance_exponential(c, t->rtt_ns / 20 + 1000);
	}
	if (t->rounds-- > 1) {
		t->step = STEP_REQUEST;
		return 1000000 + chance_exponential(c, 400000000);
	}
	t->step = STEP_FIN;
	return chance_in(c, 300000) ? 5000000000ull : 200000 + chance_exponential(c, 20000000);
}

static uint64_t
turn_data(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	uint8_t from = t->upload ? CLIENT : SERVER;
	if (t->step == STEP_AGAIN) {
		send(t, n, now, from, ACK, t->again_seq, t->again_len, false);
		t->again_len = 0;
		t->ack[!from] = t->seq[from];
		t->count = 2;
		t->step = STEP_DATA_ACK;
		return 30000;
	}
	if (t->step == STEP_DATA) {
		uint32_t most = t->port[SERVER] >= 20000 ? OFFLOAD_MAX : OFFLOAD_RECORD_MAX;
		uint32_t segments = n->hosts.v[t->host[from]].offload ? 1 + chance_below(c, most) : 1;
		uint64_t len = (uint64_t)segments * t->mss;
		if (len > t->left)
			len = t->left;
		t->left -= len;
		uint32_t seq = t->seq[from];
		t->seq[from] += (uint32_t)len;
		t->burst++;
		bool lost = t->again_len == 0 && t->left > 20000 && chance_in(c, LOSS_PER_MILLION);
		if (lost) {
			t->again_seq = seq;
			t->again_len = (uint32_t)len;
		}
		if (!lost || chance_in(c, 500000)) /* lost after or before the place of capture */
			send(t, n, now, from, t->left == 0 || t->burst == t->window ? PSH | ACK : ACK, seq, (uint32_t)len, false);
		if (++t->count % 2 && t->left > 0)
			return next_data(t, c);
		t->step = STEP_DATA_ACK;
		return 3000 + chance_exponential(c, 20000);
	}
	bool sack = t->again_len > 0;
	if (!sack)
		t->ack[!from] = t->seq[from];
	send(t, n, now, !from, ACK, t->seq[!from], 0, sack && t->timestamps);
	if (chance_in(c, 30000))
		t->receive[!from] = (uint16_t)(t->receive[!from] + chance_below(c, 64) - 32);
	if (sack && (t->count > 6 || t->left == 0)) {
		t->step = STEP_AGAIN;
		return t->rtt_ns;
	}
	return next_data(t, c);
}

static uint64_t
turn_close(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	switch (t->step) {
	case STEP_FIN:
		if (chance_in(c, 80000)) {
			send(t, n, now, CLIENT, RST | ACK, t->seq[CLIENT], 0, false);
			return 0;
		}
		send(t, n, now, SERVER, FIN | ACK, t->seq[SERVER]++, 0, false);
		received(t, SERVER);
		t->step = STEP_FIN_ACK;
		return 30000 + chance_exponential(c, 200000);
	case STEP_FIN_ACK:
		send(t, n, now, CLIENT, FIN | ACK, t->seq[CLIENT]++, 0, false);
		received(t, CLIENT);
		t->step = STEP_LAST_ACK;
		return t->rtt_ns;
	default:
		send(t, n, now, SERVER, ACK, t->seq[SERVER], 0, false);
		return 0;
	}
}

uint64_t
tcp_turn(struct talk *t, struct net *n, uint64_t now)
{
	switch (t->step) {
	case STEP_REQUEST:
	case STEP_REQUEST_ACK:
		return turn_request(t, n, now);
	case STEP_DATA:
	case STEP_DATA_ACK:
	case STEP_AGAIN:
		return turn_data(t, n, now);
	case STEP_FIN:
	case STEP_FIN_ACK:
	case STEP_LAST_ACK:
		return turn_close(t, n, now);
	default:
		return turn_open(t, n, now);
	}
}
