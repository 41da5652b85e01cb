#!/bin/sh
# The browser that the interop tests drive: Debian's, installed where we may. WITHOUT_CHROMIUM=1 does without.
[ -n "$WITHOUT_CHROMIUM" ] && exit 0
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Chromium from Debian, once" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && exit 0
fi
echo "The tests call from a real Chromium, and there is none: apt-get install chromium, or leave them out with WITHOUT_CHROMIUM=1." >&2
exit 1
