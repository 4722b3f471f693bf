/* A parcel's way through the gate: taken in, its key asked for, examined, handed to the store. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/gate_parts.h"

static void
drop_first(struct gate *g, struct connection *c)
{
	struct gate_parcel *p = c->pending[0];
	g->pending_bytes -= p->n;
	c->pending_bytes -= p->n;
	sodium_memzero(p->key, sizeof p->key);
	free(p);
	c->pending_count--;
	memmove(c->pending, c->pending + 1, c->pending_count * sizeof *c->pending);
}

void
gate_parcels_drop(struct gate *g, struct connection *c)
{
	while (c->pending_count)
		drop_first(g, c);
}

static enum wire_refusal
refusal_of(enum err e)
{
	return e == ERR_LIMIT ? WIRE_REFUSAL_TOO_LARGE : e == ERR_UNSUPPORTED ? WIRE_REFUSAL_VERSION : WIRE_REFUSAL_DAMAGED;
}

/* Refuses a parcel with the last error's sentence, and ends the session. What no collector of ours would send counts against
 * the monitor. */
static void
refuse(struct gate *g, struct connection *c, const struct parcel *p, enum wire_refusal code)
{
	char sentence[WIRE_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", err_text());
	log_braked(&g->refusals, LOG_WARNED, "%s at %s: refused parcel %" PRIu64 " of stream \"%s\": %s", c->monitor.name, c->address,
	           p ? p->sequence : 0, p ? p->stream : "", sentence);
	if (code == WIRE_REFUSAL_DAMAGED) {
		struct arrival_message m = { .kind = ARRIVAL_KIND_OFFENCE, .offence.monitor = c->monitor.id };
		snprintf(m.offence.sentence, sizeof m.offence.sentence, "%s", sentence);
		gate_tell(g, &m);
	}
	struct wire_message m = { .type = WIRE_TYPE_REFUSED, .refused.code = code };
	if (p) {
		snprintf(m.refused.stream, sizeof m.refused.stream, "%s", p->stream);
		m.refused.epoch = p->epoch;
		m.refused.sequence = p->sequence;
	}
	snprintf(m.refused.sentence, sizeof m.refused.sentence, "%s", sentence);
	if (session_room(c->session, m.type) && session_send(c->session, &m, g->now_ns) != OK)
		log_braked(&g->refusals, LOG_WARNED, "%s could not be told: %s", c->monitor.name, err_text());
	connection_refuse(g, c, WIRE_REFUSAL_NONE, sentence);
}

/* The stream's place in the session's list, made when it is new. */
static struct gate_stream *
stream_of(struct gate *g, struct connection *c, const char *name)
{
	struct gate_stream *s = connection_stream(c, name);
	if (s)
		return s;
	if (c->stream_count >= g->limits.streams) {
		(void)fail(ERR_LIMIT, "more than %u streams in one session", g->limits.streams);
		return NULL;
	}
	if (c->stream_count == c->stream_room) {
		uint32_t room = c->stream_room ? 2 * c->stream_room : 4;
		s = realloc(c->streams, room * sizeof *s);
		if (!s) {
			(void)fail(ERR_NOMEM, "no memory for a stream");
			return NULL;
		}
		c->streams = s;
		c->stream_room = room;
	}
	s = &c->streams[c->stream_count++];
	memset(s, 0, sizeof *s);
	snprintf(s->name, sizeof s->name, "%s", name);
	return s;
}

bool
gate_stream_ask(struct gate *g, struct connection *c, const char *name)
{
	if (!stream_of(g, c, name)) {
		connection_refuse(g, c, WIRE_REFUSAL_TOO_LARGE, err_text());
		return false;
	}
	struct arrival_message m = { .kind = ARRIVAL_KIND_ASK_MARK, .ask_mark = { .session = c->number, .monitor = c->monitor.id } };
	snprintf(m.ask_mark.stream, sizeof m.ask_mark.stream, "%s", name);
	return gate_tell(g, &m);
}

static enum err
belongs_here(const struct gate *g, const struct connection *c, const struct parcel *p)
{
	if (memcmp(p->archive, g->identity.archive, sizeof p->archive) != 0)
		return fail(ERR_DENIED, "a parcel for another archive");
	if (memcmp(p->monitor, c->monitor.sign_key, sizeof p->monitor) != 0)
		return fail(ERR_DENIED, "a parcel of another monitor than %s, whose session this is", c->monitor.name);
	return OK;
}

bool
gate_parcel_take(struct gate *g, struct connection *c, const uint8_t *bytes, size_t n)
{
	struct parcel seen;
	enum err e = parcel_parse(bytes, n, &seen);
	if (e != OK) {
		refuse(g, c, NULL, refusal_of(e));
		return false;
	}
	if (belongs_here(g, c, &seen) != OK) {
		refuse(g, c, &seen, WIRE_REFUSAL_WRONG_ARCHIVE);
		return false;
	}
	if (!stream_of(g, c, seen.stream)) {
		refuse(g, c, &seen, WIRE_REFUSAL_TOO_LARGE);
		return false;
	}
	struct gate_parcel *p = malloc(sizeof *p + n);
	if (!p) {
		connection_close(g, c, "no memory for its parcel");
		return false;
	}
	*p = (struct gate_parcel){ .n = n, .request = c->number << 16 | ++c->requests, .ready = seen.kind == PARCEL_LOSS };
	memcpy(p->bytes, bytes, n);
	if (parcel_parse(p->bytes, n, &p->parcel) != OK) { /* as before: the same bytes */
		free(p);
		connection_close(g, c, err_text());
		return false;
	}
	c->pending[c->pending_count++] = p;
	c->pending_bytes += n;
	g->pending_bytes += n;
	if (p->ready)
		return true;
	struct arrival_message m = { .kind = ARRIVAL_KIND_OPEN_KEY,
		                     .open_key = { .request = p->request, .monitor = c->monitor.id } };
	memcpy(m.open_key.sealed_key, p->parcel.sealed_key, sizeof m.open_key.sealed_key);
	return gate_tell(g, &m);
}

/* Signature and hash are the store's to look at: it keeps the records, and believes nobody who made them. */
static enum err
examine(struct gate *g, struct connection *c, const struct gate_parcel *p, struct block *block)
{
	const struct parcel *q = &p->parcel;
	if (q->kind == PARCEL_LOSS)
		return OK;
	bool whole = c->examined < GATE_EXAMINED_WHOLE || randombytes_uniform(GATE_EXAMINED_ONE_IN) == 0;
	TRY(block_examine(g->examiner, q->block, q->block_bytes, p->key, q->captured_bytes, whole ? EXAMINE_ALL : EXAMINE_INDEX,
	                  block));
	if (block->info.records != q->records || block->info.first_ns != q->first_ns || block->info.last_ns != q->last_ns)
		return fail(ERR_FORMAT, "a block with other records or times than its parcel says");
	if (c->examined < GATE_EXAMINED_WHOLE)
		c->examined++;
	return OK;
}

bool
gate_parcel_pass(struct gate *g, struct connection *c)
{
	struct gate_parcel *p = c->pending_count ? c->pending[0] : NULL;
	struct block block;
	if (!p || !p->ready || channel_waiting(&g->store) > GATE_LINK_BYTES || !channel_is_open(&g->store))
		return false;
	enum err e = examine(g, c, p, &block);
	if (e == ERR_NOMEM) {
		connection_close(g, c, err_text());
		return false;
	}
	if (e != OK) {
		refuse(g, c, &p->parcel, refusal_of(e));
		return true;
	}
	struct arrival_message m = { .kind = ARRIVAL_KIND_PARCEL, .parcel = { .session = c->number, .monitor = c->monitor.id } };
	arrival_parcel_of(&p->parcel, p->parcel.kind == PARCEL_BLOCK ? &block : NULL, &m.parcel);
	struct gate_stream *s = connection_stream(c, p->parcel.stream);
	s->in_flight = true;
	s->sent_epoch = p->parcel.epoch;
	s->sent_sequence = p->parcel.sequence;
	if (gate_tell(g, &m))
		drop_first(g, c);
	return true;
}
