#include "ingest/capture.h"

#include <errno.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "archive/dissect.h"
#include "base/human.h"
#include "base/log.h"
#include "base/when.h"

#define DISPATCH_MAX  4096u          /* packets between two looks at the clock */
#define RETIRE_MS     100            /* the kernel hands over a block of the ring that is not full after so long */
#define LOOK_NS       NS_PER_S       /* how often the interface's state is looked at */

struct capture {
	pcap_t  *pcap;
	char     name[IFNAMSIZ];
	int      fd;
	uint32_t snaplen;
	uint16_t linktype;
	bool     headers_only, nanoseconds, down;
	uint64_t look_ns;
	uint32_t drop, if_drop;        /* as libpcap last told: they wrap */
	struct capture_losses losses;
};

/* What the callback of libpcap needs. */
struct filling {
	struct capture *c;
	struct frames  *f;
	struct sampler *s;
	uint64_t        seen;
};

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* --- opening --- */

/* DLT_ as the capture calls it to LINKTYPE_ as files do (https://www.tcpdump.org/linktypes.html): the same but for a few that
 * differ between systems. */
static uint16_t
linktype_of(int dlt)
{
	switch (dlt) {
	case DLT_RAW:
		return LINK_RAW;
	case DLT_ATM_RFC1483:
		return 100;
	case DLT_ATM_CLIP:
		return 106;
	case DLT_C_HDLC:
		return 104;
	default:
		return (uint16_t)dlt;
	}
}

static enum err
open_error(const struct capture *c, int code)
{
	const char *text = pcap_geterr(c->pcap);
	switch (code) {
	case PCAP_ERROR_NO_SUCH_DEVICE:
		return fail(ERR_ABSENT, "%s: no such interface (`ip link` lists them)", c->name);
	case PCAP_ERROR_PERM_DENIED:
	case PCAP_ERROR_PROMISC_PERM_DENIED:
		return fail(ERR_DENIED, "%s: not allowed to capture: run as root, or with the capability CAP_NET_RAW", c->name);
	case PCAP_ERROR_IFACE_NOT_UP:
		return fail(ERR_IO, "%s: the interface is down: ip link set %s up", c->name, c->name);
	default:
		return fail(ERR_IO, "%s: %s%s%s", c->name, pcap_statustostr(code), *text ? ": " : "", text);
	}
}

static enum err
set_filter(struct capture *c, const char *expression)
{
	struct bpf_program program;
	char shown[256];
	if (pcap_compile(c->pcap, &program, expression, 1, PCAP_NETMASK_UNKNOWN) != 0)
		return fail(ERR_USAGE, "capture filter \"%s\": %s", human_text(shown, sizeof shown, expression), pcap_geterr(c->pcap));
	int bad = pcap_setfilter(c->pcap, &program);
	pcap_freecode(&program);
	return bad ? fail(ERR_IO, "%s: capture filter: %s", c->name, pcap_geterr(c->pcap)) : OK;
}

static enum err
activate(struct capture *c, const struct capture_options *o)
{
	char text[PCAP_ERRBUF_SIZE];
	pcap_set_snaplen(c->pcap, (int)c->snaplen);
	pcap_set_promisc(c->pcap, o->promiscuous);
	pcap_set_timeout(c->pcap, RETIRE_MS);
	pcap_set_buffer_size(c->pcap, (int)o->ring_bytes);
	c->nanoseconds = pcap_set_tstamp_precision(c->pcap, PCAP_TSTAMP_PRECISION_NANO) == 0;
	int code = pcap_activate(c->pcap);
	if (code < 0)
		return open_error(c, code);
	if (code > 0)
		log_line(LOG_WARNED, "%s: %s %s", c->name, pcap_statustostr(code), pcap_geterr(c->pcap));
	c->nanoseconds = pcap_get_tstamp_precision(c->pcap) == PCAP_TSTAMP_PRECISION_NANO;
	c->linktype = linktype_of(pcap_datalink(c->pcap));
	c->snaplen = (uint32_t)pcap_snapshot(c->pcap);
	if (o->filter)
		TRY(set_filter(c, o->filter));
	if (pcap_setnonblock(c->pcap, 1, text) != 0)
		return fail(ERR_IO, "%s: %s", c->name, text);
	c->fd = pcap_get_selectable_fd(c->pcap);
	return c->fd >= 0 ? OK : fail(ERR_UNSUPPORTED, "%s: this kind of interface can not be waited for", c->name);
}

enum err
capture_open(struct capture **out, const char *interface, const struct capture_options *o)
{
	char text[PCAP_ERRBUF_SIZE], shown[64];
	if (strlen(interface) >= IFNAMSIZ)
		return fail(ERR_ABSENT, "%s: no such interface", human_text(shown, sizeof shown, interface));
	struct capture *c = calloc(1, sizeof *c);
	if (!c)
		return fail(ERR_NOMEM, "%s: no memory", interface);
	snprintf(c->name, sizeof c->name, "%s", interface);
	c->headers_only = o->headers_only;
	c->snaplen = o->snaplen ? o->snaplen : o->headers_only ? CAPTURE_SNAPLEN_HEADERS : CAPTURE_SNAPLEN_FULL;
	c->pcap = pcap_create(interface, text);
	enum err e = c->pcap ? activate(c, o) : fail(ERR_IO, "%s: %s", interface, text);
	if (e != OK)
		capture_close(&c);
	else
		*out = c;
	return e;
}

void
capture_close(struct capture **out)
{
	struct capture *c = *out;
	*out = NULL;
	if (!c)
		return;
	if (c->pcap)
		pcap_close(c->pcap);
	free(c);
}

const char *capture_name(const struct capture *c) { return c->name; }
uint32_t    capture_snaplen(const struct capture *c) { return c->snaplen; }

/* --- packets --- */

static void
take_packet(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct filling *fill = (struct filling *)user;
	struct capture *c = fill->c;
	struct frames *f = fill->f;
	fill->seen++;
	if (!sampler_looks(fill->s) && !sampler_keeps(fill->s, c->linktype, bytes, 0))
		return;
	uint32_t n = h->caplen;
	uint8_t *to = f->bytes + f->used_bytes;
	memcpy(to, bytes, n);
	if (sampler_looks(fill->s) && !sampler_keeps(fill->s, c->linktype, to, n))
		return;
	if (c->headers_only) {
		struct dissection d;
		dissect(c->linktype, to, n, &d);
		n = dissect_headers_end(&d, to, n);
	}
	uint64_t fraction = c->nanoseconds ? (uint64_t)h->ts.tv_usec : (uint64_t)h->ts.tv_usec * 1000;
	f->v[f->count++] = (struct frame){
		.ts_ns = (uint64_t)h->ts.tv_sec * NS_PER_S + fraction,
		.wire_len = h->len,
		.cap_len = n,
		.at = f->used_bytes,
		.linktype = c->linktype,
	};
	f->used_bytes += n;
}

/* Whether it is still there; says when it goes down or comes up. */
static bool
look(struct capture *c)
{
	struct ifreq r = { 0 };
	c->look_ns = now_ns() + LOOK_NS;
	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", c->name);
	if (ioctl(c->fd, SIOCGIFFLAGS, &r) < 0)
		return errno != ENODEV && errno != ENXIO;
	bool down = !(r.ifr_flags & IFF_UP);
	if (down != c->down)
		log_line(LOG_WARNED, down ? "%s: the interface went down; waiting for it" : "%s: the interface is up again", c->name);
	c->down = down;
	return true;
}

static enum err
wait_packets(struct capture *c, uint64_t until)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint64_t now = now_ns();
	int ms = until > now ? (int)((until - now + 999999) / 1000000) : 0;
	int n = poll(&p, 1, ms);
	if (n < 0 && errno != EINTR)
		return fail_errno("%s: poll", c->name);
	if (n > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL))) {
		if (!look(c))
			return END;
		poll(NULL, 0, 50); /* down: the socket says so again and again */
	} else if (now >= c->look_ns && !look(c)) {
		return END;
	}
	return OK;
}

enum err
capture_fill(struct capture *c, struct frames *f, struct sampler *s, uint64_t *seen, unsigned milliseconds, bool *full)
{
	uint64_t until = now_ns() + milliseconds * 1000000ull;
	struct filling fill = { c, f, s, 0 };
	enum err e = OK;
	*full = false;
	for (;;) {
		uint32_t room = BLOCK_RECORDS_MAX - f->count, by_bytes = (f->room_bytes - f->used_bytes) / c->snaplen;
		room = room < by_bytes ? room : by_bytes;
		*full = room == 0;
		if (*full)
			break;
		int n = pcap_dispatch(c->pcap, (int)(room < DISPATCH_MAX ? room : DISPATCH_MAX), take_packet, (u_char *)&fill);
		if (n < 0 && !look(c)) {
			e = END;
			break;
		}
		if (n < 0)
			poll(NULL, 0, 50); /* "The interface went down": it may come back */
		if (n <= 0)
			e = wait_packets(c, until);
		if (e != OK || now_ns() >= until)
			break;
	}
	*seen += fill.seen;
	return e;
}

enum err
capture_losses(struct capture *c, struct capture_losses *out)
{
	struct pcap_stat st;
	if (pcap_stats(c->pcap, &st) != 0)
		return fail(ERR_IO, "%s: %s", c->name, pcap_geterr(c->pcap));
	c->losses.kernel += (uint32_t)(st.ps_drop - c->drop);
	c->losses.interface += (uint32_t)(st.ps_ifdrop - c->if_drop);
	c->drop = st.ps_drop;
	c->if_drop = st.ps_ifdrop;
	*out = c->losses;
	return OK;
}
