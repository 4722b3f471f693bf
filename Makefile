# Atoll. `make help` says what there is.
#
# One flavour of the program lives in one folder: build/gcc, build/clang, build/san (SAN=address,undefined), build/san-clang
# (CC=clang, too), whose objects are those of the fuzz targets as well.
# Variables: CC, SAN, BUILD (default build), PREFIX, DESTDIR, WERROR (empty: warnings do not stop the build), T, N,
# PARTS (the folders that make the library).

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD  ?= build
PREFIX ?= /usr/local
WERROR ?= -Werror
T      ?= 60
N      ?= 100

WARN := -Wall -Wextra $(WERROR) -Wshadow -Wvla -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
        -Wold-style-definition -Wundef -Wformat=2 -Wno-unused-parameter
OPTIMISE := -O3
LINK :=
ifneq ($(filter fuzz fuzz-build,$(MAKECMDGOALS)),)
CC := clang
SAN := address,undefined
endif
ifneq ($(SAN),)
FLAVOUR := san$(if $(findstring clang,$(CC)),-clang)
LINK := -fsanitize=$(SAN)
OPTIMISE := -O1 $(LINK) -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ifneq ($(findstring clang,$(CC)),)
OPTIMISE += -fsanitize=fuzzer-no-link
endif
else
FLAVOUR := $(notdir $(CC))
OPTIMISE += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LINK := -Wl,-z,relro,-z,now
endif
# gcc can not know that fail() never returns OK, and takes every output after TRY for unset; and it does not see that a
# writer's room was checked before the store
ifeq ($(findstring clang,$(CC)),)
WARN += -Wno-maybe-uninitialized -Wno-stringop-overflow
endif

ALL_CFLAGS := -std=c2x -g $(OPTIMISE) -fPIE -pthread -D_GNU_SOURCE -I. $(WARN) $(CFLAGS)
# AES only, 38 KB of it: a shared library would cost every start of atoll as much as any other does
NETTLE := $(shell $(CC) -print-file-name=libnettle.a)
NETTLE := $(if $(findstring /,$(NETTLE)),$(NETTLE),-lnettle)
LIBS := -llmdb -lzstd -lpcap -lsodium -llz4 -llzma -lz -lseccomp $(NETTLE) -lpthread -lm
ALL_LDFLAGS := -pie -pthread -Wl,--as-needed $(LINK) $(LDFLAGS)

OUT := $(BUILD)/$(FLAVOUR)
# of the collector, which has to compile and link where there is no LMDB and no libmicrohttpd
COLLECT_PARTS := base ingest archive
COLLECT_LIBS  := -lzstd -lpcap -lsodium -llz4 -llzma -lz -lseccomp -lpthread -lm
PARTS ?= base ingest archive index anonymize query api
# policies that come with the program, from private to open
POLICIES := $(patsubst %,anonymize/policies/%.policy,counts-only open research internal)
LIBRARY_SOURCES := $(wildcard $(addsuffix /*.c,$(PARTS)))
COLLECT_SOURCES := $(wildcard tools/atoll-collect.c tools/collect*.c)
TOOL_SOURCES    := $(filter-out $(COLLECT_SOURCES),$(wildcard tools/*.c))
SUPPORT_SOURCES := $(wildcard tests/support/*.c)
UNIT  := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZ  := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(wildcard tests/bench/bench_*.c))
SHIMS := $(patsubst tests/fault/%.c,$(OUT)/%.so,$(wildcard tests/fault/*.c))
GEN_SOURCES := $(wildcard tests/gen/*.c)
SINK  := $(patsubst tests/sink/%.c,$(OUT)/%,$(wildcard tests/sink/sink.c))
CANARY := $(patsubst tests/canary/%.c,$(OUT)/%,$(wildcard tests/canary/canary.c))
GEN   := $(if $(GEN_SOURCES),$(OUT)/gen)
PAGES := docs/format.md docs/wire.md

objects = $(patsubst %.c,$(OUT)/%.o,$(1))
LIBRARY := $(OUT)/libatoll.a
PRESETS := $(if $(filter anonymize,$(PARTS)),$(OUT)/anonymize/policy_presets.o)
SUPPORT := $(if $(SUPPORT_SOURCES),$(OUT)/libsupport.a)

# what a newcomer types first installs what is missing before it compiles, and uses all cores
ifneq ($(filter demo bench,$(MAKECMDGOALS)),)
DEPS_FIRST := deps
MAKEFLAGS += -j$(shell nproc)
endif

.PHONY: all collect deps demo test check docs bench fuzz fuzz-build torture install clean help unit FORCE
.DELETE_ON_ERROR:
.SECONDARY:

## all      build ./atoll and ./atoll-collect
all: $(if $(TOOL_SOURCES),$(OUT)/atoll $(OUT)/atoll-collect,$(LIBRARY))
ifeq ($(SAN)$(BUILD),build)
ifneq ($(TOOL_SOURCES),)
	@[ "$$(readlink atoll)" = "$(OUT)/atoll" ] || ln -sfn $(OUT)/atoll atoll
	@[ "$$(readlink atoll-collect)" = "$(OUT)/atoll-collect" ] || ln -sfn $(OUT)/atoll-collect atoll-collect
endif
endif

## collect  build atoll-collect alone: without LMDB, libmicrohttpd
collect: $(OUT)/atoll-collect

## help     this list
help:
	@sed -n 's/^## /  make /p' Makefile
	@echo "  variables: CC=clang SAN=address,undefined BUILD=DIR PREFIX=$(PREFIX) DESTDIR= T=$(T) N=$(N)"

## deps     install the Debian packages that are missing
deps:
	@tools/deps.sh

## demo     a tour in a scratch folder: import, look, find a host, export, compare
demo: deps all $(GEN)
	@GEN=$(GEN) tools/demo.sh

## test     everything: checks, unit tests, end to end, again with clang's sanitizers, short fuzz runs
test: deps
	@python3 tests/run.py

## check    quick: include table, banned calls, layout, docs/format.md, docs/wire.md, docs/atoll.conf, docs/example.policy
check: $(OUT)/format_doc $(OUT)/config_doc $(OUT)/policy_doc
	@tests/check_includes.sh
	@tests/check_source.py
	@for page in $(PAGES); do $(OUT)/format_doc $$page | cmp -s - $$page || \
		{ echo "$$page is behind the tables in the code: make docs"; exit 1; }; done
	@$(OUT)/config_doc | cmp -s - docs/atoll.conf || \
		{ echo "docs/atoll.conf is behind the table of base/config.h: make docs"; exit 1; }
	@$(OUT)/policy_doc | cmp -s - docs/example.policy || \
		{ echo "docs/example.policy is behind the table of anonymize/policy.h: make docs"; exit 1; }

## docs     make docs/atoll.conf, docs/example.policy and the tables of docs/format.md and docs/wire.md from those in the code
docs: $(OUT)/format_doc $(OUT)/config_doc $(OUT)/policy_doc
	@$(OUT)/config_doc > $(OUT)/atoll.conf && cp $(OUT)/atoll.conf docs/atoll.conf
	@$(OUT)/policy_doc > $(OUT)/example.policy && cp $(OUT)/example.policy docs/example.policy
	@for page in $(PAGES); do $(OUT)/format_doc $$page > $(OUT)/page.md && cp $(OUT)/page.md $$page || exit 1; done

## bench    ratios against gzip, zstd, xz, tcpdump, nfpcapd; writes build/bench.json
bench: deps all $(GEN) $(BENCH)
	@BENCH_PROGRAMS="$(BENCH)" GEN=$(GEN) python3 tests/bench/bench.py

## fuzz     every fuzz target for T seconds each (T=60)
fuzz: fuzz-build
	@tests/fuzz/run.sh $(T) $(FUZZ)
fuzz-build: $(FUZZ)

## torture  N random rounds of kill, damage, repair and compare (N=100)
torture: all $(GEN) $(SHIMS)
	@GEN=$(GEN) OUT=$(OUT) tests/torture.sh $(N)

## unit     build the unit tests, the generator and the shims, run nothing
unit: $(UNIT) $(GEN) $(SHIMS) $(SINK) $(CANARY)

## install  into DESTDIR/PREFIX: bin, lib/systemd/system, lib/sysusers.d, share/doc/atoll, share/atoll/policies
install: all
	install -D -m 755 $(OUT)/atoll $(DESTDIR)$(PREFIX)/bin/atoll
	install -D -m 755 $(OUT)/atoll-collect $(DESTDIR)$(PREFIX)/bin/atoll-collect
	install -D -m 644 tools/atoll.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/atoll.conf
	install -D -m 644 docs/atoll.conf $(DESTDIR)$(PREFIX)/share/doc/atoll/atoll.conf
	install -D -m 644 docs/example.policy $(DESTDIR)$(PREFIX)/share/doc/atoll/example.policy
	install -d $(DESTDIR)$(PREFIX)/share/atoll/policies
	install -m 644 $(POLICIES) $(DESTDIR)$(PREFIX)/share/atoll/policies
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	@for unit in atoll atoll-collect; do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' tools/$$unit.service \
			> $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service && \
		chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; \
	done

## clean    remove what was built
clean:
	rm -rf $(BUILD) atoll

# Objects are made again when the flags change, the library when a source disappears.
$(OUT)/flags: FORCE $(DEPS_FIRST)
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS)' > $@
$(OUT)/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBRARY_SOURCES) $(SUPPORT_SOURCES) $(TOOL_SOURCES) $(COLLECT_SOURCES)' | cmp -s - $@ || \
		echo '$(LIBRARY_SOURCES) $(SUPPORT_SOURCES) $(TOOL_SOURCES) $(COLLECT_SOURCES)' > $@

$(OUT)/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# anonymize/policies/*.policy as strings of C
$(OUT)/anonymize/policy_presets.c: $(POLICIES) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "anonymize/policy.h"'; echo 'const struct policy_preset policy_presets[] = {'; \
	   for file in $(POLICIES); do \
		echo "{ \"$$(basename $$file .policy)\","; sed 's/[\\"]/\\&/g; s/.*/"&\\n"/' $$file; echo '},'; \
	   done; echo '{ 0 } };'; } > $@
$(OUT)/anonymize/policy_presets.o: $(OUT)/anonymize/policy_presets.c $(OUT)/flags
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(LIBRARY): $(call objects,$(LIBRARY_SOURCES)) $(PRESETS) $(OUT)/sources
	@rm -f $@
	ar rcsD $@ $(filter %.o,$^)

$(OUT)/libsupport.a: $(call objects,$(SUPPORT_SOURCES)) $(OUT)/sources
	@rm -f $@
	ar rcsD $@ $(filter %.o,$^)

$(OUT)/atoll: $(call objects,$(TOOL_SOURCES)) $(LIBRARY) $(OUT)/sources
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(OUT)/libcollect.a: $(call objects,$(wildcard $(addsuffix /*.c,$(COLLECT_PARTS)))) $(OUT)/sources
	@rm -f $@
	ar rcsD $@ $(filter %.o,$^)

$(OUT)/atoll-collect: $(call objects,$(COLLECT_SOURCES)) $(OUT)/libcollect.a $(OUT)/sources
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(COLLECT_LIBS)

$(OUT)/format_doc: $(OUT)/tests/docs/format_doc.o
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(OUT)/config_doc $(OUT)/policy_doc: $(OUT)/%: $(OUT)/tests/docs/%.o $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(OUT)/gen: $(call objects,$(GEN_SOURCES))
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ -lm

$(OUT)/sink: $(OUT)/tests/sink/sink.o $(OUT)/libcollect.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(COLLECT_LIBS)

$(OUT)/canary: $(OUT)/tests/canary/canary.o $(SUPPORT) $(LIBRARY)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(OUT)/unit/%: $(OUT)/tests/unit/%.o $(SUPPORT) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) -lcmocka $(LIBS)

$(OUT)/bench/%: $(OUT)/tests/bench/%.o $(SUPPORT) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(OUT)/fuzz/%: $(OUT)/tests/fuzz/%.o $(SUPPORT) $(LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)

# stands between a program and libc (LD_PRELOAD), so it is never built with sanitizers
$(OUT)/%.so: tests/fault/%.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) -std=c2x -g -O2 -fPIC -shared -D_GNU_SOURCE -I. $(WARN) -o $@ $< -ldl

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
