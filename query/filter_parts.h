/* What struct filter holds: shared by the files filter*.c, nobody else's. */
#ifndef QUERY_FILTER_PARTS_H
#define QUERY_FILTER_PARTS_H

#include <pthread.h>

#include "query/filter.h"
#include "query/filter_fold.h"
#include "query/filter_parse.h"

#define LINKTYPES_MAX 64u /* different link types that one filter was compiled for; more is ERR_LIMIT */

/* The expression compiled for each link type that came along; shared by all threads. */
struct filter_programs {
	pthread_mutex_t lock;
	uint32_t        count;
	struct {
		uint16_t        linktype;
		struct program *program; /* NULL: libpcap refuses it, for this reason */
		char           *refusal;
	} of[LINKTYPES_MAX];
};

struct filter {
	char              *expression;  /* as given; "" for none */
	char              *text;        /* written out, or as given */
	char              *plan;
	bool               all;
	bool               indexed;     /* the tree is libpcap's meaning, so the index may follow it */
	struct filter_tree tree;
	struct filter_net_set {
		struct filter_net *v;
		uint32_t           count;
		bool               known;
	} nets, index_nets;           /* of what is shown, of what was captured */
	unsigned           columns;
	struct filter_programs *programs;
};

/* The program for a link type, compiled when it is the first time. Borrowed from f. ERR_USAGE: libpcap refuses the
 * expression for this link type, which is named. */
enum err filter_program(const struct filter *f, uint16_t linktype, const struct program **out);

/* query/filter_index.c */
enum err filter_find_nets(const struct filter *f, struct filter_net_set *out);
/* From here on the tree's terms say what they imply of what was captured: they are for the index only. */
void     filter_see_through(struct filter *f, const struct view *view);
/* First and last address of a network, of 4 or 16 bytes. */
void     filter_net_bounds(const uint8_t *addr, unsigned bits, unsigned bytes, uint8_t *first, uint8_t *last);
/* One line: what the index is asked for; "" for nothing. malloc'ed. */
enum err filter_index_text(const struct filter *f, char **out);

#endif
