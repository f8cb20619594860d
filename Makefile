# Sluice. `make demo` shows it, `make test` proves it; both install what they need.

CARGO ?= cargo
DEMO_PACKAGES = postgresql haproxy prometheus prometheus-alertmanager
MAIL_PACKAGES = python3-aiosmtpd openssl
NODE_PACKAGES = containerd runc containernetworking-plugins iptables nftables conntrack
export SQLX_OFFLINE ?= true

.PHONY: help demo test packages kubernetes web oidc mail build test-web node test-node fmt lint docs bench bench-gates bench-dashboard bench-analysis install clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: packages build ## Six rollouts of a real service under real traffic, on this machine
	$(or $(CARGO_TARGET_DIR),target)/debug/sluice demo

packages: ## Install Postgres, HAProxy, Prometheus and Alertmanager where they are missing
	scripts/packages $(DEMO_PACKAGES)

kubernetes: ## Build the Kubernetes control plane for tests (once; cached)
	@scripts/kubernetes >/dev/null

web: ## Build the dashboard, where it is older than its sources
	@scripts/web

mail: ## Install the mail server that the tests of notifications send to
	scripts/packages $(MAIL_PACKAGES)

oidc: tests/oidc/node_modules/.package-lock.json ## Install the OpenID provider that the tests sign in by

tests/oidc/node_modules/.package-lock.json: tests/oidc/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed for the tests of sign-in: install Node 20 or newer" >&2; exit 1; }
	cd tests/oidc && npm ci --no-fund --no-audit

build: web ## Build the binary, with the dashboard in it
	@command -v $(CARGO) >/dev/null || { echo "cargo is needed: install Rust 1.94 or newer from https://rustup.rs" >&2; exit 1; }
	$(CARGO) build --locked -p cli

test: packages kubernetes oidc mail build ## Run every test
	scripts/told-twice $(CARGO) test --locked --workspace --exclude e2e --no-fail-fast --
	$(CARGO) test --locked -p e2e --lib
	@# Tests of Kubernetes share one control plane as long as one of them runs.
	scripts/told-twice $(CARGO) test --locked -p e2e --test kubernetes -- --test-threads=4 --skip served
	@# Stories of running servers watch every instant: two at a time, beside a control plane.
	scripts/told-twice $(CARGO) test --locked -p e2e --test kubernetes -- --test-threads=2 served
	@# Most of an end-to-end test is waiting, so more of them than cores run at once.
	scripts/told-twice $(CARGO) test --locked -p e2e --test it -- --test-threads=4
	@# Not every host lets a node live in it; it says why. SLUICE_REQUIRE_NODE=1: then that is an error.
	@code=0; scripts/in-namespace true || code=$$?; \
	if [ "$$code" -eq 0 ]; then $(MAKE) test-node; \
	elif [ "$$code" -eq 77 ] && [ -z "$(SLUICE_REQUIRE_NODE)" ]; then echo "The tests on a real node were left out: see above."; \
	else exit "$$code"; fi

test-web: packages build ## Check the dashboard, and use it in a real browser
	scripts/packages chromium
	cd web && npm run check && npm test
	cd web && npm run test:browser

node: kubernetes ## Install and build what a Kubernetes node needs: containerd, Kubernetes, a Gateway
	scripts/packages $(NODE_PACKAGES)
	@scripts/gateway >/dev/null

test-node: node build ## Run the tests on a real Kubernetes node; they need root
	@# There is no network in the namespace, so all is compiled before.
	$(CARGO) test --locked -p e2e --test real_node --no-run
	scripts/told-twice scripts/in-namespace $(CARGO) test --offline --locked -p e2e --test real_node -- --test-threads=2

fmt: ## Check the formatting
	$(CARGO) fmt --all --check

lint: ## Check with clippy, warnings denied
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

docs: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

bench: packages ## Measure reaction times and idle cost; prints figures
	$(CARGO) build --locked --release -p cli
	$(CARGO) bench --locked -p e2e --bench reactions

bench-kubernetes: packages kubernetes ## Measure speed and requests on Kubernetes; prints figures
	$(CARGO) build --locked --release -p cli
	$(CARGO) bench --locked -p e2e --bench kubernetes

bench-gates: packages ## Judge real rollouts by statistical gates; prints figures
	$(CARGO) build --locked --release -p cli
	$(CARGO) bench --locked -p e2e --bench gates

bench-dashboard: packages ## Measure from a commit to the picture, in a real browser; prints figures
	scripts/packages chromium
	$(CARGO) build --locked --release -p cli
	cd web && SLUICE_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/sluice npm run bench

bench-analysis: ## Measure how often the gates are right; writes docs/analysis-benchmark.md
	$(CARGO) bench --locked -p analysis --bench accuracy

install: ## Install `sluice` for this user
	$(CARGO) install --locked --path crates/cli

clean: ## Remove what was built
	$(CARGO) clean
