# veredus: one non-recursive Makefile for GNU make.
#   make            everything (runs autoconf and ./configure when needed)
#   make deps       install the Debian packages that are missing
#   make try        a private instance on high ports, with a first mail
#   make check      every test;  make check-unit: those that need no root and no network
#   make install | uninstall | format | bench | fuzz | soak | clean
#   BUILD=dir       another build folder;  SANITIZE=address,undefined: with sanitizers (its own folder)
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
all:

SANITIZE ?=
BUILD ?= build$(if $(SANITIZE),/sanitize)
CONFIG := build/config.mk
no_config_goals := deps clean distclean format configure check try bench
ifeq ($(filter $(no_config_goals),$(MAKECMDGOALS)),)
include $(CONFIG)
endif

configure: configure.ac
	autoconf
# The answers of an earlier configure are kept; the first time it runs with its defaults.
$(CONFIG): configure
	@if test -x config.status; then ./config.status --recheck && ./config.status; else ./configure $(CONFIGURE_FLAGS); fi
	@touch $@

STD := -std=c++20 -I. -I$(BUILD) -pthread
WARN := -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wvla -Wformat=2 $(WERROR)
# g++ 12 takes the inside of std::function for uninitialized once the sanitizers are in.
WARN += $(if $(SANITIZE),-Wno-maybe-uninitialized)
HARDEN := $(if $(SANITIZE),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -ffunction-sections -fdata-sections)
SANFLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined $(SANEXTRA))
# Under sanitizers -O0: with UBSan the optimizer takes twice as long to compile as all the rest, and the tests run hardly faster for it.
OPT ?= $(if $(SANITIZE),-O0 -g1,$(CXXFLAGS))
CC_ALL = $(CXX) $(STD) $(CPPFLAGS) $(OPT) $(WARN) $(HARDEN) $(SANFLAGS)
LINK_ALL = $(CXX) $(OPT) $(LDFLAGS) $(SANFLAGS) -pthread $(if $(SANITIZE),,-pie -Wl,--gc-sections,-z,relro,-z,now) -Wl,--as-needed
LIBS := -levent_core -lssl -lcrypto -lresolv -lpcre2-8 -lcrypt -lz $(if $(PAM),-lpam) $(if $(ARGON2),-largon2)

# name:folder; the sources of a program are its folder's *.cc (not below), main.cc holds main()
programs := \
	libexec/master:master libexec/resolver:master/resolver libexec/authd:master/authd libexec/anvil:master/anvil sbin/veredus:master/veredus \
	libexec/smtpd:smtpd libexec/submission:submission sbin/sendmail:submission/sendmail libexec/veredus-drop:submission/drop \
	libexec/qmgr:qmgr libexec/router:qmgr/router libexec/smtp-client:smtp-client \
	libexec/local:local libexec/local-worker:local/zygote libexec/lockd:local/lockd libexec/lmtpd:local/lmtpd libexec/pop3d:pop3d libexec/imapd:imapd

lib_sources := $(wildcard lib/*/*.cc)
lib_objects := $(lib_sources:%.cc=$(BUILD)/%.o)
archive := $(BUILD)/libveredus.a
folder_of = $(word 2,$(subst :, ,$1))
name_of = $(notdir $(word 1,$(subst :, ,$1)))
room_sources := $(foreach p,$(programs),$(wildcard $(call folder_of,$p)/*.cc))
room_objects := $(room_sources:%.cc=$(BUILD)/%.o)
rooms_archive := $(BUILD)/rooms.a
bin_of = $(BUILD)/bin/$(call name_of,$1)
# a room that has no main.cc yet is not built
ready_programs := $(foreach p,$(programs),$(if $(wildcard $(call folder_of,$p)/main.cc),$p))
binaries := $(foreach p,$(ready_programs),$(call bin_of,$p))
unit_sources := $(wildcard t/unit/*.cc)
unit_objects := $(unit_sources:%.cc=$(BUILD)/%.o)
fuzzers := $(patsubst t/fuzz/%.cc,$(BUILD)/fuzz/%,$(wildcard t/fuzz/*.cc))

all: $(binaries)
.PHONY: all objects
objects: $(lib_objects) $(room_objects)

# config.h says where things were configured to go; it changes only when they do.
$(BUILD)/config.h: $(CONFIG) Makefile
	@mkdir -p $(@D)
	@{ echo '// written by make from config.mk'; echo '#pragma once'; \
	   echo '#define VEREDUS_VERSION "$(VERSION)"'; \
	   echo '#define VEREDUS_SBINDIR "$(sbindir)"'; echo '#define VEREDUS_BINDIR "$(bindir)"'; \
	   echo '#define VEREDUS_LIBEXECDIR "$(libexecdir)/veredus"'; echo '#define VEREDUS_SYSCONFDIR "$(sysconfdir)/veredus"'; \
	   echo '#define VEREDUS_ALIASES "$(sysconfdir)/aliases"'; \
	   echo '#define VEREDUS_SPOOLDIR "$(localstatedir)/spool/veredus"'; \
	   echo '#define VEREDUS_RUNDIR "$(if $(filter /var,$(localstatedir)),/run,$(localstatedir)/run)/veredus"'; \
	   echo '#define VEREDUS_MAILSPOOL "$(mailspool)"'; $(if $(PAM),echo '#define VEREDUS_PAM 1';) $(if $(ARGON2),echo '#define VEREDUS_ARGON2 1';) } > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/%.o: %.cc | $(BUILD)/config.h
	@mkdir -p $(@D)
	$(CC_ALL) $(PRE) -MMD -MP -c $< -o $@
$(unit_objects): OPT := -O0 -g1
$(BUILD)/t/%.o: WARN += -Wno-shadow
# PRE_STD=1 (make check): the standard headers are compiled once for the tests, and with those of ours that everybody includes once for
# the sanitizers, which saves more than half a second a file.
# The ordinary objects are built without, so that an #include that is missing is noticed.
pre_std := algorithm array atomic charconv chrono condition_variable cstdint cstring deque fstream functional map memory mutex optional set span \
	sstream string string_view thread unordered_map utility variant vector
pre_own := lib/base/clock.h lib/base/fd.h lib/base/result.h lib/base/text.h lib/conf/values.h lib/disk/disk.h lib/ipc/message.h lib/log/log.h \
	lib/loop/loop.h lib/net/address.h
pre_test := $(BUILD)/pre/t/unit.h
pre_all := $(BUILD)/pre/std.h
$(pre_test) $(pre_all): Makefile
	@mkdir -p $(@D)
	@printf '#include <%s>\n' $(pre_std) >$@
	@$(if $(filter $(pre_test),$@),echo '#include "t/unit/catch.h"',printf '#include "%s"\n' $(pre_own)) >>$@
$(BUILD)/pre/%.h.gch: $(BUILD)/pre/%.h | $(BUILD)/config.h
	$(CC_ALL) -MMD -MP -MT $@ -MF $(@:.gch=.d) -x c++-header $< -o $@
$(pre_test).gch: OPT := -O0 -g1
$(pre_test).gch: WARN += -Wno-shadow
ifneq ($(PRE_STD),)
-include $(pre_test:.h=.h.d) $(pre_all:.h=.h.d)
$(unit_objects): PRE = -include $(pre_test)
$(filter-out $(BUILD)/t/unit/main.o,$(unit_objects)): $(pre_test).gch
$(BUILD)/t/unit/main.o: PRE =
ifneq ($(SANITIZE),)
$(lib_objects) $(room_objects): PRE = -include $(pre_all)
$(lib_objects) $(room_objects): $(pre_all).gch
endif
endif

$(archive): $(lib_objects)
	@rm -f $@
	$(AR) rcs $@ $^
$(rooms_archive): $(filter-out %/main.o,$(room_objects))
	@rm -f $@
	$(AR) rcs $@ $^

define program
$(call bin_of,$1): $(patsubst %.cc,$(BUILD)/%.o,$(wildcard $(call folder_of,$1)/*.cc)) $(archive)
	@mkdir -p $$(@D)
	$$(LINK_ALL) $$(LINK_EXTRA) $$(filter %.o,$$^) $(archive) $$(LIBS) -o $$@
endef
$(foreach p,$(ready_programs),$(eval $(call program,$p)))
# It knows users as resolver does.
$(BUILD)/bin/veredus: $(addprefix $(BUILD)/master/,worker_policy.o resolver/users.o resolver/passwd_file.o)
# The two that every cron mail starts: no shared object but libc (veredus-drop: none at all).
$(BUILD)/bin/sendmail: LINK_EXTRA = $(if $(SANITIZE),,-static-libstdc++ -static-libgcc)
# Each user's process is forked from it and pays for every mapping, when it begins and when it ends.
$(BUILD)/bin/local-worker: LINK_EXTRA = $(if $(SANITIZE),,-static-pie)
$(BUILD)/bin/local-worker: $(addprefix $(BUILD)/local/,command.o expand.o filing.o forward.o pipe.o placement.o places.o worker.o)
$(BUILD)/bin/local-worker: LIBS = $(if $(SANITIZE),-levent_core -lssl -lcrypto -lresolv -lpcre2-8 -lcrypt -lz)
$(BUILD)/bin/veredus-drop: LINK_ALL = $(CXX) $(OPT) $(LDFLAGS) $(SANFLAGS) -Wl,--gc-sections,-z,relro,-z,now $(if $(SANITIZE),,-static-pie)
$(BUILD)/bin/veredus-drop: LIBS =

# Under sanitizers the tests themselves are those of the ordinary build: what is looked at is what they drive, and a second compile of
# each would double the longest part of `make check`. Our objects come first, so that of code in headers their copies are taken.
ifeq ($(SANITIZE),)
$(BUILD)/unit: $(unit_objects) $(rooms_archive) $(archive)
	$(LINK_ALL) $^ $(archive) $(LIBS) -o $@
else
plain_unit_objects := $(unit_sources:%.cc=build/%.o)
build/t/unit/%.o: t/unit/%.cc
	@$(MAKE) -s SANITIZE= $@
$(BUILD)/unit: $(plain_unit_objects) $(rooms_archive) $(archive)
	$(LINK_ALL) -Wl,--whole-archive $(rooms_archive) $(archive) -Wl,--no-whole-archive $(plain_unit_objects) $(LIBS) -o $@
endif
.PHONY: unit check-unit check try soak bench fuzz deps install install-postfix-names uninstall format clean distclean
unit: $(BUILD)/unit
check-unit: $(BUILD)/unit
	t/layering
	$(BUILD)/unit


# --- packages: what a fresh Debian lacks; nothing that is or brings a mail server (t/deps refuses it)
build_packages := g++ make autoconf libevent-dev libssl-dev libpcre2-dev libcrypt-dev libpam0g-dev libargon2-dev zlib1g-dev catch2
test_packages := python3 openssl iproute2 util-linux mandoc swaks s-nail mutt msmtp mpop git git-email libmailtools-perl procmail strace binutils libdate-calc-perl btrfs-progs cpio isync offlineimap3 fetchmail getmail6 curl libmail-imapclient-perl alpine
deps:
	t/deps $(build_packages) $(if $(filter build,$(DEPS)),,$(test_packages))

# --- tests. The recursion is there because configure can only run once deps has installed what it looks for.
JOBS ?= $(shell nproc)
check:
	$(MAKE) deps
	$(MAKE) -j$(JOBS) PRE_STD=1 all unit
	$(MAKE) PRE_STD=1 run-checks
.PHONY: run-checks check-e2e stage check-sanitize check-ktls
run-checks: unit all
	t/check
check-e2e: all stage
	t/e2e/run $(TESTS)
# The units once more under ASan and UBSan, in a build folder of their own.
check-sanitize:
	$(MAKE) -j$(JOBS) unit
	# Undefined behaviour traps here: it compiles a fifth faster than saying where; without SANEXTRA it says so.
	$(MAKE) -j$(JOBS) SANITIZE=address,undefined SANEXTRA=-fsanitize-undefined-trap-on-error unit
	# Crash tests run thousands of lives, long ones millions of turns: they are in check-unit. A SIGSEGV that a test sends must kill as it does in life.
	ASAN_OPTIONS=detect_leaks=$(or $(LEAKS),1):handle_segv=0 build/sanitize/unit '~[crash]~[forgetful]~[long]'
# kTLS in a virtual machine whose kernel has it; not part of check.
check-ktls: unit stage
	t/ktls
stage: all
	@t/peers postfix dovecot-pop3d bsd-mailx pflogsumm fail2ban maildrop exim4-daemon-light postgrey npm:imapflow@1.0.171
	@rm -rf $(BUILD)/stage
	@$(MAKE) --no-print-directory -s install DESTDIR=$(abspath $(BUILD)/stage) STRIP=-s
try:
	$(MAKE) deps DEPS=build
	$(MAKE) -j2 all
	t/try
# imapd under many clients for SOAK_MINUTES, beside `make check`: with IMAPTEST=path the public imaptest, else our own clients (t/soak).
soak:
	$(MAKE) deps DEPS=build
	$(MAKE) -j2 all
	t/soak
bench:
	$(MAKE) deps
	$(MAKE) -j2 all
	$(MAKE) stage
	t/bench/run $(BENCHES)
# A measure of one room: make build/bench/queue_commit && build/bench/queue_commit /some/disk
$(BUILD)/bench/%: t/bench/%.cc $(archive)
	@mkdir -p $(@D)
	$(CC_ALL) $< $(filter-out $(archive),$(filter %.a,$^)) $(archive) $(LIBS) -o $@
$(BUILD)/bench/make_queue: $(rooms_archive)

# --- fuzzers: clang's libFuzzer over the pure grammars. The library is compiled once for all of them; no test of `make check`
# needs clang. FUZZ_SECONDS: for each; FUZZERS="smtp_dot ...": only these.
CLANG ?= clang++
fuzz_flags := $(STD) -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined
fuzz_library := $(filter-out lib/loop/% lib/net/stream.cc lib/dns/resolver.cc lib/ipc/channel.cc lib/daemon/% $(filter-out lib/reception/policy_answer.cc,$(wildcard lib/reception/*.cc)) \
	$(filter-out lib/login/proxy_header.cc,$(wildcard lib/login/*.cc)) $(filter-out lib/tls/digest.cc,$(wildcard lib/tls/*.cc)),$(lib_sources))
fuzz_objects := $(fuzz_library:%.cc=$(BUILD)/fuzz/%.o)
fuzz_archive := $(BUILD)/fuzz/libveredus.a
$(BUILD)/fuzz/lib/%.o: lib/%.cc | $(BUILD)/config.h clang
	@mkdir -p $(@D)
	$(CLANG) $(fuzz_flags) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@
$(fuzz_archive): $(fuzz_objects)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/fuzz/%.o: t/fuzz/%.cc | $(BUILD)/config.h clang
	@mkdir -p $(@D)
	$(CLANG) $(fuzz_flags) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@
$(fuzzers): %: %.o $(fuzz_archive)
	$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $< $(fuzz_archive) -levent_core -lresolv -lpcre2-8 -lcrypto -lcrypt $(if $(PAM),-lpam) $(if $(ARGON2),-largon2)
.PHONY: clang
clang:
	@echo 'int LLVMFuzzerTestOneInput() { return 0; }' | $(CLANG) -x c - -fsanitize=fuzzer,address,undefined -o /dev/null 2>/dev/null || \
	    { echo 'make fuzz needs clang and its libFuzzer: apt-get install clang libclang-rt-dev' >&2; exit 1; }
fuzz: $(fuzzers)
	@for f in $(or $(FUZZERS),$(notdir $(fuzzers))); do echo "fuzz $$f"; mkdir -p $(BUILD)/fuzz/found/$$f; \
	    $(BUILD)/fuzz/$$f -max_total_time=$(or $(FUZZ_SECONDS),10) -timeout=10 -verbosity=0 -print_funcs=0 -artifact_prefix=$(BUILD)/fuzz/found/$$f- \
	        $(BUILD)/fuzz/found/$$f t/fuzz/corpus/$$f || exit 1; done

# --- installation
STRIP ?=
libexec_programs := $(filter-out veredus sendmail,$(notdir $(binaries)))
pages := $(wildcard man/*.[1-9])
d := $(DESTDIR)
install: all
	$(INSTALL) -d $d$(sbindir) $d$(bindir) $d$(libexecdir)/veredus $d$(prefix)/lib $d$(sysconfdir)/veredus $d$(sysconfdir)/init.d $d$(systemdunitdir)
	for p in $(libexec_programs); do $(INSTALL) $(STRIP) -m 755 $(BUILD)/bin/$$p $d$(libexecdir)/veredus/ || exit 1; done
	$(INSTALL) $(STRIP) -m 755 $(BUILD)/bin/veredus $(BUILD)/bin/sendmail $d$(sbindir)/
	@# An upgrade keeps the right that veredus setup gave: without it every user's sendmail would fail until the next setup.
	@if test -z '$(DESTDIR)' && test "$$(id -u)" = 0 && getent group veredus-drop >/dev/null; then \
		chgrp veredus-drop $(libexecdir)/veredus/veredus-drop && chmod 2755 $(libexecdir)/veredus/veredus-drop; fi
	for n in mailq newaliases; do ln -sf ../sbin/sendmail $d$(bindir)/$$n || exit 1; done
	ln -sf sendmail $d$(sbindir)/newaliases
	ln -sf ../sbin/sendmail $d$(prefix)/lib/sendmail
	for m in $(pages); do s=$${m##*.}; $(INSTALL) -d $d$(mandir)/man$$s && $(INSTALL) -m 644 $$m $d$(mandir)/man$$s/ || exit 1; done
	$(INSTALL) -d $d$(sysconfdir)/fail2ban/filter.d && $(INSTALL) -m 644 master/veredus.fail2ban $d$(sysconfdir)/fail2ban/filter.d/veredus.conf
	sed $(substitutions) master/veredus.init.in > $(BUILD)/veredus.init && $(INSTALL) -m 755 $(BUILD)/veredus.init $d$(sysconfdir)/init.d/veredus
	sed $(substitutions) master/veredus.service.in > $(BUILD)/veredus.service && $(INSTALL) -m 644 $(BUILD)/veredus.service $d$(systemdunitdir)/veredus.service
	@echo 'installed; next: veredus setup && veredus start'
# The commands of Postfix that scripts and monitoring programs call, where none is there: veredus(8), "Postfix's commands".
postfix_names := postfix postconf postqueue postsuper postcat postmap postalias
install-postfix-names: install
	for n in $(postfix_names); do test -e $d$(sbindir)/$$n || ln -s veredus $d$(sbindir)/$$n || exit 1; done
substitutions = -e 's|@sbindir@|$(sbindir)|g; s|@libexecdir@|$(libexecdir)|g; s|@sysconfdir@|$(sysconfdir)|g; s|@localstatedir@|$(localstatedir)|g'
uninstall:
	rm -f $(addprefix $d$(libexecdir)/veredus/,$(libexec_programs)) $d$(sbindir)/{veredus,sendmail,newaliases} $d$(bindir)/{mailq,newaliases}
	for n in $(postfix_names); do if test "$$(readlink $d$(sbindir)/$$n)" = veredus; then rm $d$(sbindir)/$$n; fi; done
	rm -f $d$(sysconfdir)/fail2ban/filter.d/veredus.conf
	rm -f $d$(prefix)/lib/sendmail $d$(sysconfdir)/init.d/veredus $d$(systemdunitdir)/veredus.service
	rm -f $(foreach m,$(pages),$d$(mandir)/man$(patsubst .%,%,$(suffix $m))/$(notdir $m))
	-rmdir $d$(libexecdir)/veredus
	@echo 'kept: $(sysconfdir)/veredus, the spool and the users of the daemons'

clean:
	rm -rf build/lib build/bin build/t build/fuzz build/sanitize build/*.a build/unit build/{master,smtpd,submission,qmgr,smtp-client,local,pop3d,imapd}
distclean: clean
	rm -rf build configure config.log config.status autom4te.cache
format:
	git ls-files '*.cc' '*.h' | xargs clang-format -i

-include $(patsubst %.o,%.d,$(lib_objects) $(room_objects) $(unit_objects) $(fuzz_objects) $(addsuffix .o,$(fuzzers)))
