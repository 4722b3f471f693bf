#include "api/mhd.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libmicrohttpd.so.12"

enum err
mhd_open(struct mhd *m)
{
	struct mhd found = { .handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) };
	if (!found.handle)
		return fail(ERR_ABSENT, "%s can not be loaded (%s): install libmicrohttpd12, or serve with --metrics none", LIBRARY,
		            dlerror());
	const char *missing = NULL;
#define F(name)                                                              \
	void *name##_at = dlsym(found.handle, "MHD_" #name);                \
	if (!name##_at)                                                      \
		missing = "MHD_" #name;                                      \
	memcpy(&found.name, &name##_at, sizeof found.name);
	MHD_FUNCTIONS(F)
#undef F
	if (missing) {
		mhd_close(&found);
		return fail(ERR_ABSENT, "%s has no %s: another version than it was built for", LIBRARY, missing);
	}
	*m = found;
	return OK;
}

void
mhd_close(struct mhd *m)
{
	if (m->handle)
		dlclose(m->handle);
	*m = (struct mhd){ 0 };
}
