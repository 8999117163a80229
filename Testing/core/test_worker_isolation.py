"""The worker takes requests from its own standard input and from nowhere else."""

import sys

import pytest
from worker_client import Worker, segment_fields, write_cases, write_weights

psutil = pytest.importorskip("psutil")


@pytest.mark.skipif(sys.platform == "win32", reason="there, libraries hold pipes that are listed as connections")
def test_it_opens_no_socket_of_any_kind_before_in_or_after_a_segmentation(tmp_path):
    write_cases(tmp_path)
    write_weights(tmp_path / "w.safetensors")
    with Worker() as worker:
        worker.until("ready")
        process = psutil.Process(worker.process.pid)
        seen = [process.net_connections(kind="all")]
        worker.open(tmp_path)
        worker.send("segment", 1, **segment_fields(weights=str(tmp_path / "w.safetensors")))
        worker.until("progress")
        seen.append(process.net_connections(kind="all"))
        assert worker.until("done", "error")[-1]["event"] == "done"
        seen.append(process.net_connections(kind="all"))
        assert not process.children()
    assert seen == [[], [], []]
