/* format_doc FILE: prints FILE, a Markdown page, with what lies between "<!-- table NAME -->" and "<!-- end -->" made again
 * from the tables in the code. Each table belongs to one page: docs/format.md or docs/wire.md. `make docs` renews them by it,
 * `make check` compares. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/dissect.h"
#include "archive/keys.h"
#include "archive/landing.h"
#include "archive/packet_model.h"
#include "archive/packet_schema.h"
#include "archive/parcel.h"
#include "archive/postings.h"
#include "archive/segment_format.h"
#include "base/limits.h"
#include "index/archive_dir.h"
#include "index/catalogue.h"
#include "index/rows.h"
#include "index/segfilter.h"
#include "ingest/wire.h"

/* --- fields one after another --- */

static unsigned at;

static unsigned
codec_bytes(const char *codec)
{
	static const struct {
		const char *name;
		unsigned bytes;
	} codecs[] = { { "u8", 1 }, { "le16", 2 }, { "le32", 4 }, { "le64", 8 }, { "id", 16 }, { "hash", 32 } };
	for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++)
		if (strcmp(codecs[i].name, codec) == 0)
			return codecs[i].bytes;
	return 0;
}

static void
fields_begin(void)
{
	at = 0;
	puts("| at | bytes | type | name | meaning |\n|---:|---:|---|---|---|");
}

static void
field(const char *codec, unsigned bytes, const char *name, const char *meaning)
{
	printf("| %u | %u | %s | %s | %s |\n", at, bytes, codec, name, meaning);
	at += bytes;
}

#define FIELD(codec, type, name, description) field(#codec, codec_bytes(#codec), #name, description);
#define LAYOUT(noun, TABLE)              \
	static void show_##noun(void)    \
	{                                \
		fields_begin();          \
		TABLE(FIELD)             \
	}
LAYOUT(segment_header, SEGMENT_HEADER)
LAYOUT(segment_trailer, SEGMENT_TRAILER)
LAYOUT(segment_totals, SEGMENT_TOTALS)
LAYOUT(block_entry, BLOCK_ENTRY)
LAYOUT(page_entry, PAGE_ENTRY)
LAYOUT(block_header, BLOCK_HEADER)
LAYOUT(block_chunk, BLOCK_CHUNK)

#define SHORT_FIELD(codec, name, meaning) field(#codec, codec_bytes(#codec), #name, meaning);
static void
show_segfilter_header(void)
{
	fields_begin();
	SEGFILTER_HEADER(SHORT_FIELD)
}

#define SIZED_FIELD(codec, bytes, name, meaning) field(#codec, bytes, #name, meaning);
static void
show_keystore_header(void)
{
	fields_begin();
	KEYSTORE_HEADER(SIZED_FIELD)
}

static void
show_keystore_slot(void)
{
	fields_begin();
	KEYSTORE_SLOT(SIZED_FIELD)
}

static void
show_landing_header(void)
{
	fields_begin();
	LANDING_HEADER(SIZED_FIELD)
}

static void
show_landing_record(void)
{
	fields_begin();
	LANDING_RECORD(SIZED_FIELD)
}

/* --- the wire --- */

static void
show_preamble(void)
{
	fields_begin();
	WIRE_PREAMBLE(SIZED_FIELD)
}

static void
show_parcel_header(void)
{
	fields_begin();
	PARCEL_HEADER(SIZED_FIELD)
}

static void
show_messages(void)
{
	static const char *const says[] = { "", "collector", "archive", "both" };
	puts("| type | message | said by | meaning |\n|---:|---|---|---|");
#define M(TABLE, noun, type, from, meaning) printf("| %u | %s | %s | %s |\n", type, #TABLE, says[WIRE_FROM_##from], meaning);
	WIRE_MESSAGES(M)
#undef M
}

static void
message_field(const char *message, bool *first, const char *kind, const char *name, const char *meaning)
{
	printf("| %s | %s | %s | %s |\n", *first ? message : "", kind, name, meaning);
	*first = false;
}

static void
show_bodies(void)
{
	puts("| message | type | field | meaning |\n|---|---|---|---|");
#define F(kind, name, meaning) message_field(message, &first, #kind, #name, meaning);
#define M(TABLE, noun, type, from, meaning)              \
	{                                                \
		const char *message = #TABLE;            \
		bool first = true;                       \
		WIRE_##TABLE(F)                          \
		if (first)                               \
			printf("| %s | | | nothing |\n", message); \
	}
	WIRE_MESSAGES(M)
#undef M
#undef F
}

static void
show_refusals(void)
{
	puts("| code | name | why | what a collector does |\n|---:|---|---|---|");
#define F(name, code, meaning, remedy) printf("| %u | %s | %s | %s |\n", code, #name, meaning, remedy);
	WIRE_REFUSALS(F)
#undef F
}

/* --- packets --- */

static void
show_chunks(void)
{
	unsigned number = 0;
	puts("| id | chunk | holds |\n|---:|---|---|");
#define F(id, description) printf("| %u | %s | %s |\n", number++, #id, description);
	PACKET_CHUNKS(F)
#undef F
}

struct stream {
	const char *id, *chunk, *effort, *description;
};
static const struct stream streams[] = {
#define F(id, chunk, effort, room, description) { #id, #chunk, #effort, description },
	PACKET_STREAMS(F)
#undef F
};
static const unsigned stream_count = sizeof streams / sizeof streams[0];

/* How many of the streams from i on are the planes of one column. */
static unsigned
planes_at(unsigned i)
{
	size_t n = strlen(streams[i].id);
	if (streams[i].id[n - 1] != '0')
		return 1;
	unsigned planes = 1;
	while (i + planes < stream_count && strlen(streams[i + planes].id) == n && planes < 4 &&
	       memcmp(streams[i + planes].id, streams[i].id, n - 1) == 0 &&
	       streams[i + planes].id[n - 1] == (char)('0' + planes))
		planes++;
	return planes;
}

static void
show_streams(void)
{
	puts("| chunk | stream | planes | holds |\n|---|---|---:|---|");
	for (unsigned i = 0; i < stream_count;) {
		unsigned planes = planes_at(i);
		size_t n = strlen(streams[i].id) - (planes > 1);
		printf("| %s | %.*s | %u | %s |\n", streams[i].chunk, (int)n, streams[i].id, planes,
		       *streams[i].description ? streams[i].description : "as is");
		i += planes;
	}
}

static void
show_shape(void)
{
	unsigned bit = 0;
	puts("| bits | field | values |\n|---|---|---|");
#define F(id, bits, description)                                                        \
	if (bits == 1)                                                                  \
		printf("| %u | %s | %s |\n", bit, #id, description);                    \
	else                                                                            \
		printf("| %u-%u | %s | %s |\n", bit, bit + (bits) - 1, #id, description); \
	bit += (bits);
	PACKET_SHAPE(F)
#undef F
}

static void
show_columns(void)
{
	puts("| column | type | unit | means | description |\n|---|---|---|---|---|");
#define F(id, name, type, unit, meaning, description) \
	printf("| %s | %s | %s | %s | %s |\n", #name, #type, unit, #meaning, description);
	PACKET_COLUMNS(F)
#undef F
}

/* --- rows of the catalogue --- */

#define ROW_FIELD(kind, name, meaning) printf("| %s | %s | %s |\n", #kind, #name, meaning);
static void
show_rows(void)
{
#define TABLE(TABLE, noun, tag, meaning)                                             \
	printf("**%s** (`%c`; %s)\n\n| type | name | meaning |\n|---|---|---|\n", #noun, tag, meaning); \
	ROW_##TABLE(ROW_FIELD)                                                       \
	puts("");
	ROW_TABLES(TABLE)
#undef TABLE
}

/* --- numbers --- */

static void
number(const char *name, unsigned long v)
{
	printf("| %s | %lu |\n", name, v);
}

#define NUMBER(name) number(#name, (unsigned long)(name))
static void
show_limits(void)
{
	puts("| limit | value |\n|---|---:|");
	NUMBER(BLOCK_RECORDS_MAX);
	NUMBER(BLOCK_BYTES_MAX);
	NUMBER(RECORD_BYTES_MAX);
	NUMBER(CHUNK_BYTES_MAX);
	NUMBER(SEGMENT_BLOCKS_MAX);
	NUMBER(SEGMENT_BYTES_MAX);
	NUMBER(POSTINGS_PAGE);
	NUMBER(STRINGS_MAX);
	NUMBER(STRING_BYTES_MAX);
	NUMBER(LINK_BYTES_MAX);
	NUMBER(DISSECT_EXTENSIONS_MAX);
	NUMBER(PARCEL_BYTES_MAX);
	NUMBER(LANDING_BYTES_MAX);
	NUMBER(STREAM_NAME_BYTES);
	NUMBER(STREAMS_MAX);
	NUMBER(IMPORT_NAME_BYTES);
	NUMBER(SEGFILTER_BYTES_MAX);
}

static void
show_wire_limits(void)
{
	puts("| limit | value |\n|---|---:|");
	NUMBER(WIRE_PORT);
	NUMBER(WIRE_FRAME_BYTES_MAX);
	NUMBER(WIRE_SMALL_FRAME_BYTES_MAX);
	NUMBER(WIRE_SMALL_BODY_BYTES_MAX);
	NUMBER(PARCEL_BYTES_MAX);
	NUMBER(BLOCK_RECORDS_MAX);
	NUMBER(BLOCK_BYTES_MAX);
	NUMBER(RECORD_BYTES_MAX);
	NUMBER(STREAM_NAME_BYTES);
	NUMBER(WIRE_TEXT_BYTES);
	NUMBER(SESSION_HANDSHAKE_NS);
	NUMBER(SESSION_PING_NS);
	NUMBER(SESSION_SILENCE_NS);
	NUMBER(SESSION_FRAME_NS);
	NUMBER(SESSION_REKEY_NS);
	NUMBER(SESSION_REKEY_BYTES);
	NUMBER(SESSION_REKEY_FRAMES_MAX);
	NUMBER(WIRE_VERSION);
	NUMBER(PARCEL_VERSION);
	NUMBER(BLOCK_VERSION);
}

static void
show_versions(void)
{
	puts("| version | value |\n|---|---:|");
	NUMBER(SEGMENT_VERSION);
	NUMBER(BLOCK_VERSION);
	NUMBER(LANDING_VERSION);
	NUMBER(PARCEL_VERSION);
	NUMBER(KEYSTORE_VERSION);
	NUMBER(ARCHIVE_VERSION);
	NUMBER(MANIFEST_VERSION);
	NUMBER(CATALOGUE_VERSION);
	NUMBER(SEGFILTER_VERSION);
}

static void
show_enums(void)
{
	puts("| name | value |\n|---|---:|");
	NUMBER(NET_RAW);
	NUMBER(NET_IP4);
	NUMBER(NET_IP6);
	NUMBER(TRANSPORT_NONE);
	NUMBER(TRANSPORT_TCP);
	NUMBER(TRANSPORT_UDP);
	NUMBER(TRANSPORT_SCTP);
	NUMBER(TRANSPORT_ICMP);
	NUMBER(TRANSPORT_ICMP6);
	NUMBER(FLOW_FRAGMENT);
	NUMBER(FLOW_EXTENSIONS);
	NUMBER(STEP_AGAIN);
	NUMBER(STEP_FOLLOWER);
	NUMBER(STEP_RETURN);
	NUMBER(STEP_NEW);
	NUMBER(STEP_BACK);
}

/* --- the page --- */

static const struct {
	const char *page, *name;
	void (*show)(void);
} tables[] = {
	{ "format.md", "segment_header", show_segment_header },
	{ "format.md", "segment_trailer", show_segment_trailer },
	{ "format.md", "segment_totals", show_segment_totals },
	{ "format.md", "block_entry", show_block_entry },
	{ "format.md", "page_entry", show_page_entry },
	{ "format.md", "landing_header", show_landing_header },
	{ "format.md", "landing_record", show_landing_record },
	{ "format.md", "parcel_header", show_parcel_header },
	{ "format.md", "block_header", show_block_header },
	{ "format.md", "block_chunk", show_block_chunk },
	{ "format.md", "chunks", show_chunks },
	{ "format.md", "streams", show_streams },
	{ "format.md", "shape", show_shape },
	{ "format.md", "columns", show_columns },
	{ "format.md", "rows", show_rows },
	{ "format.md", "segfilter_header", show_segfilter_header },
	{ "format.md", "keystore_header", show_keystore_header },
	{ "format.md", "keystore_slot", show_keystore_slot },
	{ "format.md", "limits", show_limits },
	{ "format.md", "versions", show_versions },
	{ "format.md", "enums", show_enums },
	{ "wire.md", "preamble", show_preamble },
	{ "wire.md", "messages", show_messages },
	{ "wire.md", "bodies", show_bodies },
	{ "wire.md", "refusals", show_refusals },
	{ "wire.md", "parcel_header", show_parcel_header },
	{ "wire.md", "wire_limits", show_wire_limits },
};
#define TABLES (sizeof tables / sizeof tables[0])

static bool shown[TABLES];
static const char *page;

/* The table that this line begins; TABLES when it is another line. */
static size_t
table_begun(const char *line)
{
	char name[64];
	if (sscanf(line, "<!-- table %63[a-z_0-9] -->", name) != 1)
		return TABLES;
	for (size_t i = 0; i < TABLES; i++)
		if (strcmp(tables[i].page, page) == 0 && strcmp(tables[i].name, name) == 0)
			return i;
	fprintf(stderr, "format_doc: no table \"%s\" for %s\n", name, page);
	exit(1);
}

int
main(int argc, char **argv)
{
	FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
	char *line = NULL;
	size_t room = 0;
	bool inside = false;
	if (!f) {
		fprintf(stderr, "usage: format_doc FILE\n");
		return 2;
	}
	page = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
	while (getline(&line, &room, f) > 0) {
		if (inside && strcmp(line, "<!-- end -->\n") != 0)
			continue;
		inside = false;
		fputs(line, stdout);
		size_t i = table_begun(line);
		if (i < TABLES) {
			inside = shown[i] = true;
			tables[i].show();
		}
	}
	free(line);
	fclose(f);
	for (size_t i = 0; i < TABLES; i++)
		if (!shown[i] && strcmp(tables[i].page, page) == 0) {
			fprintf(stderr, "format_doc: %s has no table \"%s\"\n", argv[1], tables[i].name);
			return 1;
		}
	return inside ? fprintf(stderr, "format_doc: a table without end\n"), 1 : 0;
}
