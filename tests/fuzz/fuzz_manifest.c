/* Manifest lines: hostile text is refused or means one row whose text is the same again. The check of a line is made right
 * here, so that what lies behind it is reached. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "index/manifest.h"

static const uint8_t key[MANIFEST_KEY_BYTES], id[MANIFEST_ID_BYTES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
one_line(const uint8_t *data, size_t size)
{
	struct manifest_line line;
	char text[MANIFEST_LINE_BYTES_MAX + 32], again[ROW_TEXT_MAX], hex[33];
	if (size > MANIFEST_LINE_BYTES_MAX - 18)
		return;
	memcpy(text, data, size);
	memcpy(text + size, " .", 2);
	uint8_t sum[16];
	crypto_generichash_state h;
	crypto_generichash_init(&h, key, sizeof key, sizeof sum);
	crypto_generichash_update(&h, id, sizeof id);
	crypto_generichash_update(&h, (const uint8_t *)text, size + 2);
	crypto_generichash_final(&h, sum, sizeof sum);
	sodium_bin2hex(hex, sizeof hex, sum, sizeof sum);
	memcpy(text + size + 2, hex, 16);
	if (manifest_parse_line(key, id, text, size + 18, &line) != OK)
		return;
	size_t n = row_print(line.kind, &line.row, again);
	if (n > size || memcmp(again, text + size - n, n) != 0)
		abort();
	uint8_t bytes[ROW_BYTES_MAX];
	union row row;
	struct writer w = writer_of(bytes, sizeof bytes);
	row_encode(line.kind, &line.row, &w);
	if (!writer_ok(&w) || row_decode(line.kind, &row, bytes, (size_t)(w.at - bytes)) != OK)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum row_kind kinds[] = { ROW_KIND_STATE, ROW_KIND_STREAM, ROW_KIND_SEGMENT, ROW_KIND_IMPORT,
		                               ROW_KIND_REMOVAL, ROW_KIND_MONITOR, ROW_KIND_TICKET, ROW_KIND_LANDING,
		                               ROW_KIND_LANDED, ROW_KIND_FEED, ROW_KIND_GAP, ROW_KIND_DROP };
	struct manifest_line line;
	union row row;
	(void)manifest_parse_line(key, id, (const char *)data, size, &line);
	one_line(data, size);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (row_decode(kinds[i], &row, data, size) != OK)
			continue;
		char text[ROW_TEXT_MAX];
		union row back;
		size_t n = row_print(kinds[i], &row, text);
		if (row_parse(kinds[i], &back, text, n) != OK)
			abort();
	}
	return 0;
}
