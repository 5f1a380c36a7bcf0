"""Benchmarks, on one thread: `python -m benchmarks`, or `make bench`."""

import os

# Set here because numpy and torch read them once, when they are loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"
