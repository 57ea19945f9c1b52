"""The multivariate score's oracle: the words of `gateway.core.kernels.multivariate` once more, by NumPy's algebra."""

from __future__ import annotations

import itertools
import math

import numpy as np

from gateway.core.types import Float64s


class MultivariateOracle:
    """One step a call, all of the same length: `u` scales."""

    def __init__(self, tags: int, u: float) -> None:
        self.k, self.u = tags, u
        self.pairs = list(itertools.combinations_with_replacement(range(tags), 2))
        self.own = [[j] + [tags + n for n, pair in enumerate(self.pairs) if j in pair] for j in range(tags)]
        self.steps, self.counted, self.age, self.score = 0, 0, 0.0, math.nan
        self.explained, self.whole = np.zeros(tags), 0.0

    def add(self, values: Float64s) -> None:
        self.steps += 1
        if self.steps == 1:
            self.mean, self.square = values.copy(), np.zeros(self.k)
            return
        slowly = 0.001 if self.score >= 0.5 else 0.1 if self.score >= 0.3 else 1.0
        base = slowly * self.u / (self.u + min(1000.0, self.age))
        distance = values - self.mean
        self.mean = self.mean + base * distance
        self.square = self.square + base * ((1 - base) * distance**2 - self.square)
        self.counted += 1
        before, self.age = self.age, self.counted * self.u
        if self.age < 10:
            return
        if before < 10:
            self.begin()
        z = np.clip((values - self.centre) / self.scale, -8, 8)
        features = np.concatenate([z, [z[i] * z[j] for i, j in self.pairs]])
        base = slowly * self.u / (self.u + min(1000.0, self.learned))
        away = features - self.features
        self.features = self.features + base * away
        self.covariance = self.covariance + base * ((1 - base) * np.outer(away, away) - self.covariance)
        self.seen += 1
        learned, self.learned = self.learned, self.seen * self.u
        if learned < 10:
            return
        sd = np.sqrt(np.diag(self.covariance))
        self.due -= self.u
        if self.due <= 0:
            self.due = 1.0
            off = np.abs(self.mean - self.centre) > 2 * self.scale
            ratio = np.sqrt(self.square) / self.scale
            if slowly == 1 and (off.any() or (ratio > 3).any() or (ratio * 3 < 1).any()):
                self.count_anew()
                self.due = 0.0
                return
            correlation = (1 - 1e-4) * self.covariance / np.outer(sd, sd)
            np.fill_diagonal(correlation, 1.0)
            self.inverse = np.linalg.inv(correlation)
        self.judge(z, away / sd, sd, slowly, learned)

    def begin(self) -> None:
        size = self.k + len(self.pairs)
        self.centre, self.scale = self.mean.copy(), np.sqrt(self.square)
        self.features, self.covariance = np.zeros(size), np.zeros((size, size))
        self.learned, self.due, self.has_score = 0.0, 0.0, False
        self.seen = 0
        self.usual, self.short, self.usual_rest = (np.zeros(self.k) for _ in range(3))
        self.sensitivity, self.spread = np.zeros((self.k, self.k)), np.zeros((self.k, self.k))

    def count_anew(self) -> None:
        """z' = a z + d: mean and covariance of the features by the matrix that makes the new ones of the old."""
        scale = np.sqrt(self.square)
        a, d = self.scale / scale, (self.centre - self.mean) / scale
        change, rest = np.diag(np.concatenate([a, [a[i] * a[j] for i, j in self.pairs]])), np.zeros(len(self.features))
        rest[: self.k] = d
        for f, (i, j) in enumerate(self.pairs, self.k):
            change[f, i] += a[i] * d[j]
            change[f, j] += a[j] * d[i]
            rest[f] = d[i] * d[j]
        self.features = change @ self.features + rest
        self.covariance = change @ self.covariance @ change.T
        self.sensitivity = self.sensitivity / a
        self.centre, self.scale = self.mean.copy(), scale

    def judge(self, z: Float64s, now: Float64s, sd: Float64s, slowly: float, learned: float) -> None:
        weights = np.array([(np.linalg.inv(self.inverse[np.ix_(own, own)]) @ self.inverse[own])[0] for own in self.own])
        # What the features change by for an error of each tag, and for its square.
        slopes, squares = np.zeros((len(now), self.k)), np.zeros((len(now), self.k))
        for j in range(self.k):
            slopes[j, j] = 1.0
            for f, pair in enumerate(self.pairs, self.k):
                if j in pair:
                    slopes[f, j] = 2 * z[j] if pair == (j, j) else z[sum(pair) - j]
                if pair == (j, j):
                    squares[f, j] = 1.0
        slopes, squares = weights @ (slopes / sd[:, None]), weights @ (squares / sd[:, None])
        residual = weights @ now
        base = slowly * self.u / (self.u + min(1000.0, (learned - 10) / 2))
        weight = plain = self.u / (self.u + 1.0)
        for j, size in enumerate(np.abs(residual)):
            if 0 < 6 * self.usual[j] < size:
                weight = min(weight, plain * 6 * self.usual[j] / size)
            limit = 6 * self.usual[j] if self.usual[j] > 0 else math.inf
            self.usual[j] += base * (min(size, limit) - self.usual[j])
        self.short = self.short + weight * (residual - self.short)
        self.sensitivity = self.sensitivity + weight * (slopes - self.sensitivity)
        if self.due == 1.0:
            self.precision = np.linalg.inv(self.spread + 1e-6 * np.eye(self.k))
        self.spread = self.spread + base * (np.outer(self.short, self.short) - self.spread)
        if learned < 20:
            return
        self.whole = float(self.short @ self.precision @ self.short)
        rest = np.array([self.left(j, squares) for j in range(self.k)])
        self.explained = self.whole - rest
        ratio = np.sqrt(self.explained) / 8
        far = rest > 4 * self.usual_rest
        ratio[far] *= np.sqrt(4 * self.usual_rest[far] / rest[far])
        base = slowly * self.u / (self.u + min(1000.0, (learned - 20) / 2))
        self.usual_rest = self.usual_rest + base * (rest - self.usual_rest)
        self.has_score = self.has_score or learned >= 30
        if self.has_score:
            means = min(1000.0, learned - 10) / 2
            trust = math.sqrt(max(means - self.k - 2, 0.0) / (means + 1))
            largest = float(min(trust * ratio.max(), 1e6))
            self.score = largest**2 / (largest**2 + 1)

    def left(self, j: int, squares: Float64s) -> float:
        """The least of m - b s + b² q that four steps of Gauss and Newton find."""
        s, q, b, least = self.sensitivity[:, j], squares[:, j], 0.0, self.whole
        for _ in range(4):
            slope = s - 2 * b * q
            left = self.short - b * s + b * b * q
            step = slope @ self.precision @ left / max(slope @ self.precision @ slope, 1e-12)
            b = min(max(b + step, -8.0), 8.0)
            left = self.short - b * s + b * b * q
            least = min(least, float(left @ self.precision @ left))
        return max(least, 0.0)
