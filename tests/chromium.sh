#!/bin/sh
# What the interop tests drive: Debian's Chromium, and a library that Playwright's own driver wants; for the lab, which only root can
# make, Firefox, ip and what makes speech as well. Installed where we may.
[ -n "$WITHOUT_CHROMIUM" ] && exit 0
PATH="$PATH:/sbin:/usr/sbin"

has_chromium() { command -v chromium >/dev/null && ldconfig -p | grep -q 'libatomic\.so\.1'; }
has_firefox() { command -v firefox-esr >/dev/null || command -v firefox >/dev/null; }
has_lab() { has_firefox && command -v ip && command -v espeak-ng && command -v sox; } >/dev/null

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  has_chromium && has_lab && exit 0
  echo "installing Chromium, Firefox and espeak-ng from Debian, once" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium libatomic1 firefox-esr iproute2 espeak-ng sox; } >/dev/null 2>&1
fi
has_chromium && exit 0 # the lab's tests say themselves what they miss
echo "The tests call from a real Chromium: apt-get install chromium libatomic1, or leave them out with WITHOUT_CHROMIUM=1." >&2
exit 1
