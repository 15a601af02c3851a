# What a newcomer needs, one word each. `make` alone says which words there are.

# Debian keeps ip and nft where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/sbin:/sbin

# DIR/bin/python has the packages that read our Parquet files in the tests.
VENV := target/venv
PYTHON_PACKAGES := pyarrow duckdb polars pandas jsonschema

# What `make install` installs, and where: PREFIX below DESTDIR.
PROGRAM := target/release/pathspider
PREFIX := /usr/local
DESTDIR :=

.PHONY: help setup demo install test test-setup bench lint

help:
	@echo "make setup   install what is missing (by apt; sudo only if not root)"
	@echo "make demo    build, then measure ECN in a lab of virtual hosts with known truth"
	@echo "make install install below PREFIX=$(PREFIX); GROUP=name may then measure without root"
	@echo "make test    every test"
	@echo "make bench   speed and memory, beside the floor that the kernel sets"
	@echo "make lint    formatting and clippy, warnings as errors"

# Runs apt only for what is missing, so a second run needs neither root nor network.
define INSTALL
install() { \
	[ $$# -gt 0 ] || return 0; \
	if ! command -v apt-get >/dev/null; then \
		echo "missing: $$* (these are Debian's names; there is no apt-get here, please install them yourself)" >&2; \
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
	cargo build --locked --release
	target/release/pathspider run measurements/ecn.toml --lab

target/release/pathspider:
	cargo build --locked --release

# With capabilities the program changes the network for whoever may start it, so that is one group alone: with GROUP it is
# for root and that group (0750) and has capabilities, without it is for everybody (0755) and has none. It gets its name when
# all of that is done, so nobody can start it in between.
install: $(PROGRAM)
	@set -e; group="$(GROUP)"; \
	if [ "$(origin GROUP)" = undefined ] && [ -t 0 ]; then \
		printf 'group whose members may measure without root, and so change this network (empty: root alone may): '; \
		read -r group; \
	fi; \
	if [ -n "$$group" ] && ! getent group "$$group" >/dev/null; then \
		echo "there is no group $$group: make it (groupadd --system $$group), or name another by GROUP=" >&2; exit 2; \
	fi; \
	bin="$(DESTDIR)$(PREFIX)/bin"; share="$(DESTDIR)$(PREFIX)/share"; \
	install -d "$$bin" "$$share/man/man1" "$$share/bash-completion/completions" \
		"$$share/zsh/site-functions" "$$share/fish/vendor_completions.d"; \
	new="$$bin/.pathspider.new"; rm -f "$$new"; \
	if [ -n "$$group" ]; then \
		install -m 0750 -o root -g "$$group" "$(PROGRAM)" "$$new"; \
		setcap cap_net_raw,cap_net_admin=ep "$$new" || { rm -f "$$new"; exit 1; }; \
		said="for root and the group $$group, with capabilities"; \
	else \
		install -m 0755 "$(PROGRAM)" "$$new"; \
		said="for everybody, without capabilities: run it as root, or install it with GROUP=name"; \
	fi; \
	mv -f "$$new" "$$bin/pathspider"; \
	"$(PROGRAM)" man "$$share/man/man1"; \
	"$(PROGRAM)" completions bash > "$$share/bash-completion/completions/pathspider"; \
	"$(PROGRAM)" completions zsh > "$$share/zsh/site-functions/_pathspider"; \
	"$(PROGRAM)" completions fish > "$$share/fish/vendor_completions.d/pathspider.fish"; \
	echo "$$bin/pathspider is installed, $$said"

# The mark is made last, so a broken installation is tried again.
test-setup: setup $(VENV)/.complete

$(VENV)/.complete: Makefile
	@$(INSTALL); set -e; mkdir -p target; \
	command -v openssl >/dev/null || install openssl; \
	command -v python3 >/dev/null || install python3 python3-venv; \
	if [ ! -x $(VENV)/bin/pip ]; then \
		rm -rf $(VENV); \
		python3 -m venv $(VENV) >/dev/null 2>&1 \
			|| { rm -rf $(VENV); install python3-venv; python3 -m venv $(VENV); }; \
	fi; \
	echo "installing $(PYTHON_PACKAGES) into $(VENV)"; \
	$(VENV)/bin/pip install -q --disable-pip-version-check $(PYTHON_PACKAGES); \
	touch $@

test: test-setup
	cargo test --locked

bench: setup
	cargo bench --locked --bench run --bench observe --bench live --bench rule --bench resume

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
