#include "base/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t seen;

static void
note(int number)
{
	(void)number;
	seen = 1;
}

void
interrupt_watch(void)
{
	struct sigaction action = { .sa_handler = note, .sa_flags = (int)SA_RESETHAND };
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool
interrupt_seen(void)
{
	return seen;
}

enum err
interrupt_check(void)
{
	return seen ? fail(ERR_INTERRUPTED, "interrupted") : OK;
}
