"""Tries a model in a process of its own first: native libraries end theirs on a damaged file instead of raising.

As a program, `trial.py LIBRARY KIND` reads a model from standard input and predicts a row of zeros with it, by the
library's own C interface, so that the process costs a tenth of a second: Python's packages around it would cost two.
Forking this process instead hangs in some libraries, whose threads are not in the copy.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import subprocess
import sys
from collections.abc import Callable

__all__ = ["death"]

_SECONDS = 120.0


def death(content: bytes, library: str, kind: str, *, seconds: float = _SECONDS) -> str | None:
    """How the process ended that read the model, where it did so against its will; None where all is well.

    library: the path of the shared library; kind: xgboost or lightgbm.
    """
    command = [sys.executable, "-I", "-S", __file__, library, kind]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"reading it takes more than {seconds:g} seconds"
    if done.returncode >= 0:
        return None
    return f"it is damaged; {kind} ends with {signal.Signals(-done.returncode).name} when it reads it"


def _xgboost(library: ctypes.CDLL, content: bytes) -> None:
    booster, rows, count = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
    library.XGBoosterCreate(None, ctypes.c_uint64(0), ctypes.byref(booster))
    library.XGBoosterSetParam(booster, b"nthread", b"1")
    if library.XGBoosterLoadModelFromBuffer(booster, content, ctypes.c_uint64(len(content))):
        return
    library.XGBoosterGetNumFeature(booster, ctypes.byref(count))
    zeros = (ctypes.c_float * max(count.value, 1))()
    library.XGDMatrixCreateFromMat(zeros, ctypes.c_uint64(1), count, ctypes.c_float(float("nan")), ctypes.byref(rows))
    found, values = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
    library.XGBoosterPredict(booster, rows, 0, ctypes.c_uint(0), 0, ctypes.byref(found), ctypes.byref(values))


def _lightgbm(library: ctypes.CDLL, content: bytes) -> None:
    booster, iterations, width, length = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int64()
    if library.LGBM_BoosterLoadModelFromString(content, ctypes.byref(iterations), ctypes.byref(booster)):
        return
    library.LGBM_BoosterGetNumFeature(booster, ctypes.byref(width))
    library.LGBM_BoosterCalcNumPredict(booster, 1, 0, 0, -1, ctypes.byref(length))
    zeros, values = (ctypes.c_double * max(width.value, 1))(), (ctypes.c_double * max(length.value, 1))()
    # 1: the zeros are float64; 1: row after row.
    library.LGBM_BoosterPredictForMat(
        booster, zeros, 1, 1, width, 1, 0, 0, -1, b"num_threads=1", ctypes.byref(length), values
    )


_KINDS: dict[str, Callable[[ctypes.CDLL, bytes], None]] = {"xgboost": _xgboost, "lightgbm": _lightgbm}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _KINDS[sys.argv[2]](ctypes.CDLL(sys.argv[1]), sys.stdin.buffer.read())


if __name__ == "__main__":
    main()
