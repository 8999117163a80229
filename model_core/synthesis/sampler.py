"""Training windows from synthetic subjects that are made while the network trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch

from model_core.datasets.crops import Box, cut_box, draw_crops
from model_core.datasets.subjects import LabelledPair, cut_to_brain, draw_windows
from model_core.networks.input_form import InputForm
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.generator import SyntheticPair, make_pair
from model_core.synthesis.shares import Shares

Subject = TypeVar("Subject")

STOCK = 32  # subjects that windows are drawn from at one time: 10 MB each
FIRST_STOCK = 8  # subjects with which training begins
SIX_MONTHS = Shares()
PUBLISHED = InputForm()
RENEW_EVERY = 20  # iterations after which the oldest one makes room for a new one


class StockSampler(Generic[Subject]):
    """Random windows of synthetic subjects, of which a new one is made every few iterations.

    Subjects are made ahead in threads of one core each. What an iteration gets depends on the seeds and on its number
    alone, so a run that is resumed goes on with the same windows; it first makes its stock of subjects again.

    Args:
        make: gives the subject of a number, from 1.
        draw: cuts windows of a side, so many, from subjects.
        window: side of the windows in voxels.
        seed: 0 or more; of the windows' places.
        workers: threads that make subjects, 1 or more.
        renew_every: iterations after which the oldest subject makes room for a new one.
    """

    def __init__(
        self,
        make: Callable[[int], Subject],
        draw: Callable[[Sequence[Subject], int, int, np.random.Generator], tuple[np.ndarray, ...]],
        *,
        window: int,
        seed: int,
        workers: int = 1,
        renew_every: int = RENEW_EVERY,
    ) -> None:
        self.window, self.seed = window, seed
        self._make, self._draw, self._workers, self._renew_every = make, draw, workers, renew_every
        self._pool = ThreadPoolExecutor(workers, "pairs", initializer=torch.set_num_threads, initargs=(1,))
        self._made: dict[int, Future[Subject]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batch(self, iteration: int, size: int) -> tuple[np.ndarray, ...]:
        """Cut the windows of one iteration; waits for its subjects."""
        numbers = stock_at(iteration, self._renew_every)
        for number in range(numbers.start, numbers.stop + 2 * self._workers):
            if number not in self._made:
                self._made[number] = self._pool.submit(self._make, number)
        for number in [number for number in self._made if number < numbers.start]:
            self._made.pop(number).cancel()
        boxes = [self._made[number].result() for number in numbers]
        return self._draw(boxes, self.window, size, np.random.default_rng((self.seed, iteration)))


class SyntheticSampler(StockSampler[Any]):
    """Random windows of synthetic pairs.

    Example:
        >>> with SyntheticSampler(anatomies, window=32, seed=0, workers=2) as sampler:
        ...     images, labels = sampler.batch(iteration=0, size=5)
    """

    def __init__(
        self,
        anatomies: Sequence[Anatomy],
        *,
        window: int,
        seed: int,
        pairs_seed: int | None = None,
        shares: Shares = SIX_MONTHS,
        workers: int = 1,
        form: InputForm = PUBLISHED,
    ) -> None:
        """Make nothing yet.

        Args:
            anatomies: one or more; they take turns.
            window: side of the windows in voxels.
            seed: 0 or more; of the windows' places.
            pairs_seed: of the pairs; ``None`` takes ``seed``.
            shares: which part of the pairs is of which kind.
            workers: threads that make pairs, 1 or more. A pair takes a core some three seconds.
            form: how the network wants its windows; told where they lie, ``batch`` gives their places as well.
        """
        if not anatomies:
            raise ValueError("anatomies is empty; at least one is expected")
        by_volume = form.standardised_over == "volume"
        make_box = _standardised_box if by_volume else _plain_box
        draw: Callable[..., tuple[np.ndarray, ...]] = draw_crops if by_volume else draw_windows
        series = partial(make_pair, list(anatomies), seed if pairs_seed is None else pairs_seed, shares=shares)
        super().__init__(
            lambda number: make_box(series(number), window), draw, window=window, seed=seed, workers=workers
        )


def stock_at(iteration: int, renew_every: int = RENEW_EVERY) -> range:
    """Numbers, from 1, of the subjects that an iteration draws from: ``FIRST_STOCK`` at first, later ``STOCK``."""
    newest = FIRST_STOCK + iteration // renew_every
    return range(max(1, newest - STOCK + 1), newest + 1)


def _plain_box(pair: SyntheticPair, window: int) -> list[np.ndarray]:
    """Cut a pair to its brain, in few bytes: intensities are whole numbers, far below 2^15."""
    t1, t2 = (np.minimum(image, np.iinfo(np.int16).max).astype(np.int16) for image in (pair.t1, pair.t2))
    return cut_to_brain(LabelledPair(f"a pair of {pair.anatomy}", t1, t2, pair.labels), window)


def _standardised_box(pair: SyntheticPair, window: int) -> Box:
    return cut_box(pair.t1, pair.t2, pair.labels, pair.mask, window)
