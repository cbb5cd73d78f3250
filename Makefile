# make demo   trains a small NCSN++ on real digits and samples new ones: runs/digits/samples.png
# make test   every test
# make lint   formatting, clippy and documentation, without warnings; licences and known advisories of dependencies
# make bench  criterion on every kernel and on the digits model
# make fuzz   every reader of foreign files on changed inputs, each for SECONDS
# make reliability  kills, faults, damaged files and a long run, in a quarter of an hour: docs/reliability.md

RUN := runs/digits
# The demo trains less, and a smaller network, than configs/digits_ve.toml says, and samples in 20 evaluations of the network
# instead of 120; docs/experiments.md has what that costs. `make demo SAMPLER=` draws with the paper's predictor and corrector.
DEMO := --steps 500 --set model.num_res_blocks=1 --set optim.lr=2e-3 --set optim.warmup=50
SAMPLER := --sampler dpmpp_2m --steps 20 --eta 1.6 --sigma-min 0.05
SECONDS ?= 60

# Without a display, Mesa's device-selection layer prints a warning.
ifeq ($(XDG_RUNTIME_DIR)$(WAYLAND_DISPLAY),)
export NODEVICE_SELECT := 1
endif

.PHONY: demo test lint bench fuzz reliability adapter

demo: export PROFILE := --release
demo: adapter
	./target/release/tweedie train --out $(RUN) $(if $(wildcard $(RUN)/config.toml),--resume,configs/digits_ve.toml $(DEMO))
	./target/release/tweedie sample $(RUN) -n 400 $(SAMPLER) --out $(RUN)/samples.npz --out $(RUN)/samples.png
	./target/release/tweedie evaluate $(RUN)/samples.npz
	@echo "the samples are in $(RUN)/samples.png"

test: adapter
	cargo test

lint:
	cargo fmt --check
	python3 scripts/dependencies.py --self-test
	python3 scripts/dependencies.py
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

bench: export PROFILE := --release
bench: adapter
	cargo bench

fuzz:
	./scripts/fuzz.sh $(SECONDS)

# Every part is run, whatever the others have lost; the page fails if any of them has lost something.
reliability: export PROFILE := --release
reliability: adapter
	rm -f target/reliability/*.json
	-cargo test --release --test tests reliability::parts -- --ignored --test-threads 1 --nocapture
	cargo test --release --test tests reliability::the_page -- --ignored

# Builds, and installs a software driver if the program finds no adapter.
adapter:
	cargo build $(PROFILE)
	@./scripts/adapter.sh $(PROFILE)
