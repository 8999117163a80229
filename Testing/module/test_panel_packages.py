"""Packages that the worker lacks in Slicer's Python: looked for, asked for once, never installed behind one's back."""

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]


@pytest.fixture
def opened(stand_in, open_panel):
    """The panel as a user sees it in a Slicer that lacks PyTorch, with a pair to segment."""
    stand_in.set_testing(False)
    stand_in.packaging.pretend_missing.add("torch")
    opened = open_panel()
    opened.add_pair()
    return opened


def segment(opened):
    opened.ui.segmentButton.click()
    return opened.ui.statusLabel.text


def test_nothing_is_asked_or_installed_by_opening_the_panel(stand_in, opened):
    assert stand_in.dialogs.messages == []
    assert stand_in.packaging.calls == []
    assert not opened.worker.client.is_running
    assert opened.ui.deviceComboBox.currentText == "Automatic: known once PyTorch is installed (at the first run)"
    assert opened.ui.segmentButton.enabled


def test_without_the_pytorch_extension_the_sentence_says_where_to_get_it(stand_in, opened):
    sentence = segment(opened)
    assert "PyTorch is not installed in Slicer" in sentence
    assert "Extensions Manager" in sentence
    assert opened.panel.job is None
    assert stand_in.packaging.calls == []


def test_pytorch_is_installed_by_its_extension_after_asking(stand_in, opened):
    stand_in.offer_pytorch(True)
    stand_in.dialogs.answer(True)
    segment(opened)
    import PyTorchUtils

    assert stand_in.dialogs.texts("confirmOkCancel") == ["PyTorch will be downloaded and installed."]
    assert [call["torchVersionRequirement"] for call in PyTorchUtils.calls] == [">=2.5"]
    assert opened.panel.job.state.value == "starting"


def test_a_user_who_says_no_to_pytorch_is_told_what_to_do(stand_in, opened):
    stand_in.offer_pytorch(True)
    stand_in.dialogs.answer(False)
    assert "agree to the installation" in segment(opened)
    assert opened.panel.job is None


def test_the_other_packages_are_asked_for_in_one_question_and_never_slicers_own(stand_in, opened):
    stand_in.packaging.pretend_missing.clear()
    stand_in.packaging.pretend_missing.update({"nibabel", "safetensors"})
    stand_in.dialogs.answer(True)
    segment(opened)
    (question,) = stand_in.dialogs.texts("confirmOkCancel")
    assert "Segment infant brain" in question
    ((_, checked), (kind, wanted)) = stand_in.packaging.calls
    assert kind == "pip_install"
    assert checked == wanted
    assert [requirement.split(">")[0] for requirement in wanted] == ["nibabel", "safetensors"]


@pytest.mark.parametrize(("answer", "error"), [(False, None), (True, OSError("Could not reach\n the index"))])
def test_an_installation_that_is_declined_or_fails_gives_a_sentence(stand_in, opened, answer, error):
    stand_in.packaging.pretend_missing.clear()
    stand_in.packaging.pretend_missing.add("nibabel")
    stand_in.packaging.install_error = error
    stand_in.dialogs.answer(answer)
    sentence = segment(opened)
    assert "nibabel and safetensors could not be installed" in sentence
    assert ("declined" if error is None else "Could not reach the index") in sentence
    assert "proxy" in sentence
    assert opened.panel.job is None


def test_another_python_needs_none_of_them(stand_in, open_panel, pretend, label_file):
    from pretend_worker import result_of

    stand_in.packaging.pretend_missing.add("torch")
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.add_pair()
    assert opened.run().state.value == "done"
    assert stand_in.packaging.calls == []
