#include "archive/ticket.h"

#include <sodium.h>
#include <string.h>

#define CODE_BYTES (TICKET_BYTES + 32u + TICKET_CHECK_BYTES)

static void
check_of(const uint8_t code[CODE_BYTES], uint8_t check[TICKET_CHECK_BYTES])
{
	uint8_t hash[32];
	(void)crypto_generichash(hash, sizeof hash, code, CODE_BYTES - TICKET_CHECK_BYTES, NULL, 0);
	memcpy(check, hash, TICKET_CHECK_BYTES);
}

void
ticket_format(char text[TICKET_CODE_CHARS + 1], const struct ticket *t)
{
	uint8_t code[CODE_BYTES];
	memcpy(code, t->secret, TICKET_BYTES);
	memcpy(code + TICKET_BYTES, t->archive, sizeof t->archive);
	check_of(code, code + CODE_BYTES - TICKET_CHECK_BYTES);
	base32_encode(text, code, sizeof code);
	sodium_memzero(code, sizeof code);
}

enum err
ticket_parse(struct ticket *t, const char *text)
{
	uint8_t code[CODE_BYTES], check[TICKET_CHECK_BYTES];
	if (base32_decode(code, sizeof code, text) != OK)
		return fail(ERR_USAGE, "not a code of atoll enroll: it %s",
		            strlen(text) != TICKET_CODE_CHARS ? "has not 84 characters" : "has a character that is none of a-z and 2-7");
	check_of(code, check);
	if (memcmp(check, code + CODE_BYTES - TICKET_CHECK_BYTES, sizeof check) != 0) {
		sodium_memzero(code, sizeof code);
		return fail(ERR_USAGE, "not a code of atoll enroll: a character of it is another one (its check is wrong)");
	}
	memcpy(t->secret, code, TICKET_BYTES);
	memcpy(t->archive, code + TICKET_BYTES, sizeof t->archive);
	sodium_memzero(code, sizeof code);
	return OK;
}

void
ticket_fingerprint(char text[KEY_FINGERPRINT_CHARS + 1], const uint8_t archive[32])
{
	base32_encode(text, archive, 32);
}
