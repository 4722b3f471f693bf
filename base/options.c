#include "base/options.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"

#define SLOTS_MAX 64u
#define NAMES_MAX 128u
#define NAME_BYTES_MAX 64u

struct slot {
	const struct option_spec *spec;
	unsigned times;
	const char *values[OPTION_LIST_MAX];
	uint64_t count;
};

struct given {
	const struct program *program;
	const struct verb    *verb;
	struct slot slots[SLOTS_MAX];
	unsigned    slot_count;
	const char **arguments;
	unsigned    argument_count;
	bool        help, version;
};

/* ---- the nearest name ---- */

static unsigned
least_of(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;
	return least < c ? least : c;
}

/* Edits between two names, a swap of neighbours counting as one (optimal string alignment). */
static unsigned
distance(const char *a, const char *b)
{
	size_t m = strnlen(a, NAME_BYTES_MAX), n = strnlen(b, NAME_BYTES_MAX);
	unsigned rows[3][NAME_BYTES_MAX + 1];
	unsigned *before = rows[0], *above = rows[1], *here = rows[2];
	for (unsigned k = 0; k <= n; k++)
		above[k] = before[k] = k;
	for (unsigned i = 1; i <= m; i++) {
		here[0] = i;
		for (unsigned k = 1; k <= n; k++) {
			here[k] = least_of(above[k] + 1, here[k - 1] + 1, above[k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				here[k] = least_of(here[k], before[k - 2] + 1, here[k]);
		}
		unsigned *spare = before;
		before = above;
		above = here;
		here = spare;
	}
	return above[n];
}

const char *
options_nearest(const char *text, const char *const *names)
{
	const char *best = NULL;
	size_t length = strlen(text);
	unsigned bound = length < 3 ? 1 : length < 6 ? 2 : 3;
	for (; *names; names++) {
		if (length >= 2 && strncmp(text, *names, length) == 0)
			return *names;
		unsigned d = distance(text, *names);
		if (d <= bound && d < strlen(*names)) {
			bound = d > 0 ? d - 1 : 0;
			best = *names;
		}
	}
	return best;
}

/* ---- help ---- */

static void
help_options(const struct option_spec *o, FILE *to)
{
	for (; o->name; o++) {
		char left[64];
		const char *separator = o->value ? " " : "", *value = o->value ? o->value : "";
		if (o->letter)
			snprintf(left, sizeof left, "-%c, --%s%s%s", o->letter, o->name, separator, value);
		else
			snprintf(left, sizeof left, "    --%s%s%s", o->name, separator, value);
		fprintf(to, "  %-26s %s%s%s%s%s\n", left, o->help, o->kind == OPTION_LIST ? "; may be given again" : "",
		        o->environment ? " (default: " : "", o->environment ? o->environment : "", o->environment ? ")" : "");
	}
}

void
options_help_verb(const struct program *p, const struct verb *v, FILE *to)
{
	fprintf(to, "%s %s: %s\n\nExamples\n", p->name, v->name, v->summary);
	for (const struct example *e = v->examples; e && e->command; e++)
		fprintf(to, "  %s\n        %s\n", e->command, e->what);
	fprintf(to, "\nUsage\n  %s %s [OPTION...]%s%s\n", p->name, v->name, *v->arguments ? " " : "", v->arguments);
	if (v->details)
		fprintf(to, "\n%s\n", v->details);
	fputs("\nOptions\n", to);
	for (unsigned g = 0; g < 4 && v->options[g]; g++)
		help_options(v->options[g], to);
	help_options(p->common, to);
}

void
options_help(const struct program *p, FILE *to)
{
	fprintf(to, "%s: %s\n\nExamples\n", p->name, p->summary);
	for (const struct verb *const *v = p->verbs; *v; v++)
		if ((*v)->examples && (*v)->examples->command)
			fprintf(to, "  %s\n", (*v)->examples->command);
	fputs("\nVerbs\n", to);
	for (const struct verb *const *v = p->verbs; *v; v++)
		fprintf(to, "  %-10s %s\n", (*v)->name, (*v)->summary);
	fputs("\nOptions of every verb\n", to);
	help_options(p->common, to);
	fprintf(to, "\n%s help VERB tells more; exit codes: 0 ok, 1 error, 2 usage, 3 partial, 4 denied, 5 nothing there,\n"
	            "130 interrupted.\n", p->name);
}

/* ---- parsing ---- */

static void
slots_add(struct given *g, const struct option_spec *o)
{
	for (; o && o->name; o++) {
		assert(g->slot_count < SLOTS_MAX);
		g->slots[g->slot_count++].spec = o;
	}
}

static struct slot *
slot_named(struct given *g, const char *name, size_t length)
{
	for (unsigned i = 0; i < g->slot_count; i++)
		if (strncmp(g->slots[i].spec->name, name, length) == 0 && g->slots[i].spec->name[length] == '\0')
			return &g->slots[i];
	return NULL;
}

static struct slot *
slot_lettered(struct given *g, char letter)
{
	for (unsigned i = 0; i < g->slot_count; i++)
		if (letter && g->slots[i].spec->letter == letter)
			return &g->slots[i];
	return NULL;
}

static enum err
unknown_option(const struct given *g, const char *name, size_t length)
{
	const char *names[SLOTS_MAX + 2];
	unsigned n = 0;
	for (unsigned i = 0; i < g->slot_count; i++)
		names[n++] = g->slots[i].spec->name;
	names[n++] = "help";
	names[n] = NULL;
	char text[NAME_BYTES_MAX], shown[NAME_BYTES_MAX];
	snprintf(text, sizeof text, "%.*s", (int)(length < NAME_BYTES_MAX ? length : NAME_BYTES_MAX - 1), name);
	const char *near = options_nearest(text, names);
	const char *verb = g->verb ? g->verb->name : "";
	return fail(ERR_USAGE, "unknown option --%s%s%s%s (%s help%s%s lists them)", human_text(shown, sizeof shown, text),
	            near ? "; did you mean --" : "", near ? near : "", near ? "?" : "", g->program->name, *verb ? " " : "", verb);
}

static enum err
slot_set(struct slot *s, const char *value)
{
	const struct option_spec *o = s->spec;
	if (o->kind == OPTION_COUNT) {
		char what[NAME_BYTES_MAX];
		snprintf(what, sizeof what, "--%s", o->name);
		TRY(number_parse(&s->count, value, what));
	}
	if (o->kind == OPTION_LIST && s->times == OPTION_LIST_MAX)
		return fail(ERR_USAGE, "--%s is given more than %u times", o->name, OPTION_LIST_MAX);
	if (o->kind != OPTION_LIST && o->kind != OPTION_FLAG && s->times > 0)
		return fail(ERR_USAGE, "--%s is given twice", o->name);
	if (o->kind != OPTION_FLAG)
		s->values[s->times] = value;
	if (o->kind != OPTION_FLAG || s->times == 0)
		s->times++;
	return OK;
}

/* One "--name[=value]" at argv[*at]; takes the next word when the value stands there. */
static enum err
long_option(struct given *g, int argc, char **argv, int *at)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");
	const char *value = name[length] == '=' ? name + length + 1 : NULL;
	if (strcmp(name, "help") == 0) {
		g->help = true;
		return OK;
	}
	if (strcmp(name, "version") == 0) {
		g->version = true;
		return OK;
	}
	struct slot *s = slot_named(g, name, length);
	if (!s)
		return unknown_option(g, name, length);
	if (s->spec->kind == OPTION_FLAG)
		return value ? fail(ERR_USAGE, "--%s takes no value", s->spec->name) : slot_set(s, NULL);
	if (!value) {
		if (*at + 1 >= argc)
			return fail(ERR_USAGE, "--%s wants a value: --%s %s", s->spec->name, s->spec->name, s->spec->value);
		value = argv[++*at];
	}
	return slot_set(s, value);
}

/* "-abc", "-n5", "-n 5" at argv[*at]. */
static enum err
short_options(struct given *g, int argc, char **argv, int *at)
{
	for (const char *c = argv[*at] + 1; *c; c++) {
		struct slot *s = slot_lettered(g, *c);
		if (*c == 'h' && !s) {
			g->help = true;
			continue;
		}
		if (!s) {
			char shown[2] = { *c >= ' ' && *c < 0x7f ? *c : '?', '\0' };
			return fail(ERR_USAGE, "unknown option -%s (%s help%s%s lists them)", shown, g->program->name,
			            g->verb ? " " : "", g->verb ? g->verb->name : "");
		}
		if (s->spec->kind == OPTION_FLAG) {
			TRY(slot_set(s, NULL));
			continue;
		}
		if (c[1])
			return slot_set(s, c + 1);
		if (*at + 1 >= argc)
			return fail(ERR_USAGE, "-%c wants a value: -%c %s", *c, *c, s->spec->value);
		return slot_set(s, argv[++*at]);
	}
	return OK;
}

static enum err
verb_choose(struct given *g, const char *name, const struct verb **out)
{
	const char *names[NAMES_MAX];
	unsigned n = 0;
	for (const struct verb *const *v = g->program->verbs; *v; v++) {
		if (strcmp((*v)->name, name) == 0) {
			*out = *v;
			return OK;
		}
		assert(n + 2 < NAMES_MAX);
		names[n++] = (*v)->name;
	}
	names[n++] = "help";
	names[n] = NULL;
	const char *near = options_nearest(name, names);
	char shown[NAME_BYTES_MAX];
	return fail(ERR_USAGE, "unknown verb %s%s%s%s (%s help lists them)", human_text(shown, sizeof shown, name),
	            near ? "; did you mean " : "", near ? near : "", near ? "?" : "", g->program->name);
}

static enum err
verb_set(struct given *g, const char *name)
{
	TRY(verb_choose(g, name, &g->verb));
	for (unsigned i = 0; i < 4 && g->verb->options[i]; i++)
		slots_add(g, g->verb->options[i]);
	return OK;
}

/* Fills in what the environment gives and was not on the command line. */
static enum err
environment(struct given *g)
{
	for (unsigned i = 0; i < g->slot_count; i++) {
		struct slot *s = &g->slots[i];
		const char *value = s->spec->environment ? getenv(s->spec->environment) : NULL;
		if (!value || !*value || s->times > 0)
			continue;
		enum err e = slot_set(s, value);
		if (e != OK)
			return fail_prefix(e, "%s: ", s->spec->environment);
	}
	return OK;
}

static enum err
parse(struct given *g, int argc, char **argv)
{
	bool plain = false;
	bool helping = false; /* "help" stands where the verb would: the next word is what to explain */
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		if (!plain && strcmp(word, "--") == 0)
			plain = true;
		else if (!plain && word[0] == '-' && word[1] == '-')
			TRY(long_option(g, argc, argv, &i));
		else if (!plain && word[0] == '-' && word[1])
			TRY(short_options(g, argc, argv, &i));
		else if (!g->verb && !helping && strcmp(word, "help") == 0)
			helping = g->help = true;
		else if (!g->verb)
			TRY(verb_set(g, word));
		else
			g->arguments[g->argument_count++] = word;
	}
	return environment(g);
}

static enum err
arguments_check(const struct given *g)
{
	const struct verb *v = g->verb;
	unsigned n = g->argument_count;
	char shown[NAME_BYTES_MAX];
	if (n < v->least)
		return fail(ERR_USAGE, "wants %s; for example: %s", v->arguments, v->examples->command);
	if (n > v->most)
		return fail(ERR_USAGE, "does not know what to do with \"%s\"; usage: %s %s [OPTION...] %s",
		            human_text(shown, sizeof shown, g->arguments[v->most]), g->program->name, v->name, v->arguments);
	return OK;
}

/* ---- answers to a verb ---- */

static const struct slot *
slot_asked(const struct given *g, const char *name)
{
	for (unsigned i = 0; i < g->slot_count; i++)
		if (strcmp(g->slots[i].spec->name, name) == 0)
			return &g->slots[i];
	assert(!"a verb asked for an option that is not in its table");
	abort();
}

bool
given_flag(const struct given *g, const char *name)
{
	return slot_asked(g, name)->times > 0;
}

const char *
given_text(const struct given *g, const char *name, const char *otherwise)
{
	const struct slot *s = slot_asked(g, name);
	assert(s->spec->kind == OPTION_TEXT);
	return s->times > 0 ? s->values[0] : otherwise;
}

uint64_t
given_count(const struct given *g, const char *name, uint64_t otherwise)
{
	const struct slot *s = slot_asked(g, name);
	assert(s->spec->kind == OPTION_COUNT);
	return s->times > 0 ? s->count : otherwise;
}

unsigned
given_list(const struct given *g, const char *name, const char *const **values)
{
	const struct slot *s = slot_asked(g, name);
	assert(s->spec->kind == OPTION_LIST);
	*values = s->values;
	return s->times;
}

unsigned
given_arguments(const struct given *g, const char *const **values)
{
	*values = g->arguments;
	return g->argument_count;
}

/* ---- the whole run ---- */

int
options_exit_code(enum err e)
{
	switch (e) {
	case OK:
	case END:
		return 0;
	case ERR_USAGE:
		return 2;
	case ERR_PARTIAL:
		return 3;
	case ERR_DENIED:
		return 4;
	case ERR_ABSENT:
		return 5;
	case ERR_INTERRUPTED:
		return 130;
	case ERR_IO:
	case ERR_NOMEM:
	case ERR_FORMAT:
	case ERR_LIMIT:
	case ERR_EXISTS:
	case ERR_FULL:
	case ERR_BUSY:
	case ERR_UNSUPPORTED:
		return 1;
	}
	return 1;
}

static enum err
output_check(void)
{
	if (fflush(stdout) != 0)
		return fail_errno("standard output");
	return ferror(stdout) ? fail(ERR_IO, "standard output: write failed") : OK;
}

static enum err
run(struct given *g, int argc, char **argv)
{
	TRY(parse(g, argc, argv));
	if (g->version)
		printf("%s %s\n", g->program->name, g->program->version);
	else if (g->verb && g->help)
		options_help_verb(g->program, g->verb, stdout);
	else if (g->help)
		options_help(g->program, stdout);
	else if (!g->verb)
		return fail(ERR_USAGE, "say what to do: %s help lists the verbs", g->program->name);
	else {
		TRY(arguments_check(g));
		return g->verb->run(g);
	}
	return OK;
}

int
options_main(const struct program *p, int argc, char **argv)
{
	struct given *g = calloc(1, sizeof *g);
	const char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
	enum err e;
	const char *verb = "";
	if (!g || !arguments) {
		e = fail(ERR_NOMEM, "no memory for the command line");
	} else {
		g->program = p;
		g->arguments = arguments;
		slots_add(g, p->common);
		e = run(g, argc, argv);
		if (g->verb)
			verb = g->verb->name;
	}
	if (e != OK && e != END)
		fprintf(stderr, "%s%s%s: %s\n", p->name, *verb ? " " : "", verb, err_text());
	enum err written = output_check();
	if (written != OK && options_exit_code(e) == 0) {
		e = written;
		fprintf(stderr, "%s: %s\n", p->name, err_text());
	}
	free(arguments);
	free(g);
	return options_exit_code(e);
}
