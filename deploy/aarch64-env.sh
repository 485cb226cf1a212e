# shellcheck shell=bash
# What the scripts for the board share: where the cross build is kept, how it is built, how its result is run on this
# machine. Sourced by deploy/build-aarch64 and deploy/ci-aarch64.

target=aarch64-unknown-linux-gnu
# Outside the checkout, so that DuckDB is compiled once a machine: 3000 seconds of processor and more.
aarch64_cache="${GADWALL_AARCH64_CACHE:-${HOME:?}/.cache/gadwall/aarch64}"
aarch64_binary="$aarch64_cache/gadwall"
aarch64_unstripped="$aarch64_cache/target/$target/dist/gadwall"

# Every 64-bit Raspberry Pi has what a Cortex-A53 has. Its crypto instructions are an option that Broadcom did not buy, and
# rustc switches them on with the processor's name; qemu's Cortex-A53 has them, so that no test here would notice.
aarch64_rustflags="-Ctarget-cpu=cortex-a53 -Ctarget-feature=-aes,-sha2"
# gcc leaves the crypto instructions out by itself. The flag works around an erratum of the chip's revision r0p4: a
# multiply-accumulate behind a load or store may compute a wrong result. For the other one, 843419, Debian's linker is
# configured already.
aarch64_cflags="-mcpu=cortex-a53 -mfix-cortex-a53-835769"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$aarch64_rustflags"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu cortex-a53 -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export CFLAGS_aarch64_unknown_linux_gnu="$aarch64_cflags"
export CXXFLAGS_aarch64_unknown_linux_gnu="$aarch64_cflags"
