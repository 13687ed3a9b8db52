# The only entrance: `make help` lists it. Every target sets up what it needs and says what it installs.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/trapjaw-target
export CLIPPY_CONF_DIR := $(CURDIR)/.config
CARGO := cargo
BIN := $(CARGO_TARGET_DIR)/release
RUSTFMT := -p trapjaw-engine -p trapjaw-store -p trapjaw-sandbox -p trapjaw-connectors -p trapjaw -p trapjaw-sdk -p trapjaw-sdk-macros -p trapjaw-tests -- --config-path $(CURDIR)/.config/rustfmt.toml
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

.PHONY: help setup build plugins fmt demo run check test golden bench soak dist clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install what building and testing need, where it is missing
	@./.config/setup.sh

build: setup ## Build the daemon
	$(CARGO) build --locked --release -p trapjaw

plugins: setup ## Build the example plugins: Rust, JavaScript, Python, C
	$(MAKE) --no-print-directory -C plugins setup all

demo: build plugins ## See the main job on real input (KEEP=1 leaves it running)
	$(CARGO) build --locked --release -p trapjaw-tests --bin demo
	@./tests/demo/payloads.sh $(CARGO_TARGET_DIR)/demo
	@$(BIN)/demo

run: build ## Run the daemon here, for development
	$(BIN)/trapjaw dev

fmt: setup ## Format the code
	$(CARGO) fmt $(RUSTFMT)

check: setup ## Format, lints and pure tests: quick
	$(CARGO) fmt --check $(RUSTFMT)
	$(CARGO) clippy --locked --release --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --release -p trapjaw-engine -p trapjaw-sdk -p trapjaw-sdk-macros

test: build plugins ## Every test, with the real daemon
	$(CARGO) test --locked --release --workspace

golden: ## Write the generated references anew
	TRAPJAW_GOLDEN=write $(CARGO) test --locked --release -p trapjaw reviewed

bench: build plugins ## Measure this machine and the daemon on it
	$(CARGO) build --locked --release -p trapjaw-tests --bin neighbours
	$(BIN)/trapjaw bench --plugin $(CARGO_TARGET_DIR)/components/big-push.wasm
	@$(BIN)/neighbours

soak: build plugins ## The long tests: 200 kills, 1,000 swaps, 1,000,000 cases of each property; 10 minutes once built
	TRAPJAW_SOAK=1 PROPTEST_CASES=1000000 $(CARGO) test --locked --release -p trapjaw-engine
	TRAPJAW_SOAK=1 $(CARGO) test --locked --release -p trapjaw-tests --test crash --test swap -- --nocapture

dist: setup ## A tarball with its checksum, for this machine's kind
	@./.config/dist.sh $(VERSION)

clean: ## Remove what was built
	rm -rf $(CARGO_TARGET_DIR)
