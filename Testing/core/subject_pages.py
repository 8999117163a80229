"""The page of one subject, of a body given by formulas."""

import numpy as np
from scan_phantoms import grid, scans

from model_core.findings import Finding
from model_core.segmentation.report_page import write_report
from model_core.segmentation.views import draw_views
from model_core.windows import WHOLE_BRAIN


def write_subject_page(path, sentences=(), uncertainty=False, **more):
    """Write the page; ``more`` takes the place of entries of its sidecar. Returns its text."""
    t1, t2, labels = scans(*grid())
    content = {
        "sources": {"t1": "data/<sub-01>_T1w.nii.gz", "t2": "data/sub-01_T2w.nii.gz", "mask": None},
        "weights": {"file": "fast.safetensors", "network": "fast_unet"},
        "step": WHOLE_BRAIN,
        "windows": 1,
        "device": "cpu",
        "volumes_ml": {"csf": 120.04, "gm": 400.0, "wm": 240.0},
        "tissues": [],
    } | more
    unsure = np.where(labels == 2, 0.4, 0.0) if uncertainty else None
    views = draw_views(t1.array, t2.array, labels, uncertainty=unsure)
    write_report(path, content, (), views, [Finding("odd", sentence) for sentence in sentences])
    return path.read_text("utf-8")
