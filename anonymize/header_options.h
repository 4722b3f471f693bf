/* Options and extension headers, rewritten in place to the same length: what is understood stays, with its addresses mapped, and
 * what is not becomes padding, so that offsets and lengths of all headers are as they were and no byte is copied that nobody
 * understood. Any bytes may come; from where they make no sense on, all is padding. */
#ifndef ANONYMIZE_HEADER_OPTIONS_H
#define ANONYMIZE_HEADER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is done with what they carry. All are called with arg, for each value in its order. */
struct header_rule {
	void    *arg;
	void   (*map4)(void *arg, uint8_t address[4]);
	void   (*map6)(void *arg, uint8_t address[16]);
	uint32_t (*fragment_id)(void *arg, uint32_t id); /* as the identification of IPv4 */
};

enum tcp_timestamps {
	TCP_TIMESTAMPS_DROP,  /* NOPs */
	TCP_TIMESTAMPS_BLANK, /* the option with zeros: where the values lie elsewhere, or are put in later */
	TCP_TIMESTAMPS_KEEP,
};

/* All of it away: NOPs, of IPv4 and of TCP. */
void options_drop(uint8_t *p, size_t n);

/* n bytes behind the TCP header. The first MSS (RFC 9293), window scale and time stamps (RFC 7323), SACK-permitted and SACK (RFC
 * 2018) stay if they have their length; SACK if sacks says so, too. sack_shift is added to each SACK edge: what was added to the
 * acknowledgements; 0 where the edges are blank. */
void tcp_options_rewrite(uint8_t *p, size_t n, enum tcp_timestamps timestamps, bool sacks, uint32_t sack_shift);

/* n bytes behind the IPv4 header. Record route and source routes, time stamp (RFC 791) and router alert 0 (RFC 2113) stay. Routes
 * have their addresses mapped and are zero where none is recorded yet; times of day become 0. */
void ip4_options_rewrite(uint8_t *p, size_t n, const struct header_rule *r);

struct ip6_chain {
	size_t  end;            /* of the last header that is whole */
	uint8_t proto;          /* what follows */
	bool    later_fragment; /* of a fragment other than the first: no header follows */
	bool    more_fragments; /* this is not all of the packet */
	bool    whole;          /* false: an extension header follows that is not; all is zero from end on */
};

/* The extension headers (RFC 8200) at p, of which the first is `first`; n bytes, which may go on behind them and are left alone
 * there. Next header and length stay, of fragments also where they belong; r NULL: nothing else. Otherwise:
 *   hop-by-hop, destination   home address mapped (RFC 6275); jumbo payload (2675), router alert (2711), tunnel limit (2473) stay;
 *                             other options become PadN of zeros
 *   routing                   addresses of types 0 (RFC 2460), 2 (6275) and 4 (8754) mapped; flags, tag and TLVs, and all of other
 *                             types and of what contradicts itself, are 0
 *   fragment                  offset and more-fragments stay, identification as the rule says
 *   authentication            (RFC 4302) all else is 0
 *   mobility                  (RFC 6275) the type stays, all else is 0 */
struct ip6_chain ip6_extensions_rewrite(uint8_t *p, size_t n, uint8_t first, const struct header_rule *r);

#endif
