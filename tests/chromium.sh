#!/bin/sh
# What the interop tests drive: Debian's Chromium, and a library that Playwright's own driver wants. Installed where we may.
[ -n "$WITHOUT_CHROMIUM" ] && exit 0

has_everything() { command -v chromium >/dev/null && PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libatomic\.so\.1'; }

has_everything && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing Chromium from Debian, once" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium libatomic1; } >/dev/null 2>&1
  has_everything && exit 0
fi
echo "The tests call from a real Chromium: apt-get install chromium libatomic1, or leave them out with WITHOUT_CHROMIUM=1." >&2
exit 1
