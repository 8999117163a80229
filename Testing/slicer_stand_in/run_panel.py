"""Open a scripted module on the stand-in in a main window like Slicer's, run a script in it, write a picture.

    python -m Testing.slicer_stand_in.run_panel --module InfantBrainSeg --picture panel.png
    python -m Testing.slicer_stand_in.run_panel --module InfantBrainSeg --script segment_sample.py --picture panel.png
    python -m Testing.slicer_stand_in.run_panel --module InfantBrainSeg --window

The script sees `stand_in` (see application.StandIn), `panel` (the module's Python widget), `slicer` and `qt`. Without
--window nothing is shown on a display, and none is needed; with it the window stays open until it is closed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def module_file(name: str) -> Path:
    """Return the .py file of a module: a path as it is, a name as <repository>/<name>/<name>.py."""
    path = Path(name)
    found = path if path.suffix == ".py" else REPOSITORY / name / f"{name}.py"
    if not found.is_file():
        raise SystemExit(f"{found} does not exist; give --module a name in the repository or the path of a .py file")
    return found


def size(text: str) -> tuple[int, int]:
    """Return (1600, 1000) for "1600x1000"."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no size; write it as 1600x1000") from None
    return width, height


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--module", required=True, metavar="NAME", help="a module of the repository, or its .py file")
    parser.add_argument("--script", type=Path, metavar="FILE.py", help="run this when the panel is open")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="write the window to this file")
    parser.add_argument("--size", type=size, default=(1600, 1000), metavar="WxH", help="of the window, in pixels")
    parser.add_argument("--window", action="store_true", help="show the window on the display and wait for its end")
    parsed = parser.parse_args(arguments)
    if parsed.picture is None and not parsed.window:
        parser.error("nothing to do; give --picture FILE.png, --window, or both")
    if parsed.window and "DISPLAY" not in os.environ:
        parser.error("--window needs a display; set DISPLAY (for example under xvfb-run), or leave --window away")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = arguments_of(arguments)
    path = module_file(parsed.module)
    if parsed.window:
        os.environ["QT_QPA_PLATFORM"] = "xcb"
    from . import application  # starts Qt's libraries, for which the platform had to be chosen

    stand_in = application.start()
    stand_in.set_testing(False)
    stand_in.load_module(path)
    panel = stand_in.open_module(path.stem)
    stand_in.show_window(size=parsed.size)
    if parsed.script is not None:
        names = {"stand_in": stand_in, "panel": panel, "slicer": application.slicer, "qt": application.qt}
        code = compile(parsed.script.read_text(encoding="utf-8"), str(parsed.script), "exec")
        exec(code, {**names, "__name__": "__main__", "__file__": str(parsed.script)})
    if parsed.picture is not None:
        print(stand_in.picture(parsed.picture, size=parsed.size))
    if parsed.window:
        stand_in.pump(lambda: stand_in.window.isHidden(), seconds=float("inf"))
    status = 1 if stand_in.errors else 0
    stand_in.unload_module(path.stem)
    return status


if __name__ == "__main__":
    sys.exit(main())
