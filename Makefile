# Each target does all the set-up it needs. Needs only: python3 >= 3.11 with venv and headers, gcc, make, git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.demo-installed
EXTRAS := bench,demo,dev,fuzz,influx,parquet,peers,postgresql
KERNELS := $(wildcard kernels/*.pyx kernels/*.pxd kernels/*.h)
DEBIAN_PEERS := mosquitto mbpoll libmodbus-dev postgresql strace victoria-metrics
DEBIAN_CROSS := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
# Nothing is left outside the checkout: neither downloads nor temporary files.
export PIP_CACHE_DIR := $(CURDIR)/build/pip-cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TMPDIR := $(CURDIR)/build/tmp
$(shell mkdir -p $(TMPDIR))

.PHONY: demo test check checked-kernels cross sanitize faults fuzz neon nightly noise peers picture picture-kernels scorecards clean

define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --only-binary atheris -e '.[$(1)]'
endef

define install_debian
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(1) >/dev/null 2>&1; then \
	  policy=/usr/sbin/policy-rc.d; \
	  if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' > $$policy; chmod +x $$policy; trap "rm -f $$policy" EXIT; fi; \
	  unset TMPDIR; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; fi
endef

$(STAMP): pyproject.toml setup.py $(KERNELS)
	$(call install,$(EXTRAS))
	touch $@ $(DEMO_STAMP)

# The demonstration needs little, and a newcomer is waiting.
$(DEMO_STAMP): pyproject.toml setup.py $(KERNELS)
	$(call install,demo)
	touch $@

## Watch about 20 simulated meters being read, explained, stored and exported.
demo: $(DEMO_STAMP)
	$(BIN)/headend demo

## Lint, types, tests with release kernels, kernel tests with bounds checks and with sanitizers.
test: $(STAMP) peers
	$(MAKE) --jobs 2 --output-sync=target EXAMPLES="--hypothesis-profile few" check checked-kernels sanitize
	$(MAKE) fuzz
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

checked-kernels: $(STAMP)
	HEADEND_CHECKED_KERNELS=1 $(BIN)/python setup.py -q build --build-base build/checked --build-lib build/checked/lib
	cd build/checked/lib && PYTHONPATH=.:../../.. ../../../$(BIN)/python -m pytest -c ../../../pyproject.toml --rootdir ../../.. -o pythonpath= -p no:cacheprovider ../../../tests/kernels --checked-kernels

## Kernel tests with address and undefined-behavior sanitizers; the first report ends the run. `make test` tries fewer examples.
## Python itself is built without: the sanitizer's library is loaded before it, and its own leaks are not looked for.
sanitize: $(STAMP)
	HEADEND_SANITIZED_KERNELS=1 $(BIN)/python setup.py -q build --build-base build/sanitized --build-lib build/sanitized/lib build_ext --parallel 2
	cd build/sanitized/lib && PYTHONPATH=.:../../.. LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 ../../../$(BIN)/python -m pytest -c ../../../pyproject.toml --rootdir ../../.. -o pythonpath= -p no:cacheprovider ../../../tests/kernels --sanitized-kernels --capture=sys $(EXAMPLES) --ignore ../../../tests/kernels/test_stubs.py

## Feed each parser inputs of its own invention, so many seconds each by the clock; `make fuzz SECONDS=600 TARGETS=hdlc`.
SECONDS ?= 10
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

## Crash, kill and cut the store at every moment; `make faults IMAGES=100000 KILLS=10000`. Its last line is one JSON object.
IMAGES ?= 2000
KILLS ?= 500
faults: $(STAMP)
	$(BIN)/python -m tests.faults --images $(IMAGES) --kills $(KILLS)

## Debian packages of the independent peers; only root can install them, otherwise their tests skip and say so.
## Their services are not to run: the policy file says so to the package scripts while they are installed.
peers:
	$(call install_debian,$(DEBIAN_PEERS))

## The kernels on an aarch64 that QEMU plays: the same bytes as here. 600 MB of Debian packages, installed by root alone, else it skips.
neon: $(STAMP) cross
	$(BIN)/python -m pytest tests/kernels/test_tiles_elsewhere.py

cross:
	$(call install_debian,$(DEBIAN_CROSS))

nightly: $(STAMP) peers neon
	$(BIN)/python -m pytest -m nightly --timeout 7200
	$(BIN)/python -m tests.fuzz --seconds 600 --jobs 2
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python -m tests.fuzz.blocks --count 10000000

## make bench-NAME runs benchmarks/NAME.py; its last line is one JSON object of figures.
bench-%: $(STAMP) peers
	$(BIN)/python benchmarks/$*.py

## Count the wrong values that a noisy line gets past the checks; its last line is one JSON object.
noise: $(STAMP)
	$(BIN)/python benchmarks/noise.py

## The README's picture of the demonstration.
picture: $(STAMP)
	COLUMNS=116 $(BIN)/headend --color always demo 2>/dev/null | $(BIN)/python docs/picture.py docs/demo.svg 'make demo'

## The README's table and picture of the kernels, measured anew; best on a machine that does nothing else.
picture-kernels: $(STAMP)
	$(BIN)/python benchmarks/kernels.py >$(TMPDIR)/kernels.txt
	tail -n 1 $(TMPDIR)/kernels.txt >docs/kernels.json
	$(BIN)/python -m docs.kernel_picture

## The pages that say what a driver does and what proves it, from their data files.
scorecards: $(STAMP)
	$(BIN)/python docs/scorecard.py

clean:
	rm -rf build dist $(VENV) *.egg-info
	find headend drivers kernels simulators -name '*.so' -delete
