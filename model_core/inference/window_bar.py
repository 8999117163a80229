"""A bar on the terminal for the windows of one segmentation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from tqdm import tqdm

from model_core.inference.accumulator import Progress


@contextmanager
def window_bar(title: str | None = None, *, disable: bool | None = None) -> Generator[Callable[[Progress], None]]:
    """Give what ``Segmenter.segment`` takes as ``on_progress``; the bar vanishes at the end.

    Args:
        title: stands before the bar.
        disable: None leaves the bar out where stderr is no terminal.
    """
    with tqdm(desc=title, unit="window", mininterval=1, leave=False, disable=disable) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.windows_total
            bar.update(progress.windows_done - bar.n)

        yield show
