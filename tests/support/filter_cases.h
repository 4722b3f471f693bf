/* What the tests of filters share: frames from a seeded generator, random expressions over what is in the frames, and the
 * list of expressions. */
#ifndef TESTS_SUPPORT_FILTER_CASES_H
#define TESTS_SUPPORT_FILTER_CASES_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/frames.h"

struct dice {
	uint64_t state;
};

uint32_t dice_roll(struct dice *d, uint32_t sides);

/* n frames of one link type (LINKTYPE_ 0, 1, 12, 14, 101, 108, 113, 228, 229, 276 or any other, which gives noise),
 * added to f while there is room: every protocol that dissect() knows, tags, labels, options, fragments, extension
 * headers, and about one in six cut short or damaged. */
void make_frames(struct frames *f, struct dice *d, uint16_t linktype, uint32_t n);

/* A random expression with constants that occur in make_frames(). It may be one that libpcap refuses. */
void make_expression(struct dice *d, char *out, uint32_t room);

/* The list in tests/filters/expressions.txt: the caller frees the text; entries point into it. */
struct listed {
	char        mark;   /* ' ', '?' or '!' */
	const char *text;
};
struct listed *read_expressions(char **text, uint32_t *count);

/* What libpcap itself makes of an expression, as tcpdump -r has it. What it refuses because no packet can match is an empty
 * program. False: it refuses it; otherwise the caller frees the code. */
struct bpf_program;
bool libpcap_compile(const char *expression, uint16_t linktype, struct bpf_program *out);

#endif
