# Everything that is not nginx: the worker, sv-parse, the unit tests.
# ./dev build calls it and builds the module (see `config').
#
#   make [BUILD=build]              serial-verify-worker, sv-parse
#   make unit                       the unit tests' programs, in $(BUILD)/unit
#   make BUILD=build/asan SAN=1 ..  the same with sanitizers and failpoints

BUILD   ?= build
CC      ?= gcc
SAN     ?=

PG_INC  := $(shell pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)

WARN    := -W -Wall -Wextra -Wpointer-arith -Wshadow -Wstrict-prototypes \
           -Wmissing-prototypes -Wformat=2 -Wno-format-nonliteral -Werror
XML_INC := $(shell xml2-config --cflags 2>/dev/null || echo -I/usr/include/libxml2)

SV_CPPFLAGS := -I. -I$(PG_INC) $(XML_INC) -D_GNU_SOURCE
SV_CFLAGS := -std=gnu11 -g $(WARN) -fvisibility=hidden -fPIC

ifeq ($(SAN),)
SV_CFLAGS += -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2
SV_LDFLAGS := -Wl,-z,relro -Wl,-z,now
else
SV_CFLAGS += -O1 -fsanitize=address,undefined -fno-omit-frame-pointer \
             -fno-sanitize-recover=undefined -DSV_FAILPOINTS
SV_LDFLAGS := -fsanitize=address,undefined
endif

LIB_LIBS    := -lhiredis -lpq -ljansson -lssl -lcrypto
WORKER_LIBS := $(LIB_LIBS) -lcsv -lyajl -lxml2 -lmicrohttpd -lcurl -lm -lpthread

objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

PURE_OBJS   := $(call objs,$(wildcard src/gs1/*.c))
LIB_OBJS    := $(call objs,$(wildcard src/gs1/*.c src/model/*.c src/io/*.c \
                                      src/store/*.c src/serial/*.c))
WORKER_OBJS := $(call objs,$(wildcard src/worker/*.c))
WORKER_MAIN := $(BUILD)/obj/src/worker/svw_main.o
PARSE_OBJS  := $(call objs,$(wildcard tools/sv-parse/*.c))

TEST_SRCS   := $(wildcard t/unit/test_*.c)
TESTS       := $(patsubst t/unit/%.c,$(BUILD)/unit/%,$(TEST_SRCS))
TEST_HELP   := $(call objs,$(wildcard t/unit/sv_test_*.c))

PROGRAMS    := $(if $(PARSE_OBJS),$(BUILD)/sv-parse) \
               $(if $(WORKER_OBJS),$(BUILD)/serial-verify-worker)


.PHONY: all unit
.SECONDARY:

all: $(PROGRAMS)
	@:

unit: $(TESTS)
	@:

$(BUILD)/sv-parse: $(PARSE_OBJS) $(PURE_OBJS)
	@echo "  LD     $@"
	@$(CC) $(SV_LDFLAGS) $(LDFLAGS) -o $@ $^

$(BUILD)/serial-verify-worker: $(WORKER_OBJS) $(LIB_OBJS)
	@echo "  LD     $@"
	@$(CC) $(SV_LDFLAGS) $(LDFLAGS) -o $@ $^ $(WORKER_LIBS)

# an archive: a test takes what it needs, and may include a source file itself
$(BUILD)/obj/unit.a: $(TEST_HELP) $(LIB_OBJS) $(filter-out $(WORKER_MAIN),$(WORKER_OBJS))
	@rm -f $@
	@ar rcs $@ $^

# its allocations fail one after the other
$(BUILD)/unit/test_store_oom: SV_LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup

$(BUILD)/unit/%: $(BUILD)/obj/t/unit/%.o $(BUILD)/obj/unit.a
	@mkdir -p $(@D)
	@echo "  LD     $@"
	@$(CC) $(SV_LDFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(WORKER_LIBS)

# the flags are a prerequisite: other flags, other objects
FLAGS := $(CC) $(SV_CPPFLAGS) $(CPPFLAGS) $(SV_CFLAGS) $(CFLAGS) \
         $(SV_LDFLAGS) $(LDFLAGS)

$(shell mkdir -p $(BUILD)/obj; \
        echo '$(FLAGS)' | cmp -s - $(BUILD)/obj/flags \
            || echo '$(FLAGS)' > $(BUILD)/obj/flags)

$(BUILD)/obj/%.o: %.c $(BUILD)/obj/flags
	@mkdir -p $(@D)
	@echo "  CC     $<"
	@$(CC) $(SV_CPPFLAGS) $(CPPFLAGS) $(SV_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.o,%.d,$(LIB_OBJS) $(WORKER_OBJS) $(PARSE_OBJS) $(TEST_HELP) \
                            $(call objs,$(TEST_SRCS)))
