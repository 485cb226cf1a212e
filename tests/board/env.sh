# shellcheck shell=bash
# Where the emulated board's image is kept; sourced by the scripts beside it.

# arm64 is the board. With amd64 the same run looks at the amd64 package on an emulated PC of the same size: no Pi, but it needs no
# cross build, and is enough to try a change of the unit, of the package's scripts, or of these here.
board_arch="${GADWALL_BOARD_ARCH:-arm64}"
board="${GADWALL_BOARD_CACHE:-${HOME:?}/.cache/gadwall/board}/$board_arch"
# Debian keeps mke2fs where only root's path looks.
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) PATH="$PATH:/usr/sbin:/sbin" ;;
esac
export PATH
