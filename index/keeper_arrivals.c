/* The keeper's side of the link to the ingest process: a decoder of what may be hostile, and what follows from it. */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/when.h"
#include "index/change.h"
#include "index/keeper_parts.h"

#define TAKE_NS 20000000u /* for messages, before the loop looks at something else */

void
keeper_tell(struct keeper *k, const struct arrival_message *m)
{
	if (!channel_is_open(&k->ingest))
		return;
	enum err e = arrival_send(&k->ingest, m);
	if (e == OK)
		return;
	log_line(LOG_WARNED, "link to the ingest process: %s", err_text());
	keeper_link_lost(k);
}

void
keeper_link_lost(struct keeper *k)
{
	channel_fini(&k->ingest);
	k->waiting_count = 0; /* landed all the same; nobody is there to be told */
	for (uint32_t i = 0; i <= MONITORS_MAX; i++)
		k->monitors[i].session = 0;
	k->handshakes_past += k->gate.handshakes;
	k->failed_past += k->gate.handshakes_failed;
	k->refused_past += k->gate.connections_refused;
	k->gate = (struct arrival_numbers){ 0 };
}

void
keeper_link_open(struct keeper *k, int fd)
{
	keeper_link_lost(k);
	channel_init(&k->ingest, fd, ARRIVAL_MESSAGE_BYTES, KEEPER_ANSWERS_BYTES);
	struct arrival_message m = { .kind = ARRIVAL_KIND_IDENTITY };
	const struct archive_identity *i = &k->secrets->identity;
	memcpy(m.identity.archive, k->archive, sizeof m.identity.archive);
	memcpy(m.identity.noise_public, i->noise_public, sizeof m.identity.noise_public);
	memcpy(m.identity.ingest_public, i->ingest_public, sizeof m.identity.ingest_public);
	keeper_tell(k, &m);
	k->monitors_changed = true;
	free(k->told);
	k->told = NULL;
	if (k->hold)
		keeper_hold(k, true, "the archive's disk is full");
}

void
keeper_hold(struct keeper *k, bool full, const char *sentence)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_HOLD, .hold.full = full };
	snprintf(m.hold.sentence, sizeof m.hold.sentence, "%s", sentence);
	if (full != k->hold)
		log_line(full ? LOG_FAILED : LOG_NOTED, "%s", sentence);
	k->hold = full;
	k->hold_since_ns = keeper_clock();
	keeper_tell(k, &m);
}

/* --- who may send --- */

static enum err
read_monitors(struct keeper *k, uint8_t *entries, uint32_t *bytes)
{
	struct catalogue *c = archive_catalogue(store_archive(k->store));
	struct monitor_row row = { 0 };
	TRY(catalogue_begin(c));
	enum err e;
	uint32_t n = 0;
	while ((e = catalogue_next_monitor(c, &row)) == OK && n < ARRIVAL_MONITORS_MAX) {
		struct arrival_monitor m = { .id = row.id, .state = row.state };
		memcpy(m.noise_key, row.noise_key, sizeof m.noise_key);
		memcpy(m.sign_key, row.sign_key, sizeof m.sign_key);
		snprintf((char *)m.name, sizeof m.name, "%.63s", row.name);
		arrival_monitor_put(&m, entries + ARRIVAL_MONITOR_BYTES * (size_t)n++);
		if (row.id > MONITORS_MAX)
			continue;
		k->monitors[row.id].row = m;
		k->monitors[row.id].known = true;
	}
	catalogue_end(c);
	*bytes = n * ARRIVAL_MONITOR_BYTES;
	return e == END ? OK : e;
}

enum err
keeper_tell_monitors(struct keeper *k)
{
	uint32_t n = 0;
	uint8_t *entries = malloc(ARRIVAL_MONITORS_MAX * ARRIVAL_MONITOR_BYTES);
	if (!entries)
		return fail(ERR_NOMEM, "no memory for the table of monitors");
	enum err e = read_monitors(k, entries, &n);
	if (e != OK) {
		free(entries);
		return e;
	}
	k->monitors_changed = false;
	bool same = k->told && k->told_bytes == n && memcmp(k->told, entries, n) == 0;
	free(k->told);
	k->told = entries;
	k->told_bytes = n;
	struct arrival_message m = { .kind = ARRIVAL_KIND_MONITORS, .monitors = { .entries = entries, .entries_count = n } };
	if (!same)
		keeper_tell(k, &m);
	return OK;
}

/* NULL: no such monitor, or it may not send. */
static struct keeper_monitor *
sender(struct keeper *k, uint32_t id)
{
	struct keeper_monitor *m = id >= 1 && id <= MONITORS_MAX ? &k->monitors[id] : NULL;
	return m && m->known && m->row.state == ARRIVAL_STATE_ENROLLED ? m : NULL;
}

static enum err
quarantine(struct keeper *k, struct keeper_monitor *m, const char *reason)
{
	log_line(LOG_FAILED, "monitor %s is quarantined: %s", m->row.name, reason);
	enum err e = monitors_quarantine(k->store, m->row.id, reason);
	if (e == ERR_ABSENT)
		e = OK;
	m->row.state = ARRIVAL_STATE_QUARANTINED;
	k->monitors_changed = true;
	return e;
}

/* --- keys --- */

static const uint8_t *
known_key(const struct keeper *k, const uint8_t sealed[PARCEL_SEALED_KEY_BYTES])
{
	for (uint32_t i = 0; i < KEEPER_KEYS; i++)
		if (k->secrets->keys[i].known && sodium_memcmp(k->secrets->keys[i].sealed, sealed, PARCEL_SEALED_KEY_BYTES) == 0)
			return k->secrets->keys[i].key;
	return NULL;
}

static enum err
open_key(struct keeper *k, const uint8_t sealed[PARCEL_SEALED_KEY_BYTES], const uint8_t **key)
{
	struct keeper_secrets *s = k->secrets;
	if ((*key = known_key(k, sealed)) != NULL)
		return OK;
	struct keeper_key *slot = &s->keys[s->next_key];
	slot->known = false;
	TRY(parcel_open_key(sealed, s->identity.ingest_public, s->identity.ingest_secret, slot->key));
	memcpy(slot->sealed, sealed, sizeof slot->sealed);
	slot->known = true;
	s->next_key = (s->next_key + 1) % KEEPER_KEYS;
	*key = slot->key;
	return OK;
}

static void
take_dh(struct keeper *k, const struct arrival_dh *in)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_SHARED, .shared.request = in->request };
	m.shared.good = crypto_scalarmult(m.shared.secret, k->secrets->identity.noise_secret, in->peer) == 0;
	if (!m.shared.good)
		sodium_memzero(m.shared.secret, sizeof m.shared.secret);
	keeper_tell(k, &m);
	sodium_memzero(&m, sizeof m);
}

static void
take_open_key(struct keeper *k, const struct arrival_open_key *in)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_KEY, .key.request = in->request };
	const uint8_t *key;
	m.key.good = sender(k, in->monitor) && open_key(k, in->sealed_key, &key) == OK;
	if (m.key.good)
		memcpy(m.key.key, key, sizeof m.key.key);
	keeper_tell(k, &m);
	sodium_memzero(&m, sizeof m);
}

/* --- enrolment, sessions --- */

/* What is the request's fault and not the store's. */
static bool
harmless(const struct keeper *k, enum err e)
{
	return e != OK && e != ERR_IO && e != ERR_NOMEM && store_running(k->store) == OK;
}

static enum err
take_enrol(struct keeper *k, const struct arrival_enrol *in)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_ENROLLED, .enrolled.request = in->request };
	struct monitor_row row;
	enum err e = monitors_enrol(k->store, in->code, in->noise_key, in->sign_key, when_now(), &row);
	char sentence[ERR_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", e == OK ? "" : err_text());
	if (e != OK && !harmless(k, e))
		return fail(e, "%s", sentence);
	m.enrolled.good = e == OK;
	if (e == OK) {
		snprintf(m.enrolled.name, sizeof m.enrolled.name, "%.63s", row.name);
		log_line(LOG_NOTED, "monitor %s enrolled from %s (%s)", row.name, in->address, in->software);
		TRY(keeper_tell_monitors(k));
	} else {
		snprintf(m.enrolled.sentence, sizeof m.enrolled.sentence, "%.255s", sentence);
		k->numbers.codes_failed++;
		log_braked(&k->refusals, LOG_WARNED, "%s could not enrol: %s", in->address, sentence);
	}
	keeper_tell(k, &m);
	return OK;
}

static void
take_session(struct keeper *k, const struct arrival_session *in)
{
	struct keeper_monitor *m = sender(k, in->monitor);
	if (in->begins == 0) {
		m = in->monitor <= MONITORS_MAX ? &k->monitors[in->monitor] : NULL;
		if (m && m->session == in->session)
			m->session = 0;
		return;
	}
	if (!m)
		return; /* revoked a moment ago; the table is under way */
	m->session = in->session;
	m->seen_ns = when_now();
	keeper_note_clock(k, m, in->clock_ns);
}

static enum err
take_ask_mark(struct keeper *k, const struct arrival_ask_mark *in)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_MARK, .mark.session = in->session };
	struct feed_mark mark = { 0 };
	if (!sender(k, in->monitor))
		return OK;
	enum err e = store_mark(k->store, in->monitor, in->stream, &mark);
	if (e != OK && e != ERR_ABSENT && !harmless(k, e))
		return e;
	memcpy(m.mark.stream, in->stream, sizeof m.mark.stream);
	m.mark.epoch = mark.epoch;
	m.mark.sequence = mark.sequence;
	memcpy(m.mark.chain, mark.chain, sizeof m.mark.chain);
	keeper_tell(k, &m);
	return OK;
}

/* It sent what no collector of ours would. */
static enum err
note_offence(struct keeper *k, struct keeper_monitor *m, const char *sentence)
{
	uint64_t now = keeper_clock();
	memmove(m->offence_ns + 1, m->offence_ns, sizeof m->offence_ns - sizeof *m->offence_ns);
	m->offence_ns[0] = now;
	if (m->offence_ns[KEEPER_OFFENCES_MAX - 1] == 0 || now - m->offence_ns[KEEPER_OFFENCES_MAX - 1] > KEEPER_OFFENCES_NS)
		return OK;
	char reason[ARRIVAL_TEXT_BYTES];
	snprintf(reason, sizeof reason, "%u broken parcels within an hour, the last: %.180s", KEEPER_OFFENCES_MAX, sentence);
	return quarantine(k, m, reason);
}

/* --- parcels --- */

static void
refuse(struct keeper *k, const struct arrival_parcel *in, const struct parcel *p, enum arrival_refusal why, const char *sentence)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_REFUSED,
		                     .refused = { .session = in->session, .why = (uint8_t)why, .epoch = p->epoch,
		                                  .sequence = p->sequence } };
	memcpy(m.refused.stream, p->stream, sizeof m.refused.stream);
	snprintf(m.refused.sentence, sizeof m.refused.sentence, "%s", sentence);
	if (in->monitor <= MONITORS_MAX)
		k->monitors[in->monitor].refused++;
	keeper_tell(k, &m);
}

static void
wait_for_commit(struct keeper *k, const struct arrival_parcel *in, const struct parcel *p, const struct feed_mark *mark)
{
	struct keeper_waiting *w = NULL;
	for (uint32_t i = k->waiting_count; i-- > 0 && !w;)
		if (k->waiting[i].session == in->session && strcmp(k->waiting[i].stream, p->stream) == 0)
			w = &k->waiting[i];
	if (k->waiting_count == 0 && !k->reported)
		k->first_waiting_ns = keeper_clock();
	w = w ? w : &k->waiting[k->waiting_count++];
	w->session = in->session;
	memcpy(w->stream, p->stream, sizeof w->stream);
	w->epoch = mark->epoch;
	w->sequence = mark->sequence;
}

/* Holds the parcel against what the store knows itself: the ingest process is not believed who sent it. */
static enum err
check(struct keeper *k, const struct arrival_parcel *in, struct parcel *p, const uint8_t **key, struct block *block)
{
	const struct keeper_monitor *m = &k->monitors[in->monitor];
	if (memcmp(p->archive, k->archive, sizeof p->archive) != 0 ||
	    memcmp(p->monitor, m->row.sign_key, sizeof p->monitor) != 0)
		return fail(ERR_DENIED, "a parcel of another monitor or archive");
	if (p->kind == PARCEL_LOSS ? in->block_count != 0 : in->block_count != p->block_bytes)
		return fail(ERR_FORMAT, "a parcel with another block than it says");
	p->block = p->kind == PARCEL_LOSS ? NULL : in->block;
	TRY(parcel_verify(p));
	if (p->kind == PARCEL_LOSS)
		return OK;
	TRY(open_key(k, p->sealed_key, key));
	return arrival_block(&k->terms, in, p, block);
}

static enum err
land(struct keeper *k, const struct arrival_parcel *in, struct parcel *p)
{
	struct keeper_monitor *m = &k->monitors[in->monitor];
	struct block block;
	struct feed_mark mark;
	enum landing_answer answer;
	struct arrival a = { .monitor = in->monitor, .parcel = p, .now_ns = when_now() };
	if (check(k, in, p, &a.key, &block) != OK) {
		char sentence[ARRIVAL_TEXT_BYTES];
		snprintf(sentence, sizeof sentence, "%.255s", err_text());
		log_braked(&k->refusals, LOG_FAILED, "from the ingest process, of %s: %s", m->row.name, sentence);
		refuse(k, in, p, ARRIVAL_BROKEN, sentence);
		return note_offence(k, m, sentence);
	}
	a.block = p->kind == PARCEL_BLOCK ? &block : NULL;
	if (k->limits.monitor_bytes && m->stored_bytes >= k->limits.monitor_bytes) {
		refuse(k, in, p, ARRIVAL_NO_ROOM, "this monitor's quota of stored bytes is used up");
		return OK;
	}
	enum err e = store_land(k->store, &a, &answer, &mark);
	if (e == ERR_FULL && store_running(k->store) == OK) {
		keeper_hold(k, true, "the archive's disk is full");
		refuse(k, in, p, ARRIVAL_NO_ROOM, "the archive's disk is full");
		return OK;
	}
	if (e != OK && !harmless(k, e))
		return e;
	if (e != OK) {
		refuse(k, in, p, ARRIVAL_BROKEN, err_text());
		return OK;
	}
	switch (answer) {
	case LANDED:
		keeper_note_parcel(k, m, p, a.now_ns);
		wait_for_commit(k, in, p, &mark);
		break;
	case LANDED_BEFORE:
		wait_for_commit(k, in, p, &mark);
		break;
	case LANDED_NOT_NEXT:
		refuse(k, in, p, ARRIVAL_NOT_NEXT, "not the next parcel of its stream");
		break;
	case LANDED_QUOTA:
		refuse(k, in, p, ARRIVAL_NO_ROOM, "the stream's quota or the monitor's streams are used up, or the disk is nearly full");
		break;
	case LANDED_FORK: {
		char reason[ARRIVAL_TEXT_BYTES];
		snprintf(reason, sizeof reason, "two parcels claim place %" PRIu64 " of stream %.100s: it was copied, or set back",
		         p->sequence, p->stream);
		refuse(k, in, p, ARRIVAL_FORK, reason);
		return quarantine(k, m, reason);
	}
	}
	return OK;
}

static enum err
take_parcel(struct keeper *k, const struct arrival_parcel *in)
{
	struct parcel p;
	if (parcel_parse_front(in->front, in->front_count, &p) != OK)
		return OK; /* there is nobody to tell; the channel's other messages may be good */
	if (!sender(k, in->monitor)) {
		refuse(k, in, &p, ARRIVAL_NOT_ALLOWED, "this monitor may not send");
		return OK;
	}
	return land(k, in, &p);
}

void
keeper_answer_waiting(struct keeper *k, bool landed, const char *sentence)
{
	for (uint32_t i = 0; i < k->waiting_count; i++) {
		const struct keeper_waiting *w = &k->waiting[i];
		struct arrival_message m = { .kind = ARRIVAL_KIND_ACK,
			                     .ack = { .session = w->session, .epoch = w->epoch, .sequence = w->sequence } };
		memcpy(m.ack.stream, w->stream, sizeof m.ack.stream);
		if (!landed) {
			m = (struct arrival_message){ .kind = ARRIVAL_KIND_REFUSED,
				                      .refused = { .session = w->session, .why = ARRIVAL_NO_ROOM,
				                                   .epoch = w->epoch, .sequence = w->sequence } };
			memcpy(m.refused.stream, w->stream, sizeof m.refused.stream);
			snprintf(m.refused.sentence, sizeof m.refused.sentence, "%s", sentence);
		}
		keeper_tell(k, &m);
	}
	k->waiting_count = 0;
}

/* With parcels waiting at the monitor these will tell, and when; without, nobody else does. A monitor that made no parcel in this
 * epoch yet counts from another start than the feed. */
static enum err
take_report(struct keeper *k, const struct arrival_report *in)
{
	const struct feed_report report = { in->clock_ns, in->lost_kernel, in->lost_interface, in->lost_spool, in->lost_policy };
	bool news = false;
	if (!sender(k, in->monitor))
		return OK;
	keeper_note_report(k, in, when_now());
	if (in->spool_parcels > 0 || in->packets == 0 || k->hold)
		return OK;
	TRY(store_report(k->store, in->monitor, in->stream, &report, &news));
	if (news && k->waiting_count == 0 && !k->reported)
		k->first_waiting_ns = keeper_clock();
	k->reported |= news;
	return OK;
}

static enum err
take(struct keeper *k, const struct arrival_message *m)
{
	switch (m->kind) {
	case ARRIVAL_KIND_DH:       take_dh(k, &m->dh); return OK;
	case ARRIVAL_KIND_OPEN_KEY: take_open_key(k, &m->open_key); return OK;
	case ARRIVAL_KIND_ENROL:    return take_enrol(k, &m->enrol);
	case ARRIVAL_KIND_SESSION:  take_session(k, &m->session); return OK;
	case ARRIVAL_KIND_ASK_MARK: return take_ask_mark(k, &m->ask_mark);
	case ARRIVAL_KIND_PARCEL:   return take_parcel(k, &m->parcel);
	case ARRIVAL_KIND_OFFENCE: {
		struct keeper_monitor *by = sender(k, m->offence.monitor);
		if (!by)
			return OK;
		by->refused++;
		return note_offence(k, by, m->offence.sentence);
	}
	case ARRIVAL_KIND_NUMBERS:  k->gate = m->numbers; return OK;
	case ARRIVAL_KIND_REPORT:   return take_report(k, &m->report);
	default:
		return OK; /* not to this side: the decoder refused it */
	}
}

enum err
keeper_take(struct keeper *k, bool *idle)
{
	uint64_t began = keeper_clock();
	struct channel_message in;
	struct arrival_message m;
	*idle = false;
	while (channel_is_open(&k->ingest) && k->waiting_count < KEEPER_WAITING_MAX &&
	       store_landing_bytes(k->store) < KEEPER_COMMIT_BYTES && keeper_clock() - began < TAKE_NS) {
		enum err e = channel_receive(&k->ingest, &in);
		*idle = e == END;
		if (e == END)
			return OK;
		if (e == OK)
			e = arrival_decode(&in, ARRIVAL_TO_STORE, &m);
		if (e != OK) {
			log_line(e == ERR_IO ? LOG_NOTED : LOG_FAILED, "link to the ingest process: %s", err_text());
			keeper_link_lost(k);
			break;
		}
		e = take(k, &m);
		sodium_memzero(&m, sizeof m);
		TRY(e);
		if (k->monitors_changed)
			TRY(keeper_tell_monitors(k));
	}
	*idle = !channel_is_open(&k->ingest);
	return OK;
}
