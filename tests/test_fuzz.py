"""The first calls of fuzz.py, and that it notices what it is there for."""

import functools
import re
import sys
import warnings

import fuzz
import fuzz_calls
import numpy as np
import pytest
from cases import assert_same_bits

import softlane

pytestmark = pytest.mark.any_isa

CALLS, SEED = 2000, 17


def test_random_calls():
    assert fuzz.run(SEED, CALLS) == []


def test_a_call_is_made_again_from_seed_and_index():
    with fuzz.strictly():
        first, again, other = (fuzz.call_of(SEED, index)[0].source() for index in (5, 5, 6))
    assert first == again != other


def test_the_source_of_a_call_gives_its_result():
    with fuzz.strictly():
        calls = [fuzz.call_of(SEED, index)[0] for index in range(60)]
    calls = [call for call in calls if isinstance(call, fuzz_calls.Call) and call.hostile is None]
    assert len(calls) > 30
    for call in calls:
        namespace = {}
        with fuzz.strictly():
            expected, error = fuzz_calls.attempt(lambda call=call: call.run(True))
        try:
            exec(call.source(), namespace)
        except fuzz_calls.ERRORS as other:
            assert type(other) is type(error), call.source()
            continue
        for a, b in zip(fuzz_calls.parts(namespace["y"]), fuzz_calls.parts(expected), strict=True):
            assert_same_bits(a, b, call.source())


# ---- faults ----------------------------------------------------------------------------------------------------------
# Each is a function in the place of one of the package, and what is said about it.


def flip_bit(y, bit):
    """Of a finite number, if there is one"""
    for a in fuzz_calls.parts(y)[-1:]:
        if isinstance(a, np.ndarray) and a.size and a.dtype == np.float32 and np.isfinite(a).all():
            a.reshape(-1).view(np.uint32)[-1:] ^= np.uint32(1 << bit)


def wrong_value(right, x, *args, **options):
    y = right(x, *args, **options)
    flip_bit(y, 3)
    return y


def wrong_bit_of_a_layout(right, x, *args, **options):
    y = right(x, *args, **options)
    if isinstance(x, np.ndarray) and not x.flags.c_contiguous and "out" not in options:
        flip_bit(y, 0)
    return y


def write_beside_out(right, x, *args, out=None, **options):
    y = right(x, *args, out=out, **options)
    if out is not None:
        out.base[-1] ^= 1
    return y


def write_to_x(right, x, *args, **options):
    y = right(x, *args, **options)
    if isinstance(x, np.ndarray) and x.flags.writeable and x.size and x.ndim:
        x[(0,) * x.ndim] = 99
    return y


def write_before_an_error(right, x, *args, out=None, **options):
    try:
        return right(x, *args, out=out, **options)
    except ValueError:
        if isinstance(out, np.ndarray) and out.flags.writeable and out.dtype == np.float32:
            out.fill(3)
        raise


def another_array(right, *args, out=None, **options):
    y = right(*args, out=out, **options)
    return y if out is None else y.copy()


def wrong_error(right, *args, **options):
    try:
        return right(*args, **options)
    except TypeError as error:
        raise RuntimeError(str(error)) from error


def warn(right, *args, **options):
    warnings.warn("something", RuntimeWarning, stacklevel=1)
    return right(*args, **options)


def raise_flag(right, *args, **options):
    np.float32(1e30) * np.float32(1e30)
    return right(*args, **options)


def float64_for_scalars(right, *args, **options):
    y = right(*args, **options)
    return float(y) if isinstance(y, np.float64) else y


def nan_with_a_sign(right, *args, **options):
    y = right(*args, **options)
    return np.negative(y, out=y, where=np.isnan(y)) if isinstance(y, np.ndarray) else y


FAULTS = {
    wrong_value: r"times what is allowed; reference|rounded",
    wrong_bit_of_a_layout: "got, and from plain copies",
    write_beside_out: "memory around out has changed",
    write_to_x: "has changed",
    write_before_an_error: "out has changed, although the call raised",
    another_array: "the result is not out",
    wrong_error: "RuntimeError",
    warn: "RuntimeWarning: something",
    raise_flag: "FloatingPointError",
    float64_for_scalars: "AttributeError|a float, of plain copies|float",
    nan_with_a_sign: "a NaN that is not the canonical one",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_faults_are_noticed(fault, monkeypatch):
    name = "logsumexp" if fault is float64_for_scalars else "log_softmax"
    right = getattr(softlane, name)
    monkeypatch.setattr(softlane, name, functools.wraps(right)(functools.partial(fault, right)))
    choices = [op for op in fuzz_calls.OPS if op.function == name]
    failures = fuzz.run(SEED, 250, most=10, choices=choices)
    assert any(re.search(FAULTS[fault], failure) for failure in failures), failures


def test_a_crash_does_not_lose_the_call(monkeypatch, capfd):
    code = f"import sys, ctypes; sys.path[:0] = {sys.path!r}; import fuzz, softlane; "
    code += "softlane.softmin = lambda *args, **options: ctypes.string_at(0); sys.exit(fuzz.main())"
    monkeypatch.setattr(fuzz, "PROGRAM", ["-c", code])
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--seed", str(SEED), "--calls", "1000"])
    assert fuzz.main() < 0
    out, err = capfd.readouterr()
    index = int(re.fullmatch(rf"signal \d+ in call (\d+): --seed {SEED} --only \1\n", out)[1])
    assert "softmin" in fuzz.call_of(SEED, index)[0].function and "Segmentation fault" in err
