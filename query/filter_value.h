/* What one primitive of a filter implies of the records that it matches, read off libpcap's gencode.c (1.10): the addresses,
 * ports and protocol that a segment's tables can be asked for. Where that is not certain, nothing is set.
 */
#ifndef QUERY_FILTER_VALUE_H
#define QUERY_FILTER_VALUE_H

#include <stdint.h>

#include "query/filter_lex.h"
#include "query/filter_parse.h"

/* A value under qualifiers: protocol (enum protocol), type (WORD_HOST ... or 0); more is the prefix length or mask behind
 * it, or NULL. Sets fields of *t, which starts without any. */
void filter_value_implies(const char *text, uint8_t protocol, uint16_t type, const struct token *value,
                          const struct token *more, struct term *t);
/* The protocol as a term of its own (`tcp`), or in tcp[13]. */
void filter_protocol_implies(uint8_t protocol, struct term *t);

#endif
