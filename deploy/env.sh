# shellcheck shell=bash
# Where things are built and found; sourced by .ci/run and the scripts beside it.

# One target directory for the whole machine, so that DuckDB (half an hour of C++) is compiled once, not once a checkout.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${HOME:?}/.cache/gadwall/target}"

# Debian's way to put ccache in front of the compilers. CXX stays unset: cargo compiles DuckDB again when it changes.
case ":$PATH:" in
*:/usr/lib/ccache:*) ;;
*) [[ ! -d /usr/lib/ccache ]] || PATH="/usr/lib/ccache:$PATH" ;;
esac

# Debian installs mosquitto where only root's path looks.
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) PATH="$PATH:/usr/sbin" ;;
esac
export PATH
