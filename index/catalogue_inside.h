/* The inside of the catalogue, for the files that make it. */
#ifndef INDEX_CATALOGUE_INSIDE_H
#define INDEX_CATALOGUE_INSIDE_H

#include "base/bytes.h"
#include "index/catalogue.h"
#include "index/kv.h"

#define TAG_MERGED 'e' /* a feed as the manifest has it */
#define TAG_TOTALS 'Y'

struct catalogue {
	struct kv        *kv;
	uint8_t           key[CATALOGUE_KEY_BYTES]; /* checks, then filters */
	catalogue_change *change;
	void             *change_arg;
};

struct key {
	uint8_t bytes[1 + FINGERPRINT_BYTES];
	uint8_t n;
};

static inline struct key
key_tag(char tag)
{
	return (struct key){ { (uint8_t)tag }, 1 };
}

static inline void
key_add32(struct key *k, uint32_t v)
{
	store_be32(k->bytes + k->n, v);
	k->n += 4;
}

static inline void
key_add64(struct key *k, uint64_t v)
{
	store_be64(k->bytes + k->n, v);
	k->n += 8;
}

static inline struct key
key32(char tag, uint32_t v)
{
	struct key k = key_tag(tag);
	key_add32(&k, v);
	return k;
}

static inline struct key
key64(char tag, uint64_t v)
{
	struct key k = key_tag(tag);
	key_add64(&k, v);
	return k;
}

/* ERR_FORMAT: "index damaged (what): run atoll rebuild". */
enum err catalogue_damaged(const char *what);
/* out: the struct of this kind. */
enum err catalogue_row_get(struct catalogue *c, enum row_kind kind, const struct key *k, void *out, size_t out_bytes);
/* The first row of this kind at or after k; its key goes back into k. END. */
enum err catalogue_row_find(struct catalogue *c, enum row_kind kind, struct key *k, bool after, void *out, size_t out_bytes);
enum err catalogue_row_put(struct catalogue *c, enum row_kind kind, const struct key *k, const void *row);

/* The stream's next segment in the time index, of any state (zeroed *row: the first); END. */
enum err catalogue_next_of_stream(struct catalogue *c, uint32_t stream, struct segment_row *row);

/* --- catalogue_totals.c --- */
/* A segment's row changed; NULL: there was, or is, none. After the change. */
enum err catalogue_totals_change(struct catalogue *c, const struct segment_row *before, const struct segment_row *after);
/* Adds. */
enum err catalogue_sum_segments(struct catalogue *c, uint32_t stream, struct catalogue_totals *t);
enum err catalogue_totals_check(struct catalogue *c, uint32_t stream);
enum err catalogue_totals_print(uint32_t stream, const uint8_t *value, size_t n, char *line, size_t room);

/* --- catalogue_feeds.c --- */
enum err catalogue_sum_landed(struct catalogue *c, uint32_t stream, struct catalogue_totals *t);
enum err catalogue_sum_missing(struct catalogue *c, uint32_t stream, struct catalogue_totals *t);
/* For catalogue_check(): what an entry with this key needs elsewhere. */
enum err catalogue_feed_relations(struct catalogue *c, const uint8_t *key);

#endif
