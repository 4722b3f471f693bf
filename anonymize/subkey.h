/* Keys for one use each, made from one master key: a subkey says nothing about the master or about any other subkey, so
 * that two datasets, two recipients or two families can not be joined by their pseudonyms.
 *
 * subkey = BLAKE2b-256, keyed with the master, over the items of subkey_derive() in the order of its table, each as
 * le32 length and bytes (numbers as le64): no two different sets of items give the same bytes. RFC 7693. */
#ifndef ANONYMIZE_SUBKEY_H
#define ANONYMIZE_SUBKEY_H

#include <stdint.h>

#include "anonymize/scheme.h"

#define SUBKEY_BYTES 32u

/* Whose pseudonyms are the same: those under one scope. */
struct subkey_scope {
	const char *dataset;
	uint64_t    epoch;      /* a new one is a new key: rotation */
	const char *recipient;  /* NULL: all recipients share; "" is refused, because that is what a forgotten name looks like */
	const uint8_t *policy;  /* SUBKEY_BYTES: hash of the policy's text */
};

/* The key for one kind of value ("address", "mac", "port", ...) under one scheme ("pfx", ...; never shared between schemes:
 * draft-denis-ipcrypt, section 8.4) and family (0 for what has none). The caller wipes out. ERR_USAGE: no dataset, field or
 * scheme, or an empty recipient. */
enum err subkey_derive(uint8_t out[SUBKEY_BYTES], const uint8_t master[SUBKEY_BYTES], const struct subkey_scope *scope,
                       const char *field, const char *scheme, unsigned family);

#endif
