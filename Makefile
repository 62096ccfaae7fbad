# Every target sets up what it needs on a fresh Debian or Ubuntu machine: packages, virtual environment, tools.
# Stamps in .venv make repeated runs quick. Nothing outside this folder changes, except missing Debian packages.

PYTHON ?= python3
BOARD ?= arty_a7
# More options of hw.build, e.g. ARGS="--variant 100 --preset small".
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Boards whose place and route comes from Debian's packages, not from pip.
XC7_BOARDS := arty_a7 nexys4ddr
REQUIREMENTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help build boards xc7-tools demo test bench networks torture verify lint clean

help:
	@echo "make build [BOARD=arty_a7] [ARGS=...]  Verilog, resources and, tools allowing, a bitstream"
	@echo "make boards                            every board with its preset, figures into docs/boards.md; hours"
	@echo "make demo                              ten images through the virtual board, with a picture"
	@echo "make test                              lint, then every test"
	@echo "make bench                             area and cycles beside the peers' into docs/bench.md; `core` is long"
	@echo "make networks                          cycles of whole networks, RTL too, into docs/cycles.md; half an hour"
	@echo "make torture                           reliability figures into docs/reliability.md; two hours"
	@echo "make verify                            proofs of link, control and counters, netlists of all blocks, mutants of the datapath; an hour and a half"
	@echo "make lint                              rules, types and import floors"
	@echo "make clean                             remove build results and the virtual environment"

build: $(VENV)/.hw $(if $(filter $(XC7_BOARDS),$(BOARD)),xc7-tools)
	$(BIN)/python -m hw.build --board $(BOARD) $(ARGS)

boards: $(VENV)/.hw xc7-tools
	$(BIN)/python -m hw.build.shelf $(ARGS)

# Where they cannot be installed, the build still ends with Verilog, synthesis and a plan for the vendor's tools.
xc7-tools: $(VENV)/.hw
	@$(BIN)/python -m hw.tools install xc7 --if-missing || echo "going on without place and route for Artix-7" >&2

demo: $(VENV)/.demo
	$(BIN)/python -m sw demo $(ARGS)

# Lint comes first: it is quick, and pytest's closing line must be the last one. One process of tests per core.
test: lint
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

# The report is written even when a requirement is not met.
torture: $(VENV)/.demo
	@status=0; \
	$(BIN)/python -m sim.torture all $(ARGS) || status=1; \
	$(BIN)/python -m sim.torture report || status=1; \
	exit $$status

networks: $(VENV)/.demo
	$(BIN)/python -m sim.networks --rtl --output docs/cycles.md $(ARGS)

bench: $(VENV)/.demo
	@status=0; \
	$(BIN)/python -m sim.bench all $(ARGS) || status=1; \
	$(BIN)/python -m sim.bench report || status=1; \
	exit $$status

verify: $(VENV)/.dev
	@status=0; \
	$(BIN)/python -m sim.formal || status=1; \
	$(BIN)/python -m sim.verify all $(ARGS) || status=1; \
	$(BIN)/python -m sim.verify report || status=1; \
	exit $$status

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean:
	rm -rf build $(VENV)

# Build needs neither torch nor a simulator.
$(VENV)/.hw: $(REQUIREMENTS) | $(BIN)/python
	$(INSTALL) --editable '.[hw]'
	@touch $@

$(VENV)/.demo: $(REQUIREMENTS) $(VENV)/.simulators | $(BIN)/python
	$(INSTALL) --editable '.[hw,train,sim]'
	@touch $@ $(VENV)/.hw

$(VENV)/.dev: $(REQUIREMENTS) $(VENV)/.simulators | $(BIN)/python
	$(INSTALL) --editable '.[hw,train,sim,dev]'
	@touch $@ $(VENV)/.hw $(VENV)/.demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed, not $$($(PYTHON) --version); set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call debian,python3-venv)
	$(PYTHON) -m venv $(VENV)

# Icarus Verilog runs the benches; the compiler, make and perl serve Verilator.
SIMULATORS := iverilog g++ make perl
have = for tool in $(SIMULATORS); do command -v $$tool >/dev/null || exit 1; done

$(VENV)/.simulators: | $(BIN)/python
	@( $(have) ) || $(call debian,$(SIMULATORS))
	@( $(have) ) || { echo "one of $(SIMULATORS) is missing and could not be installed" >&2; exit 1; }
	@touch $@

# Install Debian packages, as root or through sudo.
debian = { echo "installing Debian packages: $(1)"; \
	as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $(1) >/dev/null; }
