/* The frame of a command line: one table of verbs, each with its options, from which parsing, help and exit codes follow.
 *
 *   atoll [OPTION...] VERB [OPTION...] [ARGUMENT...]     options and arguments in any order; "--" ends the options
 *   atoll help [VERB], atoll VERB --help, atoll --version
 *
 * --name VALUE, --name=VALUE, -n VALUE, -nVALUE; flags of one letter may be joined. "-" is an argument. An option is given
 * once unless it is a list. Anything unknown is refused with the nearest name that there is.
 */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define OPTION_LIST_MAX 64u   /* values of one list option */

enum option_kind {
	OPTION_FLAG,
	OPTION_TEXT,
	OPTION_COUNT, /* a whole number, checked while parsing */
	OPTION_LIST,  /* text, may be given again */
};

struct option_spec {
	const char *name;        /* without the dashes; NULL ends a list of options */
	char        letter;      /* 0: none */
	enum option_kind kind;
	const char *value;       /* what the help calls the value: "DIR" */
	const char *environment; /* variable that gives a default, or NULL; not for flags */
	const char *help;        /* one line */
};

struct example {
	const char *command, *what; /* command NULL ends the list */
};

struct given;

struct verb {
	const char *name, *summary;
	const char *arguments;   /* as shown: "[streams|segments]"; "" for none */
	unsigned    least, most; /* how many arguments */
	const struct option_spec *options[4]; /* groups, NULL-ended; the program's common options are added */
	const char *details;     /* paragraphs for the help, or NULL */
	const struct example *examples;
	/* ERR_USAGE and the like with a sentence. For an outcome that is neither good nor an error, see options_main. */
	enum err (*run)(const struct given *given);
};

struct program {
	const char *name, *version, *summary;
	const struct option_spec *common; /* every verb has these; they may also stand before the verb */
	const struct verb *const *verbs;  /* NULL-ended */
};

/* What was given to a verb. Asking for an option that the verb has not is our bug (assert). Borrowed from argv. */
bool        given_flag(const struct given *g, const char *name);
const char *given_text(const struct given *g, const char *name, const char *otherwise);
uint64_t    given_count(const struct given *g, const char *name, uint64_t otherwise);
unsigned    given_list(const struct given *g, const char *name, const char *const **values);
unsigned    given_arguments(const struct given *g, const char *const **values);

/* Parses, runs the verb, prints `atoll VERB: sentence` on stderr when it failed, and returns the exit code. Output that
 * could not be written to stdout is an error too. */
int options_main(const struct program *p, int argc, char **argv);

/* The exit codes, in this one place: 0 ok, 1 error, 2 usage, 3 partial, 4 denied, 5 nothing there, 130 interrupted. */
int options_exit_code(enum err e);

/* The one of names (NULL-ended) that a person may have meant by text, or NULL when none is near. */
const char *options_nearest(const char *text, const char *const *names);

void options_help(const struct program *p, FILE *to);
void options_help_verb(const struct program *p, const struct verb *v, FILE *to);

#endif
