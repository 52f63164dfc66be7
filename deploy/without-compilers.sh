#!/bin/sh
# Runs in the image's build, after Python's packages are installed: BentoML puts compilers and git into every image,
# and nothing here needs them (all packages come as wheels). What layers below hold stays in the image's size.
set -eu
apt-get purge -y --auto-remove build-essential git gnupg2
rm -rf /var/lib/apt/lists/*
