#!/bin/sh
# What Spark asks an executor: the addresses of its GPUs, as JSON (Spark 4, "Custom Resource Scheduling").
set -eu
addresses=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -sd, -)
printf '{"name": "gpu", "addresses": [%s]}\n' "${addresses}"
