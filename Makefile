# sync_engine: the extension (PGXS), the executor (CMake), tests, demo and bench.
EXTENSION := control/sync_engine
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" control/sync_engine.control)
MODULE_big := sync_engine
SCHEMA_FILES := $(sort $(wildcard src/schema/*.sql))
EXTENSION_SQL := control/sync_engine--$(EXTVERSION).sql
DATA_built := $(EXTENSION_SQL)
CORE_OBJS := $(patsubst %.cpp,%.o,$(sort $(wildcard src/core/*.cpp)))
OBJS := $(CORE_OBJS) $(patsubst %.cpp,%.o,$(sort $(wildcard src/extension/*.cpp)))

PG_CONFIG ?= pg_config
override with_llvm := no
WERROR ?= $(if $(CI),-Werror)
PG_CXXFLAGS := -std=c++20 -O2 -g -Wall -Wextra $(WERROR) -Wno-unused-parameter -fvisibility=hidden -fvisibility-inlines-hidden \
	-DPGDLLEXPORT='__attribute__((visibility("default")))' -DSYNC_ENGINE_VERSION='"$(EXTVERSION)"' \
	-Isrc -isystem $(shell $(PG_CONFIG) --includedir-server)
SHLIB_LINK := -lstdc++ -Wl,--version-script=src/extension/exports.map

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(EXTENSION_SQL): $(SCHEMA_FILES) control/sync_engine.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION sync_engine" to load this file. \quit'; cat $(SCHEMA_FILES); } > $@

$(OBJS): $(wildcard src/core/*.hpp src/extension/*.hpp)
