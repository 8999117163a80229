"""Packages that the worker lacks in Slicer's Python: looked for, asked for once, never installed behind one's back."""

import pytest

pytest.importorskip("slicer_core", reason="the bench's packages are missing: pip install -e .[bench]")

pytest_plugins = ["Testing.slicer_bench.fixtures", "panel_fixtures"]


@pytest.fixture
def opened(bench, open_panel):
    """The panel as a user sees it in a Slicer that lacks PyTorch, with a pair to segment."""
    bench.set_testing(False)
    bench.packaging.pretend_missing.add("torch")
    opened = open_panel()
    opened.add_pair()
    return opened


def segment(opened):
    opened.ui.segmentButton.click()
    return opened.ui.statusLabel.text


def test_nothing_is_asked_or_installed_by_opening_the_panel(bench, opened):
    assert bench.dialogs.messages == []
    assert bench.packaging.calls == []
    assert not opened.worker.client.is_running
    assert opened.ui.deviceComboBox.currentText == "Automatic: known once PyTorch is installed (at the first run)"
    assert opened.ui.segmentButton.enabled


def test_without_the_pytorch_extension_the_sentence_says_where_to_get_it(bench, opened):
    sentence = segment(opened)
    assert "PyTorch is not installed in Slicer" in sentence
    assert "Extensions Manager" in sentence
    assert opened.panel.job is None
    assert bench.packaging.calls == []


def test_pytorch_is_installed_by_its_extension_after_asking(bench, opened):
    bench.offer_pytorch(True)
    bench.dialogs.answer(True)
    segment(opened)
    import PyTorchUtils

    assert bench.dialogs.texts("confirmOkCancel") == ["PyTorch will be downloaded and installed."]
    assert [call["torchVersionRequirement"] for call in PyTorchUtils.calls] == [">=2.5"]
    assert opened.panel.job.state.value == "starting"


def test_a_user_who_says_no_to_pytorch_is_told_what_to_do(bench, opened):
    bench.offer_pytorch(True)
    bench.dialogs.answer(False)
    assert "agree to the installation" in segment(opened)
    assert opened.panel.job is None


def test_the_other_packages_are_asked_for_in_one_question_and_never_slicers_own(bench, opened):
    bench.packaging.pretend_missing.clear()
    bench.packaging.pretend_missing.update({"nibabel", "safetensors"})
    bench.dialogs.answer(True)
    segment(opened)
    (question,) = bench.dialogs.texts("confirmOkCancel")
    assert "Segment infant brain" in question
    ((_, checked), (kind, wanted)) = bench.packaging.calls
    assert kind == "pip_install"
    assert checked == wanted
    assert [requirement.split(">")[0] for requirement in wanted] == ["nibabel", "safetensors"]


@pytest.mark.parametrize(("answer", "error"), [(False, None), (True, OSError("Could not reach\n the index"))])
def test_an_installation_that_is_declined_or_fails_gives_a_sentence(bench, opened, answer, error):
    bench.packaging.pretend_missing.clear()
    bench.packaging.pretend_missing.add("nibabel")
    bench.packaging.install_error = error
    bench.dialogs.answer(answer)
    sentence = segment(opened)
    assert "nibabel and safetensors could not be installed" in sentence
    assert ("declined" if error is None else "Could not reach the index") in sentence
    assert "proxy" in sentence
    assert opened.panel.job is None


def test_another_python_needs_none_of_them(bench, open_panel, pretend, label_file):
    from pretend_worker import result_of

    bench.packaging.pretend_missing.add("torch")
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.add_pair()
    assert opened.run().state.value == "done"
    assert bench.packaging.calls == []
