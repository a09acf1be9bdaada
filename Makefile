# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := bash

# More for cargo test, such as ARGS="--test crash" or ARGS="-- part_of_a_name".
ARGS ?=
# How many requests api-test makes by chance; 2000 are more than 40 000 in all, and take half an hour or longer.
CASES ?= 2000
# Seconds for which things go wrong.
SOAK ?= 600
# What mutants changes; everything when empty.
MUTANTS ?=
# How Kafka runs in the tests: kraft (unless one runs already) or zookeeper.
KAFKA ?=
# A Kafka whose brokers share out groups by themselves, which 3.9 does not; for kafka-roll.
KAFKA_NEXT ?= 4.1.1
# Points where tests kill a process; compiled in for tests only.
TEST_FEATURES := --features shop/crash-points

.PHONY: help setup install-deps proto dev build test soak api-test kafka-roll mutants lint chart-test access-docs metrics-docs settings-docs pictures nix-docs docker-build docker-run services-start services-stop services-restart clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: install-deps proto ## Get a fresh checkout ready: tools, servers, dependencies, generated code

install-deps: ## Install what tests and checks use: servers (apt, Maven Central), Go, h2spec, stripe-mock, nginx, Envoy, Chromium, prometheus_client, Schemathesis, shellcheck, cargo-deny
	scripts/backends install
	scripts/lint --install
	cargo fetch --locked

proto: ## Check the gRPC interface and generate its code
	scripts/lint proto
	cargo build --locked -p shop-proto

dev: ## Run everything in one process on embedded stores
	cargo run

build: ## Build every binary as packages have them, into target/dist
	cargo build --locked --profile dist --workspace --bins

test: ## Run all tests, on embedded and on real stores
	SHOP_TEST_REQUIRE_BACKENDS=1 scripts/backends run $(if $(KAFKA),--kafka $(KAFKA)) -- cargo test --locked --workspace $(TEST_FEATURES) $(ARGS)

soak: ## Let things go wrong in a region of two of everything, SOAK=600 seconds; SHOP_TEST_SEED repeats a run
	SHOP_TEST_SOAK_SECONDS=$(SOAK) $(MAKE) test ARGS="--test crash -- --nocapture region"

api-test: ## Try the services on their own descriptions, CASES=2000 for each operation and phase
	scripts/backends install
	eval "$$(scripts/backends env)" && SHOP_TEST_REQUIRE_BACKENDS=1 SHOP_TEST_SCHEMATHESIS_CASES=$(CASES) \
	  cargo test --locked -p shop --test described -- --nocapture

kafka-roll: ## Roll Kafka clusters under load, of the version the tests run and of KAFKA_NEXT (some minutes)
	SHOP_TEST_REQUIRE_BACKENDS=1 scripts/backends run --only redis -- cargo test --locked --workspace $(TEST_FEATURES) --test bus -- --ignored all_brokers
	SHOP_TEST_REQUIRE_BACKENDS=1 SHOP_BACKENDS_KAFKA_VERSION=$(KAFKA_NEXT) scripts/backends run --only redis -- \
	  cargo test --locked --workspace $(TEST_FEATURES) --test bus -- --ignored groups_of

mutants: ## Change the code in small ways and see whether tests notice, MUTANTS="money sql" for some (hours for all)
	scripts/backends run -- scripts/mutants $(MUTANTS)

lint: ## Check formatting, lints, dependencies, the gRPC interface and scripts
	scripts/lint

chart-test: ## Check and test the Helm chart, without a cluster
	scripts/chart test

access-docs: ## Write the table of who may do what
	SHOP_TEST_UPDATE=1 cargo test --locked -p shop --test access

metrics-docs: ## Write the reference of the metrics
	SHOP_TEST_UPDATE=1 cargo test --locked -p shop --test metrics

settings-docs: ## Write the reference of the gateway's settings, and the schema of the chart's values
	SHOP_TEST_UPDATE=1 cargo test --locked -p shop-gateway --test reference

pictures: ## Make the README's pictures: of the architecture from its text, of the live page as Chromium shows it
	SHOP_TEST_UPDATE=1 cargo test --locked -p shop --test house
	SHOP_TEST_SCREENSHOTS=$(CURDIR)/target cargo test --locked -p shop-gateway --test gateway as_the_readme_shows_it
	for scheme in light dark; do base64 -d target/live-$$scheme.png.base64 >docs/pictures/live-$$scheme.png; done

nix-docs: ## Write the reference of the NixOS module's options
	scripts/nix docs

docker-build: ## Build container images with Nix and load them into docker
	scripts/nix load

docker-run: ## Run these images on real servers
	docker compose up

services-start: ## Run every service in its own process, on real servers
	scripts/services start

services-stop: ## Stop those services and servers
	scripts/services stop

services-restart: ## Stop and start them
	scripts/services restart

clean: ## Delete what was built, and the test servers with their data
	cargo clean
	scripts/backends purge
