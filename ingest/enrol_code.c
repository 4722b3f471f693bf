#include "ingest/enrol_code.h"

#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#define SUM_BYTES   4u
#define PLAIN_BYTES (ENROL_CODE_BYTES - SUM_BYTES)
#define DIGITS      (ENROL_CODE_TEXT_BYTES - 1)

static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

static void
pack(const struct enrol_code *code, uint8_t bytes[ENROL_CODE_BYTES])
{
	uint8_t hash[crypto_generichash_BYTES];
	memcpy(bytes, code->secret, sizeof code->secret);
	memcpy(bytes + sizeof code->secret, code->archive, sizeof code->archive);
	crypto_generichash(hash, sizeof hash, bytes, PLAIN_BYTES, NULL, 0);
	memcpy(bytes + PLAIN_BYTES, hash, SUM_BYTES);
}

void
enrol_code_print(const struct enrol_code *code, char text[ENROL_CODE_TEXT_BYTES])
{
	uint8_t bytes[ENROL_CODE_BYTES + 1] = { 0 }; /* and a byte of zeros for the last digit's missing bits */
	pack(code, bytes);
	for (unsigned i = 0; i < DIGITS; i++) {
		unsigned bit = 5 * i, word = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
		text[i] = digits[word >> (11 - bit % 8) & 31];
	}
	text[DIGITS] = 0;
	sodium_memzero(bytes, sizeof bytes);
}

enum err
enrol_code_parse(const char *text, struct enrol_code *code)
{
	uint8_t bytes[ENROL_CODE_BYTES + 1] = { 0 }, again[ENROL_CODE_BYTES];
	struct enrol_code got;
	size_t n = strlen(text);
	if (n != DIGITS)
		return fail(ERR_USAGE, "an enrolment code has %u characters, this has %zu: copy all of it", DIGITS, n);
	for (unsigned i = 0; i < DIGITS; i++) {
		char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 32) : text[i];
		const char *digit = memchr(digits, c, 32);
		if (digit == NULL) {
			sodium_memzero(bytes, sizeof bytes);
			return fail(ERR_USAGE, "an enrolment code has letters and the digits 2 to 7 only: look at character %u",
			            i + 1);
		}
		unsigned bit = 5 * i, word = (unsigned)(digit - digits) << (11 - bit % 8);
		bytes[bit / 8] |= (uint8_t)(word >> 8);
		bytes[bit / 8 + 1] |= (uint8_t)word;
	}
	memcpy(got.secret, bytes, sizeof got.secret);
	memcpy(got.archive, bytes + sizeof got.secret, sizeof got.archive);
	pack(&got, again);
	bool right = sodium_memcmp(again, bytes, sizeof again) == 0 && bytes[ENROL_CODE_BYTES] == 0;
	if (right)
		*code = got;
	sodium_memzero(bytes, sizeof bytes);
	sodium_memzero(again, sizeof again);
	sodium_memzero(&got, sizeof got);
	return right ? OK : fail(ERR_USAGE, "this enrolment code has a typing error: copy it again");
}
