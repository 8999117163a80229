"""Training windows from synthetic pairs that are made while the network trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from model_core.datasets.crops import Box, cut_box, draw_crops
from model_core.datasets.subjects import LabelledPair, cut_to_brain, draw_windows
from model_core.networks.input_form import InputForm
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.generator import SyntheticPair, make_pair
from model_core.synthesis.shares import Shares

STOCK = 32  # pairs that windows are drawn from at one time: 10 MB each
FIRST_STOCK = 8  # pairs with which training begins
SIX_MONTHS = Shares()
PUBLISHED = InputForm()
RENEW_EVERY = 20  # iterations after which the oldest pair makes room for a new one


class SyntheticSampler:
    """Random windows of synthetic pairs, of which a new one is made every few iterations.

    Pairs are made ahead in threads of one core each. What an iteration gets depends on the seeds and on its number
    alone, so a run that is resumed goes on with the same windows; it first makes its stock of pairs again.

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
        self.window, self.seed, self._workers = window, seed, workers
        by_volume = form.standardised_over == "volume"
        make_box = _standardised_box if by_volume else _plain_box
        self._draw: Callable[..., tuple[np.ndarray, ...]] = draw_crops if by_volume else draw_windows
        series = partial(make_pair, list(anatomies), seed if pairs_seed is None else pairs_seed, shares=shares)
        self._make = lambda number: make_box(series(number), window)
        self._pool = ThreadPoolExecutor(workers, "pairs", initializer=torch.set_num_threads, initargs=(1,))
        self._pairs: dict[int, Future[Any]] = {}

    def __enter__(self) -> SyntheticSampler:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batch(self, iteration: int, size: int) -> tuple[np.ndarray, ...]:
        """Cut the windows of one iteration, as ``draw_windows`` or ``draw_crops`` does; waits for its pairs."""
        numbers = stock_at(iteration)
        for number in range(numbers.start, numbers.stop + 2 * self._workers):
            if number not in self._pairs:
                self._pairs[number] = self._pool.submit(self._make, number)
        for number in [number for number in self._pairs if number < numbers.start]:
            self._pairs.pop(number).cancel()
        boxes = [self._pairs[number].result() for number in numbers]
        return self._draw(boxes, self.window, size, np.random.default_rng((self.seed, iteration)))


def stock_at(iteration: int) -> range:
    """Numbers, from 1, of the pairs that an iteration draws from: ``FIRST_STOCK`` at first, later ``STOCK``."""
    newest = FIRST_STOCK + iteration // RENEW_EVERY
    return range(max(1, newest - STOCK + 1), newest + 1)


def _plain_box(pair: SyntheticPair, window: int) -> list[np.ndarray]:
    """Cut a pair to its brain, in few bytes: intensities are whole numbers, far below 2^15."""
    t1, t2 = (np.minimum(image, np.iinfo(np.int16).max).astype(np.int16) for image in (pair.t1, pair.t2))
    return cut_to_brain(LabelledPair(f"a pair of {pair.anatomy}", t1, t2, pair.labels), window)


def _standardised_box(pair: SyntheticPair, window: int) -> Box:
    return cut_box(pair.t1, pair.t2, pair.labels, pair.mask, window)
