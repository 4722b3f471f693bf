#include "base/config.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/amount.h"
#include "base/human.h"
#include "base/ini.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/options.h"

enum kind { KIND_text, KIND_address, KIND_count, KIND_size, KIND_duration, KIND_bool };

static const struct setting {
	const char *section, *key, *otherwise, *sentence;
	enum kind   kind;
	size_t      at; /* in struct config */
} settings[] = {
#define F(section, key, type, otherwise, sentence) \
	{ #section, #key, otherwise, sentence, KIND_##type, offsetof(struct config, section##_##key) },
	CONFIG_SETTINGS(F)
#undef F
};
#define SETTINGS (sizeof settings / sizeof *settings)

struct config_origin {
	char where[CONFIG_TEXT_BYTES];
};

/* As ini.h wants them. */
static const struct ini_name setting_names[] = {
#define F(section, key, type, otherwise, sentence) { #section, #key },
	CONFIG_SETTINGS(F)
#undef F
	{ "stream", NULL },
	{ NULL, NULL },
};

struct loading {
	struct config    *config;
	struct ini_faults faults;
	struct ini        ini;
	struct config_stream *stream; /* the [stream "NAME"] of the lines read now */
	unsigned          set_on[SETTINGS], stream_set_on[2]; /* line in this file, 0: not set in it */
};

/* Where the value that is read now comes from. */
static void
place_name(const struct loading *l, char out[CONFIG_TEXT_BYTES])
{
	if (l->faults.line)
		snprintf(out, CONFIG_TEXT_BYTES, "%.200s:%u", l->faults.place, l->faults.line);
	else
		snprintf(out, CONFIG_TEXT_BYTES, "environment %s", l->faults.place);
}

/* --- values --- */

/* HOST:PORT, [IP6]:PORT; empty: none. */
static enum err
address_parse(struct config_address *out, const char *text, const char *what)
{
	struct config_address a = { .port = 0 };
	uint64_t port;
	const char *host = text, *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	if (*text == 0) {
		*out = a;
		return OK;
	}
	bool bracketed = n >= 2 && text[0] == '[' && text[n - 1] == ']';
	if (bracketed) {
		host++;
		n -= 2;
	}
	if (colon == NULL || n == 0 || n >= sizeof a.host || (!bracketed && memchr(host, ':', n)) || memchr(host, ' ', n) ||
	    number_parse(&port, colon + 1, what) != OK || port == 0 || port > UINT16_MAX)
		return fail(ERR_USAGE, "%s: \"%.80s\" is not an address, like 127.0.0.1:7714 or [::]:7713", what, text);
	memcpy(a.host, host, n);
	a.port = (uint16_t)port;
	*out = a;
	return OK;
}

static enum err
bool_parse(bool *out, const char *text, const char *what)
{
	bool yes = strcmp(text, "yes") == 0;
	if (!yes && strcmp(text, "no") != 0)
		return fail(ERR_USAGE, "%s: \"%.40s\" is neither yes nor no", what, text);
	*out = yes;
	return OK;
}

static enum err
value_parse(const struct setting *s, struct config *c, const char *text)
{
	void *at = (char *)c + s->at;
	switch (s->kind) {
	case KIND_text:
		if (strlen(text) >= CONFIG_TEXT_BYTES)
			return fail(ERR_USAGE, "%s: longer than %u bytes", s->key, CONFIG_TEXT_BYTES - 1);
		memset(at, 0, CONFIG_TEXT_BYTES);
		memcpy(at, text, strlen(text));
		return OK;
	case KIND_address:
		return address_parse(at, text, s->key);
	case KIND_count:
		return number_parse(at, text, s->key);
	case KIND_size:
		return size_parse(at, text, s->key);
	case KIND_duration:
		return duration_parse(at, text, s->key);
	case KIND_bool:
		return bool_parse(at, text, s->key);
	}
	assert(!"a setting has one of the types");
	return ERR_USAGE;
}

static void
value_print(const struct setting *s, const struct config *c, char out[CONFIG_TEXT_BYTES + 16])
{
	const void *at = (const char *)c + s->at;
	const struct config_address *a = at;
	char amount[AMOUNT_BYTES];
	switch (s->kind) {
	case KIND_text:
		snprintf(out, CONFIG_TEXT_BYTES, "%s", (const char *)at);
		break;
	case KIND_address:
		if (a->host[0])
			snprintf(out, CONFIG_TEXT_BYTES + 16, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, a->port);
		else
			out[0] = 0;
		break;
	case KIND_count:
		snprintf(out, CONFIG_TEXT_BYTES, "%" PRIu64, *(const uint64_t *)at);
		break;
	case KIND_size:
		snprintf(out, CONFIG_TEXT_BYTES, "%s", size_print(amount, *(const uint64_t *)at));
		break;
	case KIND_duration:
		snprintf(out, CONFIG_TEXT_BYTES, "%s", duration_print(amount, *(const uint64_t *)at));
		break;
	case KIND_bool:
		snprintf(out, CONFIG_TEXT_BYTES, "%s", *(const bool *)at ? "yes" : "no");
		break;
	}
}

/* --- one setting, wherever it comes from --- */

static void
setting_set(struct loading *l, size_t i, const char *text)
{
	if (value_parse(&settings[i], l->config, text) != OK)
		ini_fault(&l->faults, "%s", err_text());
	else
		place_name(l, l->config->origins[i].where);
}

/* --- lines --- */

static void
stream_section(struct loading *l, const char *name)
{
	struct config *c = l->config;
	l->stream = NULL;
	memset(l->stream_set_on, 0, sizeof l->stream_set_on);
	for (uint32_t i = 0; i < c->stream_count; i++)
		if (strcmp(c->streams[i].name, name) == 0)
			l->stream = &c->streams[i];
	if (l->stream)
		return;
	if (c->stream_count == CONFIG_STREAMS_MAX) {
		ini_fault(&l->faults, "more than %u sections of streams", CONFIG_STREAMS_MAX);
		ini_skip_section(&l->ini);
		return;
	}
	if ((c->stream_count & (c->stream_count - 1)) == 0) { /* room for twice as many */
		struct config_stream *more = realloc(c->streams, (c->stream_count ? 2 * c->stream_count : 1) * sizeof *more);
		if (more == NULL) {
			ini_fault(&l->faults, "no memory for %u sections of streams", c->stream_count + 1);
			ini_skip_section(&l->ini);
			return;
		}
		c->streams = more;
	}
	l->stream = &c->streams[c->stream_count++];
	*l->stream = (struct config_stream){ .age_ns = UINT64_MAX, .bytes = UINT64_MAX };
	snprintf(l->stream->name, sizeof l->stream->name, "%s", name);
}

/* [section], [stream "NAME"] */
static void
section_begin(struct loading *l)
{
	const char *section = l->ini.section;
	char name[STREAM_NAME_BYTES];
	l->stream = NULL;
	if (strncmp(section, "stream", 6) == 0 && (section[6] == 0 || section[6] == ' ')) {
		size_t n = strlen(section), length = n > 9 ? n - 9 : 0; /* of NAME in stream "NAME" */
		if (length == 0 || section[7] != '"' || section[n - 1] != '"' || memchr(section + 8, '"', length) ||
		    length >= sizeof name) {
			ini_fault(&l->faults, "the section of a stream is written [stream \"NAME\"]");
			ini_skip_section(&l->ini);
			return;
		}
		snprintf(name, sizeof name, "%.*s", (int)length, section + 8);
		stream_section(l, name);
	} else if (!ini_section_known(setting_names, section)) {
		ini_unknown_section(&l->faults, setting_names, section);
		ini_skip_section(&l->ini);
	}
}

static void
stream_key(struct loading *l, const char *key, const char *value)
{
	static const char *const keys[] = { "age", "bytes", NULL };
	unsigned which = strcmp(key, "age") == 0 ? 0 : strcmp(key, "bytes") == 0 ? 1 : 2;
	char shown[64];
	if (which == 2) {
		const char *near = options_nearest(key, keys);
		ini_fault(&l->faults, "there is no %s in [stream \"%s\"]%s%s%s", human_text(shown, sizeof shown, key),
		          l->stream->name, near ? "; did you mean " : ": age and bytes", near ? near : "", near ? "?" : "");
		return;
	}
	if (!ini_first(&l->faults, key, &l->stream_set_on[which]))
		return;
	if ((which == 0 ? duration_parse(&l->stream->age_ns, value, key) : size_parse(&l->stream->bytes, value, key)) != OK)
		ini_fault(&l->faults, "%s", err_text());
	place_name(l, l->stream->where);
}

static void
setting_read(struct loading *l)
{
	if (l->stream) {
		stream_key(l, l->ini.key, l->ini.value);
		return;
	}
	int i = ini_find(&l->faults, setting_names, l->ini.section, l->ini.key);
	if (i >= 0 && ini_first(&l->faults, l->ini.key, &l->set_on[i]))
		setting_set(l, (size_t)i, l->ini.value);
}

/* --- files --- */

static enum err
file_load(struct loading *l, const char *path)
{
	char *text = NULL;
	size_t n = 0;
	TRY(ini_read(path, CONFIG_FILE_BYTES_MAX, &text, &n));
	l->faults.place = path;
	l->stream = NULL;
	memset(l->set_on, 0, sizeof l->set_on);
	ini_begin(&l->ini, text, n, &l->faults);
	while (ini_next(&l->ini))
		if (l->ini.key == NULL)
			section_begin(l);
		else
			setting_read(l);
	l->faults.line = 0;
	free(text);
	return OK;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum err
folder_list(const char *folder, char *names[CONFIG_FILES_MAX], unsigned *count)
{
	DIR *d = opendir(folder);
	if (d == NULL)
		return errno == ENOENT ? OK : fail_errno("%s", folder);
	enum err e = OK;
	for (struct dirent *entry; e == OK && (entry = readdir(d));) {
		size_t n = strlen(entry->d_name);
		if (entry->d_name[0] == '.' || n < 6 || strcmp(entry->d_name + n - 5, ".conf") != 0)
			continue;
		if (*count == CONFIG_FILES_MAX)
			e = fail(ERR_LIMIT, "%s: more than %u files", folder, CONFIG_FILES_MAX);
		else if ((names[*count] = strdup(entry->d_name)) == NULL)
			e = fail(ERR_NOMEM, "%s: no memory to read it", folder);
		else
			++*count;
	}
	closedir(d);
	qsort(names, *count, sizeof *names, by_text);
	return e;
}

static enum err
folder_load(struct loading *l, const char *path)
{
	char folder[PATH_BYTES], file[PATH_BYTES], *names[CONFIG_FILES_MAX];
	unsigned count = 0;
	if (snprintf(folder, sizeof folder, "%s.d", path) >= (int)sizeof folder)
		return fail(ERR_LIMIT, "%s: path too long", path);
	enum err e = folder_list(folder, names, &count);
	for (unsigned i = 0; i < count; i++) {
		if (e == OK)
			e = io_path(file, folder, "%s", names[i]);
		if (e == OK)
			e = file_load(l, file);
		free(names[i]);
	}
	return e;
}

/* --- environment --- */

/* "ATOLL_SERVER_LISTEN" of section and key. */
static void
variable_name(char out[CONFIG_TEXT_BYTES], const char *section, const char *key)
{
	snprintf(out, CONFIG_TEXT_BYTES, "ATOLL_%s_%s", section, key);
	for (char *at = out; *at; at++)
		*at = (char)toupper((uint8_t)*at);
}

static void
environment_load(struct loading *l, char *const *environment)
{
	for (; environment && *environment; environment++) {
		char name[CONFIG_TEXT_BYTES], wanted[CONFIG_TEXT_BYTES];
		size_t n = strcspn(*environment, "=");
		if (strncmp(*environment, "ATOLL_", 6) != 0 || n >= sizeof name || (*environment)[n] == 0)
			continue;
		snprintf(name, sizeof name, "%.*s", (int)n, *environment);
		l->faults.place = name;
		const char *section = NULL;
		bool known = false;
		for (size_t i = 0; i < SETTINGS && !known; i++) {
			variable_name(wanted, settings[i].section, settings[i].key);
			known = strcmp(wanted, name) == 0;
			if (known)
				setting_set(l, i, *environment + n + 1);
			else if (strncmp(name, wanted, 7 + strlen(settings[i].section)) == 0)
				section = settings[i].section;
		}
		if (known || section == NULL) /* other variables of ours are not settings: ATOLL_ARCHIVE */
			continue;
		char key[CONFIG_TEXT_BYTES];
		snprintf(key, sizeof key, "%s", name + 7 + strlen(section));
		for (char *at = key; *at; at++)
			*at = (char)tolower((uint8_t)*at);
		ini_find(&l->faults, setting_names, section, key); /* tells that there is none */
	}
}

/* --- all of it --- */

static void
defaults(struct config *c)
{
	for (size_t i = 0; i < SETTINGS; i++) {
		enum err e = value_parse(&settings[i], c, settings[i].otherwise);
		assert(e == OK);
		snprintf(c->origins[i].where, sizeof c->origins[i].where, "default");
	}
}

/* What can not be together. */
static void
config_relations(struct loading *l)
{
	const struct config *c = l->config;
	l->faults.place = "configuration";
	if (c->limits_connections == 0)
		ini_fault(&l->faults, "[limits] connections: at least 1");
	if (c->retention_free_bytes && c->retention_stop_bytes > c->retention_free_bytes)
		ini_fault(&l->faults, "[retention] stop_bytes is more than free_bytes: everything would stop before anything is removed");
	if (c->server_listen.host[0] && c->server_metrics.port == c->server_listen.port &&
	    strcmp(c->server_metrics.host, c->server_listen.host) == 0)
		ini_fault(&l->faults, "[server] listen and metrics are the same address");
}

enum err
config_load(struct config **out, const char *path, char *const *environment, void (*see)(void *arg, const char *sentence),
            void *arg)
{
	struct config *c = calloc(1, sizeof *c);
	struct loading *l = calloc(1, sizeof *l);
	if (c)
		c->origins = calloc(SETTINGS, sizeof *c->origins);
	enum err e = c && l && c->origins ? OK : fail(ERR_NOMEM, "no memory for the configuration");
	if (e == OK) {
		l->config = c;
		l->faults = (struct ini_faults){ .see = see, .arg = arg };
		defaults(c);
		e = file_load(l, path ? path : CONFIG_PATH_DEFAULT);
		if (e == ERR_ABSENT && path == NULL)
			e = OK;
	}
	if (e == OK)
		e = folder_load(l, path ? path : CONFIG_PATH_DEFAULT);
	if (e == OK) {
		environment_load(l, environment);
		if (l->faults.count == 0)
			config_relations(l);
		e = ini_verdict(&l->faults, "atoll config check");
	}
	free(l);
	if (e == OK)
		*out = c;
	else
		config_close(&c);
	return e;
}

void
config_close(struct config **c)
{
	if (*c == NULL)
		return;
	free((*c)->streams);
	free((*c)->origins);
	free(*c);
	*c = NULL;
}

static void
retention_apply(const struct config *c, const char *name, size_t n, uint64_t *age_ns, uint64_t *bytes)
{
	for (uint32_t i = 0; i < c->stream_count; i++) {
		const struct config_stream *s = &c->streams[i];
		if (strlen(s->name) != n || memcmp(s->name, name, n) != 0)
			continue;
		*age_ns = s->age_ns != UINT64_MAX ? s->age_ns : *age_ns;
		*bytes = s->bytes != UINT64_MAX ? s->bytes : *bytes;
	}
}

void
config_retention(const struct config *c, const char *stream, uint64_t *age_ns, uint64_t *bytes)
{
	if (strchr(stream, '/'))
		retention_apply(c, stream, strcspn(stream, "/"), age_ns, bytes);
	retention_apply(c, stream, strlen(stream), age_ns, bytes);
}

enum err
config_walk(const struct config *c, config_see *see, void *arg)
{
	char value[CONFIG_TEXT_BYTES + 16], amount[AMOUNT_BYTES], section[CONFIG_TEXT_BYTES + 16];
	for (size_t i = 0; i < SETTINGS; i++) {
		value_print(&settings[i], c, value);
		TRY(see(arg, settings[i].section, settings[i].key, value, c->origins[i].where));
	}
	for (uint32_t i = 0; i < c->stream_count; i++) {
		const struct config_stream *s = &c->streams[i];
		snprintf(section, sizeof section, "stream \"%s\"", s->name);
		if (s->age_ns != UINT64_MAX)
			TRY(see(arg, section, "age", duration_print(amount, s->age_ns), s->where));
		if (s->bytes != UINT64_MAX)
			TRY(see(arg, section, "bytes", size_print(amount, s->bytes), s->where));
	}
	return OK;
}

void
config_example(FILE *to)
{
	fputs("# The configuration of an Atoll server, with the defaults. It is read from " CONFIG_PATH_DEFAULT " (or --config\n"
	      "# FILE), then from the *.conf files of the folder FILE.d by name; a later value takes the place of an earlier one,\n"
	      "# and the environment variable ATOLL_SECTION_KEY that of all. `atoll config check` looks for mistakes, `atoll config\n"
	      "# show` tells what holds and where it comes from. Sizes: bytes, or with kB MB GB TB PB (powers of 1000), KiB MiB GiB\n"
	      "# TiB PiB. Durations: s m h d w. No secrets here.\n", to);
	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *s = &settings[i];
		if (i == 0 || strcmp(s->section, settings[i - 1].section) != 0)
			fprintf(to, "\n[%s]\n", s->section);
		char variable[CONFIG_TEXT_BYTES];
		variable_name(variable, s->section, s->key);
		fprintf(to, "# %s (%s)\n#%s = %s\n", s->sentence, variable, s->key, s->otherwise);
	}
	fputs("\n# Retention of one stream (MONITOR/STREAM when a monitor feeds it), or of all streams of the monitor with this name.\n"
	      "# These sections hold from the next start on; [limits] and [retention] are read again on SIGHUP.\n"
	      "#[stream \"roof/eth0\"]\n#age = 30d\n#bytes = 200 GB\n", to);
}
