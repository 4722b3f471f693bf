#include "base/text.h"

#include <stdbool.h>
#include <stdlib.h>

enum err
text_open(struct text *t, size_t most)
{
	*t = (struct text){ .most = most };
	t->to = open_memstream(&t->bytes, &t->n);
	if (t->to == NULL)
		return fail(ERR_NOMEM, "no memory for a text");
	/* grown here, where it is told when that fails */
	if (fseek(t->to, (long)most, SEEK_SET) == 0 && fseek(t->to, 0, SEEK_SET) == 0)
		return OK;
	fclose(t->to);
	free(t->bytes);
	return fail(ERR_NOMEM, "no memory for a text of up to %zu bytes", most);
}

enum err
text_close(struct text *t, char **out)
{
	long n = ftell(t->to);
	bool closed = fclose(t->to) == 0 && t->bytes != NULL && n >= 0;
	if (!closed || (size_t)n > t->most) {
		free(t->bytes);
		return closed ? fail(ERR_LIMIT, "a text of more than %zu bytes", t->most) : fail(ERR_NOMEM, "no memory for a text");
	}
	*out = t->bytes;
	return OK;
}
