"""Derive every numeric constant of csrc/math.inc.h and print it with its measured error.

Run with ``python csrc/tools/derive_constants.py`` (needs mpmath and NumPy, about a minute). Nothing of the
build depends on this script: it is here so that anyone can see where a constant comes from.

1. ``exp`` is ``f * 2**(k/J) * (1 + p(r))`` with J table entries and |r| <= ln2/(2J). All kernels divide two such
   numbers, so the common factor f cancels: it is chosen here so that all J table entries f * 2**(j/J) lie
   within a small fraction of an ulp of a representable number. That takes the error of the table out of the
   result without a second table of low parts.
2. p(r) = r + r**2 * q(r), with q minimax (Remez) for the error of 1 + p relative to exp(r).
3. ``log1p`` is 2 atanh(s) with s = f / (2 + f): 2 atanh(s) = 2s + s * R(s**2), R minimax.
4. ``log1p`` of a float32 in [0, 1] is E + E**2 * q(E), with q minimax for the error relative to log1p(E).
"""

import math

import mpmath as mp
import numpy as np

mp.mp.prec = 200


def round_to(x, dtype):
    """Round an mpf to the nearest float32 or float64, exactly once."""
    bits = 24 if dtype is np.float32 else 53
    with mp.workprec(bits):
        return mp.mpf(+x)


def remez(basis, target, weight, lo, hi, n):
    """Coefficients c minimising max |weight * (sum c_i basis_i - target)| on [lo, hi]."""
    nodes = [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * n + 2)) for i in range(n + 1)]
    nodes = sorted(nodes)
    grid = [lo + (hi - lo) * i / 4000 for i in range(4001)]
    for _ in range(12):
        a = mp.matrix(n + 1, n + 1)
        b = mp.matrix(n + 1, 1)
        for i, x in enumerate(nodes):
            for j in range(n):
                a[i, j] = basis(j, x) * weight(x)
            a[i, n] = (-1) ** i
            b[i] = target(x) * weight(x)
        sol = mp.lu_solve(a, b)
        c = [sol[j] for j in range(n)]

        def err(x, c=c):
            return weight(x) * (mp.fsum(c[j] * basis(j, x) for j in range(n)) - target(x))

        e = [err(x) for x in grid]
        extrema, i = [], 0
        while i < len(grid):  # one extremum for each run of equal sign
            j = i
            while j < len(grid) and (e[j] >= 0) == (e[i] >= 0):
                j += 1
            best = max(range(i, j), key=lambda t: abs(e[t]))
            extrema.append(grid[best])
            i = j
        if len(extrema) < n + 1:
            break
        while len(extrema) > n + 1:
            extrema.pop(0 if abs(err(extrema[0])) < abs(err(extrema[-1])) else -1)
        nodes = extrema
    return c, max(abs(v) for v in e)


def exp_polynomial(dtype, entries, degree):
    h = mp.log(2) / (2 * entries) * mp.mpf("1.004")  # k is rounded from an inexact product: a little slack
    n = degree - 1  # q has the powers 0 .. degree-2
    c, _ = remez(
        lambda j, r: r**j,
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: r**2 / mp.exp(r),
        -h + mp.mpf(2) ** -60,
        h,
        n,
    )
    rounded = [round_to(v, dtype) for v in c]
    worst = max(
        abs((r + r**2 * mp.polyval(rounded[::-1], r) - mp.expm1(r)) / mp.exp(r))
        for r in (h * i / 3000 for i in range(-3000, 3001))
    )
    unit = mp.mpf(2) ** (-24 if dtype is np.float32 else -53)
    print(
        f"/* exp, {dtype.__name__}: p(r) = r + r^2 q(r), |r| <= ln2/{2 * entries}: "
        f"error {mp.nstr(worst / unit, 3)} of the unit roundoff */"
    )
    for i, v in enumerate(rounded):
        print(f"    c{i + 2} = {float(v).hex()}")


def exp_table(dtype, entries):
    """Search f in [1, 2) with all f * 2**(j/entries) close to a representable number."""
    bits = 24 if dtype is np.float32 else 53
    ratios = [mp.mpf(2) ** (mp.mpf(j) / entries) for j in range(entries)]
    if dtype is np.float32:
        n = np.arange(2 ** (bits - 1), 2**bits, dtype=np.int64)
        worst, best_n, best_shift = 1.0, 0, 0.0
        for shift in np.linspace(-0.25, 0.25, 51):  # f itself may be a little off its own table entry
            bad = np.abs(shift) / n  # relative, times 2**bits below
            for j in range(1, entries):
                v = (n + shift) * float(ratios[j])  # n has 24 bits: float64 is exact enough here
                v = np.where(v >= 2.0**bits, v / 2, v)
                np.maximum(bad, np.abs(v - np.rint(v)) / v, out=bad)
            bad *= 2.0**bits
            i = int(np.argmin(bad))
            if bad[i] < worst:
                worst, best_n, best_shift = float(bad[i]), int(n[i]), float(shift)
        f = (mp.mpf(best_n) + mp.mpf(best_shift)) / mp.mpf(2) ** (bits - 1)
    else:
        rng = np.random.default_rng(2026)
        worst, f = 1.0, None
        scale = [int(mp.floor(r * mp.mpf(2) ** 140)) for r in ratios]
        for candidate in rng.integers(2 ** (bits - 1), 2**bits, size=2_000_000):
            bad = 0.0
            for j in range(1, entries):
                v = int(candidate) * scale[j]
                shift = 140 + (1 if v >> (140 + bits) else 0)
                frac = ((v >> (shift - 40)) & ((1 << 40) - 1)) / 2.0**40
                bad = max(bad, min(frac, 1 - frac))
                if bad >= worst:
                    break
            if bad < worst:
                worst, f = bad, mp.mpf(int(candidate)) / mp.mpf(2) ** (bits - 1)
    unit = mp.mpf(2) ** -bits
    table = [round_to(f * r, dtype) for r in ratios]
    error = max(abs(t / (f * r) - 1) for t, r in zip(table, ratios, strict=True))
    print(
        f"/* table, {dtype.__name__}: f = {mp.nstr(f, 25)}, "
        f"largest relative error {mp.nstr(error / unit, 3)} of the unit roundoff */"
    )
    for t in table:
        print(f"    {float(t).hex()}")


def split(name, value, dtype):
    high = round_to(value, dtype)
    low = round_to(value - high, dtype)
    print(f"    {name}_hi = {float(high).hex()}, {name}_lo = {float(low).hex()}")


def log_polynomial(n):
    s_max = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.0001")
    w_max = s_max**2

    def target(w):
        if w < mp.mpf(2) ** -100:
            return mp.mpf(2) / 3
        s = mp.sqrt(w)
        return (2 * mp.atanh(s) - 2 * s) / (s * w)

    c, _ = remez(lambda j, w: w**j, target, lambda w: w, mp.mpf(2) ** -60, w_max, n)
    rounded = [round_to(v, np.float64) for v in c]
    worst = max(
        abs(w * (mp.polyval(rounded[::-1], w) - target(w)) / 2) for w in (w_max * i / 2000 for i in range(1, 2001))
    )
    print(
        f"/* log1p: 2 atanh(s) = 2s + s w R(w), w = s^2, |s| <= 3 - 2 sqrt2: error {mp.nstr(worst * 2**53, 3)} "
        "of the unit roundoff */"
    )
    for i, v in enumerate(rounded):
        print(f"    l{i + 1} = {float(v).hex()}")


def log1p_polynomial(n):
    def target(x):
        return (mp.log1p(x) - x) / x**2

    def weight(x):
        return x**2 / mp.log1p(x)

    c, _ = remez(lambda j, x: x**j, target, weight, mp.mpf(2) ** -30, mp.mpf(1), n)
    rounded = [round_to(v, np.float32) for v in c]
    points = [mp.mpf(i) / 2000 for i in range(1, 2001)]
    worst = max(abs(weight(x) * (mp.polyval(rounded[::-1], x) - target(x))) for x in points)
    print(f"/* log1p on [0, 1], {n} terms: error {mp.nstr(worst * 2**24, 3)} of the unit roundoff */")
    for i, v in enumerate(rounded):
        print(f"    q{i} = {float(v).hex()}")


if __name__ == "__main__":
    exp_polynomial(np.float32, 8, 4)
    exp_table(np.float32, 8)
    split("ln2_8", mp.log(2) / 8, np.float32)
    print(
        f"    log2e_8 = {float(round_to(8 / mp.log(2), np.float32)).hex()}, "
        f"log2e = {float(round_to(1 / mp.log(2), np.float32)).hex()}"
    )
    exp_polynomial(np.float64, 4, 8)
    exp_table(np.float64, 4)
    split("ln2_4", mp.log(2) / 4, np.float64)
    print(
        f"    log2e_4 = {float(round_to(4 / mp.log(2), np.float64)).hex()}, "
        f"log2e = {float(round_to(1 / mp.log(2), np.float64)).hex()}"
    )
    log_polynomial(7)
    log1p_polynomial(11)
    # ln2_hi with 20 trailing zero bits, so that k * ln2_hi is exact for every exponent k of a double.
    high = mp.floor(mp.log(2) * mp.mpf(2) ** 33) / mp.mpf(2) ** 33
    print(f"    ln2_hi = {float(high).hex()}, ln2_lo = {float(round_to(mp.log(2) - high, np.float64)).hex()}")
    assert math.isclose(float(high), math.log(2), rel_tol=1e-9)
