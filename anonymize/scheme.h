/* What a policy can ask to be done with an address, and which results have room where.
 *
 *   pfx         ipcrypt-pfx (draft-denis-ipcrypt, section 6): prefix-preserving, the default
 *   cryptopan   Crypto-PAn (Xu, Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, 2002) with AES-128 and an
 *               encrypted pad, bit for bit as the reference does it; IPv6 as its 128-bit generalisation
 *   det         ipcrypt-deterministic: equal addresses stay equal, prefixes are lost
 *   ndx         ipcrypt-ndx: every occurrence gets a pseudonym of its own
 *   truncate/N  the first N bits stay, the others become 0; not reversible
 *   drop        truncate/0: 0.0.0.0 or ::
 *
 * det permutes 128-bit values, so the pseudonym of an IPv4 address (taken as ::ffff:a.b.c.d) needs 16 bytes; ndx needs 32,
 * because its tweak has to stand beside the ciphertext. Neither is bent into a smaller field by a cipher of our own:
 * scheme_fits() says no, and an export that would have to write them there is refused. In a column of text they have room. */
#ifndef ANONYMIZE_SCHEME_H
#define ANONYMIZE_SCHEME_H

#include <stdbool.h>

#include "base/err.h"

enum family { FAMILY_IP4 = 4, FAMILY_IP6 = 6 };

enum scheme_kind { SCHEME_PFX, SCHEME_CRYPTOPAN, SCHEME_DET, SCHEME_NDX, SCHEME_TRUNCATE, SCHEME_DROP };

struct scheme {
	enum scheme_kind kind;
	unsigned bits; /* SCHEME_TRUNCATE: how many stay; otherwise 0 */
};

/* Reads "pfx", "truncate/24", ... for addresses of one family. ERR_USAGE: no such scheme, or more bits than an address has. */
enum err scheme_parse(struct scheme *s, const char *text, enum family family);
/* "pfx", ...; "truncate" without its number. */
const char *scheme_name(enum scheme_kind kind);

/* Bytes of one pseudonym: 4 or 16 as the address, 16 (det), 32 (ndx). */
unsigned scheme_bytes(struct scheme s, enum family family);
/* The pseudonym stands where the address stood (in a packet, a flow record): it is as long, and needs nothing beside it. */
bool scheme_fits(struct scheme s, enum family family);
/* The holder of the key gets the address back. */
bool scheme_reversible(struct scheme s);
/* Addresses that share their first n bits, for every n, have pseudonyms that share theirs (truncate: as far as it keeps). */
bool scheme_keeps_prefixes(struct scheme s);

#endif
