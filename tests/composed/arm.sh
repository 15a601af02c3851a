#!/bin/sh
# A pretended robot arm: it writes where it points.
echo "$1" >> "${TMPDIR:-/tmp}/arm-positions"
