"""The shape score's oracle: the words of `gateway.core.kernels.shape` once more, with lists."""

from __future__ import annotations

import math

import numpy as np


class ShapeOracle:
    def __init__(self) -> None:
        self.values: list[float] = []
        self.courses: list[tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]] = []
        self.steps = self.last_new = 0
        self.square = self.usual = self.top = self.recent = self.before = 0.0

    def add(self, value: float) -> float:
        self.steps += 1
        self.values = [*self.values, value][-16:]
        if len(self.values) < 16:
            return math.nan
        window = np.array(self.values) - np.mean(self.values)
        self.square += (np.mean(window**2) - self.square) / min(self.steps - 15, 10_000)
        size = max(math.sqrt(self.square), 1e-9 * abs(float(np.mean(self.values))), 1e-280)
        window = np.clip(window / size, -8, 8)
        if not self.courses:
            self.learn(window, -1, 0.0)
            return math.nan
        distances = [float(np.sqrt(np.mean((window - course) ** 2))) for _, course in self.courses]
        best = int(np.argmin(distances))
        distance = distances[best]
        z = distance / max(1.3 * self.top, 2 * self.usual, 0.05)
        if self.steps > 500:
            seen = min(distance, 3 * self.usual) if self.usual > 0 else distance
            self.usual += (seen - self.usual) / min(self.steps - 500, 10_000)
            self.top *= 1 - 1e-5
            self.recent = max(self.recent, distance)
            if self.steps % 64 == 0:
                self.top, self.before, self.recent = max(self.top, self.before), self.recent, 0.0
        self.learn(window, best, distance)
        return z * z / (z * z + 1) if self.steps > 1_000 else math.nan

    def learn(self, window: np.ndarray[tuple[int], np.dtype[np.float64]], best: int, distance: float) -> None:
        is_calm = self.steps <= 1_000 or self.steps - self.last_new >= 64
        if best < 0 or (is_calm and distance > max(1.5 * self.usual, 0.05)):
            self.last_new = self.steps
            if len(self.courses) < 64:
                self.courses.append((self.steps, window))
                return
            best = min(range(64), key=lambda place: self.courses[place][0])
            self.courses[best] = (self.steps, window)
            return
        course = self.courses[best][1]
        self.courses[best] = (self.steps, course + 0.05 * (window - course))
