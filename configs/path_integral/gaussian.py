"""The 1-D Gaussian of the path-integral experiments: its files, and what is known of it in closed
form.

x0 ~ N(0, v0), vp_constant (beta = 20, t in [t0, 1]), score (1 + eps) times the exact one, prior
N(0, 1) at t = 1. The reverse family at noise h has the law N(0, V(h)) at t0,
    V = alpha0^2 [r^q / alpha1^2 + h w0^q int_{w0}^{w1} w^-q dw],
    w = v0 + 1 / snr,  r = w0 / w1,  q = (1 + h)(1 + eps),
from dV/dL = (2 a - q sigma^2 / v) V + h sigma^2 in log-SNR (tests/launch/gaussian_model.hpp has the
steps).

    python3 gaussian.py OUT     writes OUT/law.h5, OUT/points.h5 and a config OUT/modelEPS.toml
                                for each error
"""

import sys
from math import exp, log, pi, sqrt
from pathlib import Path
from statistics import NormalDist

V0, BETA, T0, T1 = 0.5, 20.0, 0.01, 1.0
ERRORS = [-0.1, -0.05, 0.0, 0.05, 0.1]
HBARS = [0.0, 0.05, 0.1, 0.2, 0.5, 1.0]
POINTS = 400


def points():
    """Midpoints of equal shares of the law: their mean square is v0 to within a percent."""
    return [sqrt(V0) * NormalDist().inv_cdf((i + 0.5) / POINTS) for i in range(POINTS)]


def variance(hbar, eps):
    alpha2 = [exp(-BETA * t) for t in (T0, T1)]
    w0, w1 = (V0 + (1 - a) / a for a in alpha2)
    q = (1 + hbar) * (1 + eps)
    grown = log(w1 / w0) if abs(q - 1) < 1e-12 else (w1 ** (1 - q) - w0 ** (1 - q)) / (1 - q)
    return alpha2[0] * ((w0 / w1) ** q / alpha2[1] + hbar * w0**q * grown)


def nll(hbar, eps):
    v, mean_square = variance(hbar, eps), sum(x * x for x in points()) / POINTS
    return 0.5 * (log(2 * pi * v) + mean_square / v)


def w2_squared(hbar, eps):
    return (sqrt(variance(hbar, eps)) - sqrt(V0)) ** 2


def write(out):
    import h5py
    import numpy as np

    out.mkdir(parents=True, exist_ok=True)
    with h5py.File(out / "law.h5", "w") as f:
        f["weights"], f["means"], f["covariances"] = (
            np.ones(1),
            np.zeros((1, 1)),
            np.full((1, 1, 1), V0),
        )
    with h5py.File(out / "points.h5", "w") as f:
        f["test/images"] = np.array(points())[:, None]
    for eps in ERRORS:
        (out / f"model{eps:g}.toml").write_text(
            f'[model]\ntype = "gaussian_mixture"\nfile = "{out / "law.h5"}"\nscore_scale = '
            f'{1 + eps}\n'
            f'[diffusion]\nschedule = "vp_constant"\nbeta = {BETA}\nt_min = {T0}\nt_max = {T1}\n'
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
