#include "anonymize/subkey.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"

static void
add(crypto_generichash_state *state, const void *bytes, size_t n)
{
	uint8_t length[4];
	store_le32(length, (uint32_t)n);
	crypto_generichash_update(state, length, sizeof length);
	crypto_generichash_update(state, bytes, n);
}

static void
add_number(crypto_generichash_state *state, uint64_t value)
{
	uint8_t bytes[8];
	store_le64(bytes, value);
	add(state, bytes, sizeof bytes);
}

static void
add_text(crypto_generichash_state *state, const char *text)
{
	add(state, text, strlen(text));
}

enum err
subkey_derive(uint8_t out[SUBKEY_BYTES], const uint8_t master[SUBKEY_BYTES], const struct subkey_scope *scope,
              const char *field, const char *scheme, unsigned family)
{
	if (!scope->dataset || !*scope->dataset || !scope->policy || !*field || !*scheme)
		return fail(ERR_USAGE, "a key for pseudonyms needs a dataset, a policy, a field and a scheme");
	if (scope->recipient && !*scope->recipient)
		return fail(ERR_USAGE, "the dataset's recipient has no name: name one, or say that all recipients share");
	crypto_generichash_state state;
	crypto_generichash_init(&state, master, SUBKEY_BYTES, SUBKEY_BYTES);
	add_text(&state, "atoll pseudonyms 1");
	add_text(&state, scope->dataset);
	add_number(&state, scope->epoch);
	add_number(&state, scope->recipient != NULL);
	add_text(&state, scope->recipient ? scope->recipient : "");
	add(&state, scope->policy, SUBKEY_BYTES);
	add_text(&state, field);
	add_text(&state, scheme);
	add_number(&state, family);
	crypto_generichash_final(&state, out, SUBKEY_BYTES);
	sodium_memzero(&state, sizeof state);
	return OK;
}
