#!/bin/sh
# Copyright The otelmcp Authors
# SPDX-License-Identifier: Apache-2.0

# Puts an rsyslog into the folder that is its argument, without root and without touching the system, and prints
# the folder to run it from: that one, or / for the system's own. The test of docs/siem calls it.
#
# A copy of Debian's or Ubuntu's packages goes first: where the system's rsyslogd is confined, as Ubuntu's AppArmor
# profile does, it may not read the files of a test. Exit status 77 says that this system can have neither.
set -eu

root=$1

runs() { # in folder $1
	set -- "$1" "$1"/usr/lib/*-linux-gnu
	LD_LIBRARY_PATH=$2 "$1/usr/sbin/rsyslogd" -v >/dev/null
}

if [ -d "$root" ] && runs "$root"; then
	echo "$root"
elif command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
	mkdir -p "$(dirname "$root")"
	new=$(mktemp -d "$root.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	trap 'exit 130' INT # which is not an EXIT to every shell
	trap 'exit 143' TERM
	mkdir -p "$new/apt/lists/partial" "$new/apt/cache/archives/partial" "$new/root"
	apt() { apt-get -qq -o Dir::State::Lists="$new/apt/lists" -o Dir::Cache="$new/apt/cache" "$@" >&2; }
	(cd "$new/apt" && apt update && apt download rsyslog libestr0 libfastjson4 liblognorm5)
	for package in "$new"/apt/*.deb; do
		dpkg -x "$package" "$new/root"
	done
	runs "$new/root"
	rm -rf "$root" # what was there did not run
	mv "$new/root" "$root"
	echo "$root"
elif [ -x /usr/sbin/rsyslogd ]; then
	echo /
else
	echo "no rsyslog: this system has neither apt, to get Debian's packages with, nor /usr/sbin/rsyslogd" >&2
	exit 77
fi
