#include <ctype.h>
#include <sodium.h>
#include <string.h>

#include "ingest/enrol_code.h"
#include "tests/support/unit.h"

static void
make_code(struct enrol_code *code, unsigned seed)
{
	for (unsigned i = 0; i < sizeof code->secret; i++)
		code->secret[i] = (uint8_t)(seed * 37 + i * 11);
	for (unsigned i = 0; i < sizeof code->archive; i++)
		code->archive[i] = (uint8_t)(seed * 53 + i * 29);
}

static void
gives_back_every_code_in_either_case(void **state)
{
	(void)state;
	struct enrol_code code, back;
	char text[ENROL_CODE_TEXT_BYTES];
	for (unsigned seed = 0; seed < 300; seed++) {
		make_code(&code, seed);
		enrol_code_print(&code, text);
		assert_int_equal(strlen(text), ENROL_CODE_TEXT_BYTES - 1);
		memset(&back, 0, sizeof back);
		assert_int_equal(enrol_code_parse(text, &back), OK);
		assert_memory_equal(&code, &back, sizeof code);
		for (char *c = text; *c; c++)
			*c = (char)toupper(*c);
		assert_int_equal(enrol_code_parse(text, &back), OK);
	}
}

/* From Python's base64 and hashlib. */
static void
golden_text(void **state)
{
	(void)state;
	struct enrol_code code;
	char text[ENROL_CODE_TEXT_BYTES];
	make_code(&code, 1);
	enrol_code_print(&code, text);
	assert_string_equal(text, "euydwrsrlrtxe7misopktnf7zi2ve34mvhdogaa5hjlxjenozpuakir7lr4znm6q5ufcordbp2n3rvtgiexq");
}

static void
refuses_every_other_text(void **state)
{
	(void)state;
	struct enrol_code code, back = { { 1 }, { 2 } }, kept = back;
	char text[ENROL_CODE_TEXT_BYTES + 1];
	make_code(&code, 5);
	enrol_code_print(&code, text);
	for (unsigned at = 0; at < ENROL_CODE_TEXT_BYTES - 1; at++) {
		char right = text[at];
		for (int c = 1; c < 256; c++) {
			text[at] = (char)c;
			if (c != right && c != toupper(right))
				assert_int_equal(enrol_code_parse(text, &back), ERR_USAGE);
		}
		text[at] = 0;
		assert_int_equal(enrol_code_parse(text, &back), ERR_USAGE);
		text[at] = right;
	}
	memcpy(text + ENROL_CODE_TEXT_BYTES - 1, "a", 2);
	assert_int_equal(enrol_code_parse(text, &back), ERR_USAGE);
	assert_memory_equal(&back, &kept, sizeof back);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_every_code_in_either_case),
		cmocka_unit_test(golden_text),
		cmocka_unit_test(refuses_every_other_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
