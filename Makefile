# sync_engine: the extension (PGXS), the executor and the gateway (CMake), tests, demo and bench. `make help` lists the
# targets.
EXTENSION := control/sync_engine
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" control/sync_engine.control)
MODULE_big := sync_engine
SCHEMA_FILES := $(sort $(wildcard src/schema/*.sql))
EXTENSION_SQL := control/sync_engine--$(EXTVERSION).sql
# Scripts of released versions are kept as they were; updates to this version are assembled from those and the steps.
DATA := $(shell sed -n 's/^[0-9a-f]* *//p' control/released.sha256)
UPDATE_STEPS := $(wildcard src/schema/upgrade/*--$(EXTVERSION).sql)
UPDATE_SQL := $(patsubst src/schema/upgrade/%,control/sync_engine--%,$(UPDATE_STEPS))
DATA_built := $(EXTENSION_SQL) $(UPDATE_SQL)
CORE_OBJS := $(patsubst %.cpp,%.o,$(sort $(wildcard src/core/*.cpp)))
OBJS := $(CORE_OBJS) $(patsubst %.cpp,%.o,$(sort $(wildcard src/extension/*.cpp)))

PG_CONFIG ?= pg_config
override with_llvm := no
WERROR ?= $(if $(CI),-Werror)
PG_CXXFLAGS = -std=c++20 -O2 -g -Wall -Wextra $(WERROR) -Wno-unused-parameter -fvisibility=hidden \
	-fvisibility-inlines-hidden -DPGDLLEXPORT='__attribute__((visibility("default")))' \
	-DSYNC_ENGINE_VERSION='"$(EXTVERSION)"' \
	-Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
SHLIB_LINK := -lstdc++ -Wl,--version-script=src/extension/exports.map

# The executor, the gateway and the unit tests.
BUILD_DIR ?= build
EXECUTOR_PREFIX ?= /usr/local
CMAKE_FLAGS ?=
PROGRAMS := sync-executor sync-gateway

# For `make installcheck` against a running server.
REGRESS = $(sort $(basename $(notdir $(wildcard sql/*.sql))))

.PHONY: all build executor help demo test test-full lint format bench bench-rivals bench-soak install-executor clean-executor
all:

# A machine without PostgreSQL's development files has neither pg_config nor PGXS yet: `make test` and `make
# demo` install them and call make again, so this file must be readable without them.
PGXS := $(shell command -v $(PG_CONFIG) >/dev/null 2>&1 && $(PG_CONFIG) --pgxs)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
else
all install: no-pgxs
.PHONY: no-pgxs install clean
no-pgxs:
	@echo 'PostgreSQL development files are missing: run scripts/install-deps.sh' >&2; exit 1
endif

$(EXTENSION_SQL): $(SCHEMA_FILES) control/sync_engine.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION sync_engine" to load this file. \quit'; cat $(SCHEMA_FILES); } > $@

control/sync_engine--%--$(EXTVERSION).sql: src/schema/upgrade/%--$(EXTVERSION).sql control/sync_engine--%.sql \
		scripts/update-script.py $(wildcard src/schema/upgrade/*.sql) $(SCHEMA_FILES)
	scripts/update-script.py control/sync_engine--$*.sql $< $(SCHEMA_FILES) > $@.new && mv $@.new $@

$(OBJS): $(wildcard src/core/*.hpp src/extension/*.hpp)

build: all executor ## build the extension, sync-executor and sync-gateway

executor:
	cmake -S . -B $(BUILD_DIR) -DSYNC_BUILD_TESTS=OFF $(if $(CI),-DWERROR=ON) $(CMAKE_FLAGS) >/dev/null
	cmake --build $(BUILD_DIR) --parallel $(or $(JOBS),$(shell nproc))

# The programs go into EXECUTOR_PREFIX/bin if they were built; EXTENSION_ONLY=1 leaves them out.
install: install-executor ## install the extension and both programs (PG_CONFIG, EXECUTOR_PREFIX, EXTENSION_ONLY)
install-executor:
	$(if $(EXTENSION_ONLY),,for program in $(PROGRAMS); do \
		test ! -x $(BUILD_DIR)/$$program || install -D -m 755 $(BUILD_DIR)/$$program $(DESTDIR)$(EXECUTOR_PREFIX)/bin/$$program || exit; done)

demo: ## see it sync: private server, demo API, executor (DEMO_SECONDS=60; SOURCE=github REPO=owner/name)
	@scripts/demo.sh

test: ## build, install and run every suite (SUITES="regress unit" for some)
	@scripts/run-tests.sh

test-full: ## the same with all random cases, some minutes more (SUITES)
	@FULL=1 scripts/run-tests.sh

lint: ## formatting, clang-tidy, cppcheck, shellcheck, SQL rules
	@scripts/lint.sh

format: ## format the C++ sources in place
	@scripts/lint.sh --format

bench: ## measure against the goals, with plots (QUICK=1, PARTS, RUNS)
	@bench/run.sh

bench-rivals: ## measure beside graphile-worker, pg-boss and BullMQ (QUICK=1)
	@bench/rivals.sh

bench-soak: ## keep a million connections in sync for 20 minutes and judge it (SOAK_MINUTES, QUICK=1)
	@bench/soak.sh

clean: clean-executor ## remove what was built
clean-executor:
	rm -rf $(BUILD_DIR)

help: ## list the targets
	@echo 'make [all]         build the extension only (PGXS)'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 19
