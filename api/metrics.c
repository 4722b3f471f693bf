#include "api/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_counter, KIND_gauge, KIND_seconds, KIND_offset, KIND_clock };

struct metric {
	enum kind   kind;
	size_t      at; /* in the struct */
	const char *name, *label, *help;
};

static const struct metric of_server[] = {
#define F(kind, name, metric, label, help) { KIND_##kind, offsetof(struct vitals, name), metric, label, help },
	VITALS_SERVER(F)
#undef F
};
static const struct metric of_monitor[] = {
#define F(kind, name, metric, label, help) { KIND_##kind, offsetof(struct vitals_monitor, name), metric, label, help },
	VITALS_MONITOR(F)
#undef F
};

#define STATES 4u
static const char *const states[STATES] = { "enrolled", "revoked", "quarantined", "invited" };
#define REVOKED 1u

static bool
is_shown(const struct vitals_monitor *m)
{
	return m->state != REVOKED && m->state != VITALS_INVITED;
}

static void
value_print(FILE *to, enum kind kind, uint64_t v)
{
	bool negative = kind == KIND_offset && (int64_t)v < 0;
	uint64_t n = negative ? -v : v;
	if (kind == KIND_counter || kind == KIND_gauge)
		fprintf(to, "%" PRIu64 "\n", v);
	else
		fprintf(to, "%s%" PRIu64 ".%09" PRIu64 "\n", negative ? "-" : "", n / 1000000000u, n % 1000000000u);
}

/* Rows of one metric stand together: the first says what it is. */
static void
head_print(FILE *to, const char *prefix, const struct metric *m, const struct metric *before)
{
	if (before && strcmp(before->name, m->name) == 0)
		return;
	bool summary = strstr(m->name, "_seconds_count") || strstr(m->name, "_seconds_sum");
	fprintf(to, "# HELP atoll_%s%s %s\n# TYPE atoll_%s%s %s\n", prefix, m->name, m->help[0] ? m->help : "See the one before.", prefix,
	        m->name, m->kind == KIND_counter || summary ? "counter" : "gauge");
}

static uint64_t
value_at(const void *base, const struct metric *m)
{
	uint64_t v;
	memcpy(&v, (const char *)base + m->at, sizeof v);
	return v;
}

static void
monitor_metric(FILE *to, const struct vitals *v, const struct metric *m)
{
	uint32_t shown = 0;
	for (uint32_t i = 0; i < v->monitor_count && shown < METRICS_MONITORS_MAX; i++) {
		const struct vitals_monitor *monitor = &v->monitors[i];
		if (!is_shown(monitor))
			continue;
		fprintf(to, "atoll_monitor_%s{monitor=\"%s\"%s%s} ", m->name, monitor->name, m->label[0] ? "," : "", m->label);
		value_print(to, m->kind, value_at(monitor, m));
		shown++;
	}
}

/* A name that is none would break the text: it comes from another process. */
static bool
names_are_plain(const struct vitals *v)
{
	for (uint32_t i = 0; i < v->monitor_count; i++)
		for (const char *at = v->monitors[i].name; *at; at++)
			if (*at <= ' ' || *at == '"' || *at == '\\' || *at >= 0x7f)
				return false;
	return true;
}

static void
states_print(FILE *to, const struct vitals *v)
{
	uint32_t count[STATES] = { 0 }, wanted = 0;
	for (uint32_t i = 0; i < v->monitor_count; i++) {
		if (v->monitors[i].state < STATES)
			count[v->monitors[i].state]++;
		wanted += is_shown(&v->monitors[i]);
	}
	fputs("# HELP atoll_monitors Monitors by state.\n# TYPE atoll_monitors gauge\n", to);
	for (uint32_t s = 0; s < STATES; s++)
		fprintf(to, "atoll_monitors{state=\"%s\"} %u\n", states[s], count[s]);
	fprintf(to, "# HELP atoll_monitors_left_out Monitors that are not in this list: there are too many.\n"
	            "# TYPE atoll_monitors_left_out gauge\natoll_monitors_left_out %u\n",
	        wanted > METRICS_MONITORS_MAX ? wanted - METRICS_MONITORS_MAX : 0);
}

enum err
metrics_text(const struct vitals *v, char **text, size_t *n)
{
	if (!names_are_plain(v))
		return fail(ERR_FORMAT, "a monitor's name that is none");
	char *out = NULL;
	FILE *to = open_memstream(&out, n);
	if (to == NULL)
		return fail(ERR_NOMEM, "no memory for metrics");
	for (size_t i = 0; i < sizeof of_server / sizeof *of_server; i++) {
		const struct metric *m = &of_server[i];
		head_print(to, "", m, i ? m - 1 : NULL);
		fprintf(to, "atoll_%s%s%s%s ", m->name, m->label[0] ? "{" : "", m->label, m->label[0] ? "}" : "");
		value_print(to, m->kind, value_at(v, m));
	}
	states_print(to, v);
	for (size_t i = 0; i < sizeof of_monitor / sizeof *of_monitor; i++) {
		head_print(to, "monitor_", &of_monitor[i], i ? &of_monitor[i - 1] : NULL);
		monitor_metric(to, v, &of_monitor[i]);
	}
	bool bad = ferror(to) != 0;
	if (fclose(to) != 0 || bad) {
		free(out);
		return fail(ERR_NOMEM, "no memory for metrics");
	}
	*text = out;
	return OK;
}
