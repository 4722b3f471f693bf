/* What an operator carries from the archive to a monitor: a code that enrols it once, and with it the archive's key, so that
 * the monitor knows from the first byte whom it talks to.
 *
 *     code = base32(secret (16 bytes), archive's Noise public key (32), check (4))      84 characters
 *
 * check: the first bytes of BLAKE2b-256 of what is before it: a slip of the hand is told apart from a code that is refused. */
#ifndef ARCHIVE_TICKET_H
#define ARCHIVE_TICKET_H

#include <stdint.h>

#include "base/base32.h"
#include "base/err.h"

#define TICKET_BYTES       16u
#define TICKET_CHECK_BYTES 4u
#define TICKET_CODE_CHARS  BASE32_CHARS(TICKET_BYTES + 32u + TICKET_CHECK_BYTES)
#define KEY_FINGERPRINT_CHARS  BASE32_CHARS(32u)

struct ticket {
	uint8_t secret[TICKET_BYTES];
	uint8_t archive[32]; /* Noise static public key */
};

void     ticket_format(char text[TICKET_CODE_CHARS + 1], const struct ticket *t);
/* ERR_USAGE: not a code; the sentence says whether its length, a character or its check is wrong. */
enum err ticket_parse(struct ticket *t, const char *text);
/* The archive's key as people compare it. */
void     ticket_fingerprint(char text[KEY_FINGERPRINT_CHARS + 1], const uint8_t archive[32]);

#endif
