/* Configuration files: any bytes give a configuration or sentences, and what is shown of a configuration reads back as the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err
write_line(void *arg, const char *section, const char *key, const char *value, const char *where)
{
	(void)where;
	return fprintf(arg, "[%s]\n%s = %s\n", section, key, value) > 0 ? OK : ERR_IO;
}

static struct config *
loaded(const void *bytes, size_t n)
{
	static int fd = -1;
	static char path[32];
	struct config *c = NULL;
	if (fd < 0) {
		fd = memfd_create("config", 0);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) < 0 || pwrite(fd, bytes, n, 0) != (ssize_t)n)
		abort();
	enum err e = config_load(&c, path, NULL, NULL, NULL);
	return e == OK ? c : NULL;
}

static char *
shown(const struct config *c, size_t *n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, n);
	if (config_walk(c, write_line, f) != OK)
		abort();
	fclose(f);
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n, m;
	struct config *c = loaded(data, size);
	if (c == NULL)
		return 0;
	char *text = shown(c, &n);
	config_close(&c);
	c = loaded(text, n);
	if (c == NULL)
		abort();
	char *again = shown(c, &m);
	if (n != m || memcmp(text, again, n) != 0)
		abort();
	config_close(&c);
	free(text);
	free(again);
	return 0;
}
