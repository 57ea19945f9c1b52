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
        self.explains = np.zeros(tags)

    def add(self, values: Float64s) -> None:
        self.steps += 1
        if self.steps == 1:
            self.mean, self.square = values.copy(), np.zeros(self.k)
            return
        slowly = 0.001 if self.score >= 0.5 else 1.0
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
                self.begin()
                self.score = math.nan
                return
            correlation = (1 - 1e-4) * self.covariance / np.outer(sd, sd)
            np.fill_diagonal(correlation, 1.0)
            self.inverse = np.linalg.inv(correlation)
        self.judge(away / sd, slowly * self.u / (self.u + min(1000.0, learned - 10)), learned)

    def begin(self) -> None:
        size = self.k + len(self.pairs)
        self.centre, self.scale = self.mean.copy(), np.sqrt(self.square)
        self.features, self.covariance = np.zeros(size), np.zeros((size, size))
        self.fast, self.learned, self.due, self.has_score = np.zeros(size), 0.0, 0.0, False
        self.seen = 0
        self.usual, self.usual_fast, self.explains, self.rest = (np.zeros(self.k) for _ in range(4))

    def judge(self, now: Float64s, base: float, learned: float) -> None:
        def parts(features: Float64s) -> tuple[Float64s, Float64s, float]:
            product = self.inverse @ features
            inverses = [np.linalg.inv(self.inverse[np.ix_(own, own)]) for own in self.own]
            residual = [(part @ product[own])[0] for part, own in zip(inverses, self.own, strict=True)]
            explained = [product[own] @ part @ product[own] for part, own in zip(inverses, self.own, strict=True)]
            return np.abs(residual), np.maximum(explained, 0.0), float(product @ features)

        residual = parts(now)[0]
        weight = plain = self.u / (self.u + 0.5)
        for j in range(self.k):
            if 0 < 6 * self.usual[j] < residual[j]:
                weight = min(weight, plain * 6 * self.usual[j] / residual[j])
                residual[j] = 6 * self.usual[j]
        self.usual = self.usual + base * (residual - self.usual)
        self.fast = self.fast + weight * (now - self.fast)
        residual, explained, whole = parts(self.fast)
        ratio = residual / (10 * np.maximum(self.usual_fast, 1e-3))
        rest = np.maximum(whole - explained, 0.0)
        for j in range(self.k):
            if rest[j] > self.rest[j] > 0:
                ratio[j] *= self.rest[j] / rest[j]
        self.strength = np.maximum(explained - self.explains, 0.0)
        self.usual_fast = self.usual_fast + base * (residual - self.usual_fast)
        self.explains = self.explains + base * (explained - self.explains)
        self.rest = self.rest + base * (rest - self.rest)
        self.has_score = self.has_score or learned >= 30
        if self.has_score:
            largest = float(min(ratio.max(), 1e6))
            self.score = largest**2 / (largest**2 + 1)
