#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/amount.h"
#include "base/config.h"
#include "base/human.h"
#include "base/when.h"
#include "index/control.h"
#include "index/monitors.h"
#include "tools/verbs.h"

#define TTL_DEFAULT "15m"
#define HOST_BYTES  257u
#define URL_BYTES   320u

/* Of the archive itself: no server has it open. */
static enum err
ticket_local(const struct given *g, const char *dir, const char *name, uint64_t ttl_ns, struct ticket *t, uint64_t *expires_ns)
{
	struct store *s = NULL;
	struct archive_identity identity;
	uint64_t now_ns = when_now();
	*expires_ns = now_ns + ttl_ns;
	TRY(store_open(&s, dir, given_text(g, "key-file", NULL)));
	monitors_identity(archive_keystore(store_archive(s)), &identity);
	memcpy(t->archive, identity.noise_public, sizeof t->archive);
	sodium_memzero(&identity, sizeof identity);
	enum err e = monitors_ticket(s, name, now_ns, *expires_ns, t->secret);
	store_close(&s);
	return e;
}

static enum err
ticket_get(const struct given *g, const char *name, uint64_t ttl_ns, struct ticket *t, uint64_t *expires_ns, unsigned *port)
{
	const char *dir;
	int fd;
	TRY(given_archive_dir(&dir, g));
	enum err e = control_dial(&fd, dir);
	if (e == END)
		return ticket_local(g, dir, name, ttl_ns, t, expires_ns);
	return e == OK ? control_ask_ticket(&fd, name, ttl_ns, t, expires_ns, port) : e;
}

/* What --host says, or the system's name. */
static enum err
host_get(const struct given *g, char host[HOST_BYTES])
{
	char system[HOST_NAME_MAX + 1] = "";
	if (gethostname(system, sizeof system - 1) < 0)
		return fail_errno("host name");
	if (snprintf(host, HOST_BYTES, "%s", given_text(g, "host", system)) >= (int)HOST_BYTES)
		*host = 0;
	size_t n = strlen(host);
	for (const char *at = host; *at; at++)
		if ((unsigned char)*at <= ' ' || *at == '/' || *at == 0x7f || strchr("'\"\\$`;&|<>()*?#", *at))
			n = 0;
	return n ? OK : fail(ERR_USAGE, "--host wants the name or the address by which the monitor reaches this machine");
}

/* Where the server listens when it does not run. */
static enum err
port_configured(const struct given *g, unsigned *port)
{
	struct config *config = NULL;
	TRY(config_load(&config, given_text(g, "config", NULL), environ, NULL, NULL));
	*port = config->server_listen.port ? config->server_listen.port : WIRE_PORT;
	config_close(&config);
	return OK;
}

/* atoll://HOST:PORT; port unless the host has one. */
static void
url_make(const char *host, unsigned port, char url[URL_BYTES])
{
	size_t n = strlen(host), colons = 0;
	for (const char *at = host; *at; at++)
		colons += *at == ':';
	bool bare6 = colons > 1 && host[0] != '[';
	bool has_port = host[0] == '[' ? host[n - 1] != ']' : colons == 1;
	if (has_port)
		snprintf(url, URL_BYTES, "atoll://%s", host);
	else
		snprintf(url, URL_BYTES, bare6 ? "atoll://[%s]:%u" : "atoll://%s:%u", host, port);
}

static enum err
print_json(const char *name, const char *code, const char *key, uint64_t expires_ns, const char *url, const char *command)
{
	struct json j = report_json();
	json_text(&j, "monitor", name);
	json_text(&j, "code", code);
	report_time(&j, "expires", expires_ns, true);
	json_text(&j, "archive_key", key);
	json_text(&j, "url", url);
	json_text(&j, "command", command);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static enum err
run(const struct given *g)
{
	const char *const *arguments;
	struct ticket t;
	uint64_t ttl_ns, expires_ns;
	unsigned configured, port = 0;
	char host[HOST_BYTES], url[URL_BYTES], command[URL_BYTES + TICKET_CODE_CHARS + 64], code[TICKET_CODE_CHARS + 1];
	char key[KEY_FINGERPRINT_CHARS + 1], when[WHEN_TEXT_BYTES];
	given_arguments(g, &arguments);
	TRY(duration_parse(&ttl_ns, given_text(g, "ttl", TTL_DEFAULT), "--ttl"));
	if (ttl_ns == 0 || ttl_ns > TICKET_TTL_NS_MAX)
		return fail(ERR_USAGE, "--ttl: from 1s to 30d");
	TRY(host_get(g, host));
	TRY(port_configured(g, &configured));
	TRY(ticket_get(g, arguments[0], ttl_ns, &t, &expires_ns, &port));
	url_make(host, port ? port : configured, url);
	ticket_format(code, &t);
	ticket_fingerprint(key, t.archive);
	snprintf(command, sizeof command, "atoll-collect enroll %s %s", url, code);
	if (given_flag(g, "json"))
		return print_json(arguments[0], code, key, expires_ns, url, command);
	when_format(when, expires_ns);
	if (given_flag(g, "quiet")) {
		printf("%s\n", code);
		return OK;
	}
	printf("On the monitor, once, until %.19sZ:\n\n  %s\n\n", when, command);
	printf("archive key  %s\n", key);
	printf("The command shows the same key. Until then the code is a secret: who has it becomes monitor \"%s\".\n", arguments[0]);
	return OK;
}

static const struct option_spec options[] = {
	{ "ttl", 0, OPTION_TEXT, "TIME", NULL, "how long the code is good: 15m (the default), 2h, 7d; at most 30d" },
	{ "host", 0, OPTION_TEXT, "HOST[:PORT]", NULL, "how the monitor reaches this machine (default: its host name)" },
	CONFIG_OPTION,
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll -A traces enroll roof", "a code for a new monitor, and the command to paste there" },
	{ "atoll -A traces enroll roof --ttl 2h --host archive.example.org", "good for two hours, under the name that the monitor sees" },
	{ "atoll -A traces enroll roof --json", "the same for a script" },
	{ 0 },
};

const struct verb verb_enroll = {
	.name = "enroll",
	.summary = "make a single-use code with which a monitor enrols",
	.arguments = "NAME",
	.least = 1,
	.most = 1,
	.options = { options },
	.details = "NAME: 1 to 63 of a-z A-Z 0-9 . _ -; its streams are called NAME/STREAM. A revoked or quarantined monitor is\n"
	           "enrolled again in the same way, under its old name. The port is that of the running server, or as configured, unless\n"
	           "--host has one. `atoll monitors` lists codes that wait, `atoll revoke` withdraws one.\n"
	           "A new code voids the one before for the same name. With\n"
	           "--quiet only the code is printed. Works beside a running server, as root or as its user. JSON: docs/json.md.",
	.examples = examples,
	.run = run,
};
