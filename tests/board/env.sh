# shellcheck shell=bash
# Where the emulated board's image is kept; sourced by the scripts beside it.
board="${GADWALL_BOARD_CACHE:-${HOME:?}/.cache/gadwall/board}"
# Debian keeps mke2fs where only root's path looks.
case ":$PATH:" in
*:/usr/sbin:*) ;;
*) PATH="$PATH:/usr/sbin:/sbin" ;;
esac
export PATH
