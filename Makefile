# make demo   trains a small NCSN++ on real digits and draws new ones: runs/digits/samples.png
# make test   every test
# make lint   formatting, clippy and documentation without warnings
# make bench  criterion over every kernel and the digits model

RUN := runs/digits

# Mesa's device-selection layer complains where there is no display.
ifeq ($(XDG_RUNTIME_DIR)$(WAYLAND_DISPLAY),)
export NODEVICE_SELECT := 1
endif

.PHONY: demo test lint bench adapter

demo: export PROFILE := --release
demo: adapter
	./target/release/tweedie train configs/digits_ve.toml --out $(RUN) $(if $(wildcard $(RUN)/checkpoints/latest),--resume)
	./target/release/tweedie sample $(RUN) -n 400 --out $(RUN)/samples.npz --out $(RUN)/samples.png
	./target/release/tweedie evaluate $(RUN)/samples.npz
	@echo "the samples are in $(RUN)/samples.png"

test: adapter
	cargo test

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

bench: export PROFILE := --release
bench: adapter
	cargo bench

# Builds, and installs a software driver if the program finds no adapter.
adapter:
	cargo build $(PROFILE)
	@./scripts/adapter.sh $(PROFILE)
