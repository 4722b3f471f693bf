#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive/ticket.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/when.h"
#include "ingest/enrolment.h"
#include "tools/collect.h"

/* "-": the code comes from standard input, where ps does not show it. */
static enum err
code_get(const char *given, struct ticket *t)
{
	char line[TICKET_CODE_CHARS + 16];
	if (strcmp(given, "-") != 0)
		return ticket_parse(t, given);
	if (!fgets(line, sizeof line, stdin))
		return fail(ERR_USAGE, "no code on standard input");
	line[strcspn(line, " \r\n")] = '\0';
	return ticket_parse(t, line);
}

/* The spool of an earlier enrolment: no archive takes what is in it under the new keys. */
static enum err
spool_aside(const char *dir)
{
	char from[PATH_BYTES], to[PATH_BYTES];
	TRY(io_path(from, dir, "spool"));
	TRY(io_path(to, dir, "spool.%" PRIu64, when_now() / NS_PER_S));
	enum err e = io_rename(from, to);
	if (e == OK)
		fprintf(stderr, "atoll-collect enroll: the old spool is kept as %s; no archive will take it: remove it\n", to);
	return e == ERR_ABSENT ? OK : e;
}

/* The keys to enrol: new ones, or those of an attempt whose answer was not heard. */
static enum err
keys(const struct given *g, const char *dir, const struct ticket *t, struct identity **out)
{
	struct identity *old = NULL;
	enum err e = identity_load(&old, dir);
	if (e == ERR_ABSENT)
		return identity_make(out, NULL);
	bool again = given_flag(g, "again");
	if (e != OK && !again)
		return e;
	if (e == OK && !old->enrolled && memcmp(old->archive_key, t->archive, sizeof t->archive) == 0) {
		*out = old;
		return OK;
	}
	if (e == OK && old->enrolled && !again) {
		e = fail(ERR_EXISTS, "%s: this is monitor \"%s\" of the archive at %s already; --again gives that up, and its spool", dir,
		         old->monitor, old->host);
		identity_close(&old);
		return e;
	}
	identity_close(&old);
	TRY(spool_aside(dir));
	return identity_make(out, NULL);
}

static enum err
enroll(const struct given *g, const char *dir, const char *url, const struct ticket *t, struct identity **id)
{
	TRY(keys(g, dir, t, id));
	TRY(identity_address(*id, url));
	memcpy((*id)->archive_key, t->archive, sizeof t->archive);
	(*id)->enrolled = false;
	TRY(identity_store(dir, *id)); /* before the archive may know the keys */
	TRY(enrolment(*id, t->secret));
	return identity_store(dir, *id);
}

static enum err
report(const struct given *g, const char *dir, const struct identity *id)
{
	char fingerprint[KEY_FINGERPRINT_CHARS + 1];
	ticket_fingerprint(fingerprint, id->archive_key);
	if (given_flag(g, "json")) {
		struct json j = collect_json();
		json_text(&j, "monitor", id->monitor);
		json_text(&j, "host", id->host);
		json_u64(&j, "port", id->port);
		json_text(&j, "archive_fingerprint", fingerprint);
		json_hex(&j, "archive", id->archive, sizeof id->archive);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	if (!given_flag(g, "quiet"))
		printf("this is monitor \"%s\" of the archive at %s port %u, whose key is %s\nkeys are in %s/identity; next: atoll-collect "
		       "run -i IFACE, or atoll-collect push FILE\n", id->monitor, id->host, id->port, fingerprint, dir);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *const *arguments;
	const char *dir = collect_dir(g);
	struct identity *id = NULL;
	struct ticket t;
	given_arguments(g, &arguments);
	TRY(collect_harden());
	TRY(code_get(arguments[1], &t));
	enum err e = enroll(g, dir, arguments[0], &t, &id);
	if (e == OK)
		e = report(g, dir, id);
	identity_close(&id);
	return e;
}

static const struct option_spec options[] = {
	{ "again", 0, OPTION_FLAG, NULL, NULL, "give up an enrolment that there is, with what its spool still holds" },
	{ 0 },
};

const struct verb collect_enroll = {
	.name = "enroll",
	.summary = "make this machine a monitor of an archive",
	.arguments = "URL CODE",
	.least = 2,
	.most = 2,
	.options = { options },
	.details = "`atoll enroll NAME` at the archive prints the code. It is good once and names the archive's key, so that nobody\n"
	           "else can stand in for it. With \"-\" the code is read from standard input. Interrupted, the same command goes on.",
	.examples = (const struct example[]){
		{ "atoll-collect enroll atoll://archive.example.net CODE", "enrol with the archive's default port" },
		{ "atoll-collect -C DIR enroll atoll://10.0.0.5:7713 - < code", "the code from a file, into another folder" },
		{ 0 },
	},
	.run = run,
};
