#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/notify.h"
#include "tools/collect.h"

#define CLOSE_WAIT_MS 2000 /* for acknowledgements, when it is told to stop; the rest waits in the spool */

struct captures {
	struct capture *v[CAPTURE_INTERFACES_MAX];
	unsigned count;
};

struct life {
	struct notify notify;
	struct collector *collector;
};

static enum err
captures_open(const struct given *g, struct captures *all)
{
	const char *const *names;
	unsigned n = given_list(g, "interface", &names);
	struct capture_options o = {
		.filter = given_text(g, "filter", NULL),
		.snaplen = (uint32_t)given_count(g, "snaplen", 0),
		.headers_only = !given_flag(g, "full"),
		.promiscuous = given_flag(g, "promisc"),
	};
	if (n == 0)
		return fail(ERR_USAGE, "say what to capture: -i IFACE");
	if (n > CAPTURE_INTERFACES_MAX)
		return fail(ERR_USAGE, "at most %u interfaces in one process", CAPTURE_INTERFACES_MAX);
	if (given_count(g, "snaplen", 64) < 64 || given_count(g, "snaplen", 64) > CAPTURE_SNAPLEN_FULL)
		return fail(ERR_USAGE, "--snaplen is 64 to %u", CAPTURE_SNAPLEN_FULL);
	o.ring_bytes = CAPTURE_RING_BYTES / n;
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < i; k++)
			if (strcmp(names[i], names[k]) == 0)
				return fail(ERR_USAGE, "interface %s is named twice", names[i]);
		TRY(capture_open(&all->v[i], names[i], &o));
		all->count++;
	}
	return OK;
}

static void
captures_close(struct captures *all)
{
	for (unsigned i = 0; i < all->count; i++)
		capture_close(&all->v[i]);
	all->count = 0;
}

static void
tick(void *arg)
{
	struct life *life = arg;
	struct sender_status st;
	struct spool_totals t;
	collector_sender_status(life->collector, &st);
	spool_totals(collector_spool(life->collector), &t);
	notify_alive(&life->notify);
	notify_status(&life->notify, "%s; %llu bytes wait in the spool", sender_phase_name(st.phase),
	              (unsigned long long)t.waiting_bytes);
}

static enum err
collect(struct life *life, const char *dir, const struct identity *id, const struct captures *all,
        const struct spool_options *spool, const struct live_options *o)
{
	char sentence[ERR_TEXT_BYTES];
	TRY(collector_open(&life->collector, dir, id, spool));
	notify_ready(&life->notify);
	log_line(LOG_NOTED, "capturing on %u interface%s for the archive at %s", all->count, all->count > 1 ? "s" : "", id->host);
	enum err e = collector_live(life->collector, all->v, all->count, o, tick, life);
	snprintf(sentence, sizeof sentence, "%s", err_text());
	notify_stopping(&life->notify);
	enum err closed = collector_close(&life->collector, CLOSE_WAIT_MS);
	if (e == OK)
		log_line(LOG_NOTED, "stopped");
	return e != OK ? fail(e, "%s", sentence) : closed;
}

static enum err
run_as(const struct given *g, const struct identity *id, struct captures *all, const struct spool_options *spool,
       const struct live_options *o)
{
	struct life life = { 0 };
	if (!id->enrolled)
		return fail(ERR_ABSENT, "the enrolment was not finished: repeat `atoll-collect enroll` with the same code");
	TRY(captures_open(g, all));
	TRY(collect_drop_privileges(given_text(g, "user", NULL), collect_dir(g)));
	notify_init(&life.notify);
	enum err e = collect(&life, collect_dir(g), id, all, spool, o);
	notify_fini(&life.notify);
	return e;
}

static enum err
run(const struct given *g)
{
	struct identity *id = NULL;
	struct captures all = { 0 };
	struct spool_options spool = { 0 };
	struct live_options live = { .rate = 1, .shed = given_flag(g, "shed") };
	const char *sample = given_text(g, "sample", NULL);
	TRY(collect_harden());
	if (sample)
		TRY(sampler_parse(&live.sampler, &live.rate, sample));
	TRY(collect_spool_options(g, &spool));
	TRY(identity_load(&id, collect_dir(g)));
	randombytes_buf(live.seed, sizeof live.seed);
	enum err e = run_as(g, id, &all, &spool, &live);
	captures_close(&all);
	identity_close(&id);
	return e;
}

static const struct option_spec options[] = {
	{ "interface", 'i', OPTION_LIST, "IFACE", NULL, "capture here; the stream has the interface's name" },
	{ "filter", 'f', OPTION_TEXT, "EXPR", NULL, "only packets that match (pcap-filter)" },
	{ "snaplen", 0, OPTION_COUNT, "N", NULL, "bytes to capture of each packet (default: 128, with --full all)" },
	{ "full", 0, OPTION_FLAG, NULL, NULL, "keep payload too; without, each packet is cut behind its headers" },
	{ "promisc", 0, OPTION_FLAG, NULL, NULL, "also packets that are not for this machine" },
	{ "sample", 0, OPTION_TEXT, "HOW", NULL, "keep a part: every:N, random:N, or flow:N (all packets of one in N flows)" },
	{ "shed", 0, OPTION_FLAG, NULL, NULL, "when it is too much, keep a smaller part instead of dropping blindly" },
	{ "user", 0, OPTION_TEXT, "NAME", NULL, "become this user once the captures are open (default: atoll-collect, nobody)" },
	{ 0 },
};

const struct verb collect_run = {
	.name = "run",
	.summary = "capture on interfaces and send to the archive",
	.arguments = "",
	.options = { options, collect_spool_option_specs },
	.details = "Needs root, or the capability CAP_NET_RAW, to open the captures; then all rights are given up. Without a way to the\n"
	           "archive packets wait in the spool, sealed for the archive's key. What is lost is counted by its cause: kernel\n"
	           "(this machine was too slow), interface, spool (it was full), policy (sampling). SIGTERM makes everything durable and\n"
	           "ends; the next start goes on.",
	.examples = (const struct example[]){
		{ "atoll-collect run -i eth0 -i eth1 --promisc", "headers of two interfaces" },
		{ "atoll-collect run -i eth0 --filter 'not port 22' --sample flow:16", "all packets of one in 16 flows" },
		{ 0 },
	},
	.run = run,
};
