# What developers type. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOL     := go tool -modfile=.ci/tools.mod
PKG      ?= ./...
FUZZTIME ?= 30s

.PHONY: help run test race lint format generate web bench load fuzz vuln build docker up ci clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Run everything in one process on http://127.0.0.1:8080, data in ./data
	go run ./cmd/coai

test: ## Run the tests (PKG=./internal/chat for one package)
	go test $(PKG)

race: ## Run the tests with the race detector
	go test -race $(PKG)

lint: ## Vet and lint
	.ci/run lint

format: ## Format the sources and sort their imports
	$(TOOL) golangci-lint fmt $(PKG)

generate: ## Generate graph/generated/exec.go from schema.graphql
	go generate ./...

web: ## Bundle the IDE from web/src into web/ide
	cd web && npm ci && npm run build

bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem $(PKG)

load: ## Measure the gateway beside a bare reverse proxy (ARGS=-quick for less than a minute)
	go run ./bench $(ARGS)

fuzz: ## Fuzz each target for FUZZTIME (30s)
	@go list $(PKG) | while read -r pkg; do \
		go test -list '^Fuzz' "$$pkg" | { grep '^Fuzz' || true; } | while read -r target; do \
			echo "== $$pkg $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

vuln: ## Look the dependencies up in the vulnerability database
	.ci/run vuln

build: ## Build the static binary bin/coai
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/coai ./cmd/coai

docker: ## Build the image coai:local
	docker build -t coai:local .

up: ## Start PostgreSQL, Redis, two API processes and a worker (needs .env, see .env.example)
	docker compose up --build --wait

ci: ## Run what CI runs
	.ci/run

clean: ## Remove what the build made; data stays
	rm -rf bin dist
	go clean
