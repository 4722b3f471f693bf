/* The structure of a pcap-filter expression: what the index may conclude from it, where its parts stand (for messages),
 * and the same expression with every qualifier and parenthesis written out. It does not decide what matches; libpcap's
 * program does (query/filter_fold.h). filter_open() trusts a tree only when libpcap makes the same program of its
 * written-out form as of the original text.
 *
 * In this language `and` and `or` bind alike, from the left; `not` binds tighter; a value without qualifier takes those of
 * the value before it (`port 80 or 443`).
 */
#ifndef QUERY_FILTER_PARSE_H
#define QUERY_FILTER_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum term_kind { TERM_AND, TERM_OR, TERM_NOT, TERM_LEAF };

/* What a leaf does to those that follow it in the text, whatever operator stands between: libpcap moves the place where
 * it looks for the next layers. */
enum term_shift {
	SHIFT_NONE,
	SHIFT_TAG,  /* vlan, mpls: behind the tag; the segment's tables cover that place in records that have the tag */
	SHIFT_LOST, /* pppoes, geneve: somewhere else */
};

/* What a true leaf implies of the record; all that is set holds. */
struct term {
	uint8_t  kind;     /* enum term_kind */
	uint8_t  shift;    /* enum term_shift */
	uint8_t  family;   /* 4 or 6: has an address in addr/bits; 0: nothing known */
	uint8_t  bits;
	uint8_t  addr[16]; /* network order */
	int16_t  proto;    /* has this IP protocol or next header; -1: nothing known */
	bool     has_port; /* has a port in first_port .. last_port */
	uint16_t first_port, last_port;
	uint32_t at, len;  /* where it stands in the text */
	uint32_t say, say_len; /* a leaf written out, in filter_tree.text */
	int32_t  left, right;  /* indexes of terms; NOT: left only */
	/* the shifting words in this part: whether there are any, all of them hold when this part does, one is SHIFT_LOST */
	bool     shifts, shifts_hold, shifts_lost;
	bool     lost_right;   /* AND, OR: what the right operand implies is lost behind the left one's shifts */
};

struct filter_tree {
	struct term *terms;
	uint32_t     count;
	int32_t      root;
	char        *text; /* pieces of the written-out form (say); not one string */
	uint32_t     text_bytes, text_room;
};

/* ERR_USAGE: the sentence names the column and, where known, the fix; *name is true when the text has a word that libpcap
 * might look up as a host or network name, so that it must never see it. On success the text has no such word. */
enum err filter_parse(const char *text, struct filter_tree *out, bool *name);
void     filter_tree_fini(struct filter_tree *t);

/* The whole expression, or one leaf of it, written out; malloc'ed. ERR_NOMEM. */
enum err filter_tree_text(const struct filter_tree *t, int32_t term, char **out);

#endif
