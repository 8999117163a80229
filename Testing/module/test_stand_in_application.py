"""What surrounds a module on the stand-in: dialogs, settings, packages, sample data, files, tables, views, pictures."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from Testing.slicer_stand_in import application, run_panel
from Testing.slicer_stand_in.views import position_text

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]

DEMO = Path(__file__).parent / "data" / "bench_demo"
MODULE = DEMO / "BenchDemo.py"


@pytest.fixture
def panel(stand_in):
    stand_in.load_module(MODULE)
    yield stand_in.open_module("BenchDemo")
    if stand_in.app.moduleManager().module("BenchDemo") is not None:
        stand_in.unload_module("BenchDemo")


def head(slicer, name="T1"):
    """A ball in a ball: two tissues in 40 x 44 x 48 voxels."""
    z, y, x = np.mgrid[-1:1:40j, -1:1:44j, -1:1:48j]
    radius = np.sqrt(z**2 + y**2 + x**2)
    array = np.where(radius < 0.5, 200, np.where(radius < 0.9, 100, 0)).astype(np.int16)
    return slicer.util.addVolumeFromArray(array, name=name)


def test_messages_are_recorded_and_questions_answered_by_the_test(stand_in, slicer):
    slicer.util.errorDisplay("T2 is missing", windowTitle="Demo")
    stand_in.dialogs.answer(True, False)
    assert slicer.util.confirmOkCancelDisplay("Install?")
    assert not slicer.util.confirmYesNoDisplay("Restart?")
    assert stand_in.dialogs.texts("error") == ["T2 is missing"]
    assert stand_in.dialogs.texts() == ["T2 is missing", "Install?", "Restart?"]


def test_a_dialog_that_would_wait_for_a_user_raises(stand_in):
    qt = sys.modules["qt"]
    with pytest.raises(application.dialogs.ModalDialogError):
        qt.QDialog().exec_()
    with pytest.raises(application.dialogs.ModalDialogError):
        qt.QFileDialog.getOpenFileName(None, "Weights")
    stand_in.dialogs.answer(qt.QDialog.Accepted, "/models/a.safetensors")
    assert qt.QDialog().exec_() == qt.QDialog.Accepted
    assert qt.QFileDialog.getOpenFileName(None, "Weights") == "/models/a.safetensors"


def test_settings_stay_in_the_bench(stand_in, slicer):
    settings = sys.modules["qt"].QSettings()
    settings.setValue("InfantBrainSeg/step", 8)
    assert slicer.util.settingsValue("InfantBrainSeg/step", 0, converter=int) == 8
    assert Path(settings.fileName()).is_relative_to(stand_in.folder)
    stand_in.reset()
    assert slicer.util.settingsValue("InfantBrainSeg/step", 0, converter=int) == 0


def test_packages_are_asked_for_and_never_installed(stand_in, slicer, tmp_path):
    packaging = slicer.packaging
    (tmp_path / "requirements.txt").write_text("# needed\nnumpy>=1.26\nnibabel>=5.2\n")
    requirements = packaging.load_requirements(tmp_path / "requirements.txt")
    assert [r.name for r in requirements] == ["numpy", "nibabel"]
    stand_in.packaging.pretend_missing.add("nibabel")
    packaging.pip_ensure(requirements, requester="Demo")  # under --testing Slicer skips it
    stand_in.set_testing(False)
    stand_in.dialogs.answer(False)
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure(requirements, requester="Demo")
    stand_in.dialogs.answer(True)
    packaging.pip_ensure(requirements, requester="Demo")
    assert [call for call in stand_in.packaging.calls if call[0] == "pip_install"] == [
        ("pip_install", ["nibabel>=5.2"])
    ]
    assert packaging.pip_check("numpy>=1.26")


def test_pytorch_comes_only_with_its_extension(stand_in, slicer):
    with pytest.raises(ModuleNotFoundError):
        import PyTorchUtils
    stand_in.offer_pytorch(True)
    import PyTorchUtils

    stand_in.set_testing(False)
    stand_in.dialogs.answer(False, True)
    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert logic.installTorch(askConfirmation=True) is None
    assert logic.installTorch(askConfirmation=True) is not None


def test_sample_data_is_loaded_from_files(stand_in, slicer, tmp_path):
    path = tmp_path / "T1.nrrd"
    slicer.util.saveNode(head(slicer), str(path))
    stand_in.close_scene()
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Demo", sampleName="DemoHead", uris=path.as_uri(), fileNames="T1.nrrd", nodeNames="Head"
    )
    assert SampleData.downloadSample("DemoHead").GetName() == "Head"
    assert SampleData.downloadSample("DemoHead").GetStorageNode() is None
    assert SampleData.downloadSamples("Unknown") == []


def test_sample_data_need_addresses_and_a_custom_downloader_is_asked_by_the_button_alone(stand_in, tmp_path):
    import SampleData

    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    with pytest.raises(TypeError):
        register(category="Demo", sampleName="Bare", customDownloader=print)
    path, asked = tmp_path / "notes.txt", []
    path.write_text("notes")
    register(sampleName="Notes", uris=[path.as_uri()], fileNames=["notes.txt"], customDownloader=asked.append)
    (copy,) = SampleData.downloadSamples("Notes")
    assert Path(copy).read_text() == "notes"
    assert asked == []
    SampleData.press_button("Notes")
    assert [source.sampleName for source in asked] == ["Notes"]
    with pytest.raises(ValueError, match="differ in number"):
        register(sampleName="Two", uris=[path.as_uri()], fileNames=["a", "b"])


def test_volumes_go_through_files_with_their_voxels_and_geometry(stand_in, slicer, tmp_path):
    volume = head(slicer)
    volume.SetSpacing(0.8, 0.9, 1.1)
    path = tmp_path / "T1.nii.gz"
    assert slicer.util.saveNode(volume, str(path))
    loaded = slicer.util.loadVolume(str(path))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    np.testing.assert_allclose(loaded.GetSpacing(), (0.8, 0.9, 1.1), rtol=1e-5)


def test_a_table_node_is_shown_and_a_row_can_be_selected(stand_in, slicer):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Scores")
    slicer.util.updateTableFromArray(table, [np.array([0.9, 0.8])], ["Dice"])
    table.SetLocked(True)
    view = slicer.qMRMLTableView()
    qt = sys.modules["qt"]
    view.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    view.setMRMLTableNode(table)
    seen = []
    view.connect("selectionChanged()", lambda: seen.append(view.selectedIndexes()[0].row()))
    view.selectRow(1)
    assert seen == [1]
    table.SetCellText(0, 0, "0.95")
    assert view.model().index(0, 0).data() == "0.95"


def test_segments_are_listed_selected_and_shown_in_three_dimensions(stand_in, slicer):
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Tissues")
    segmentation.CreateDefaultDisplayNodes()
    volume = head(slicer)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment_id = segmentation.GetSegmentation().AddEmptySegment("wm", "White matter")
    inside = (slicer.util.arrayFromVolume(volume) == 200).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside, segmentation, segment_id, volume)
    view, button = slicer.qMRMLSegmentsTableView(), slicer.qMRMLSegmentationShow3DButton()
    view.setSegmentationNode(segmentation)
    view.setSelectedSegmentIDs([segment_id])
    assert (view.segmentCount, view.selectedSegmentIDs()) == (1, ("wm",))
    button.setSegmentationNode(segmentation)
    button.click()
    assert segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    counted = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume).sum()
    assert counted == inside.sum()


def test_layouts_are_slicers_own(stand_in, slicer):
    manager = slicer.app.layoutManager()
    assert set(manager.sliceViewNames()) >= {"Red", "Yellow", "Green"}
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Scores")
    slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
    assert manager.tableWidget(0).tableView().mrmlTableNode() is table
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def test_jumping_moves_every_slice_view(stand_in, slicer):
    volume = head(slicer)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 20, 11, 7, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    manager = slicer.app.layoutManager()
    planes = [manager.sliceWidget(name).mrmlSliceNode().GetSliceToRAS() for name in ("Yellow", "Green", "Red")]
    positions = [plane.GetElement(axis, 3) for axis, plane in enumerate(planes)]
    np.testing.assert_allclose(positions, (20, 11, 7), atol=0.6)  # slices lie at voxel centres
    assert [position_text(manager.sliceWidget(name).mrmlSliceNode())[0] for name in ("Yellow", "Green")] == ["R", "A"]


def test_the_picture_shows_panel_and_views(stand_in, slicer, panel, tmp_path):
    volume = head(slicer)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    path = stand_in.picture(tmp_path / "window.png", size=(1200, 800))
    image = sys.modules["qt"].QImage(str(path))
    assert (image.width(), image.height()) == (1200, 800)
    red = slicer.app.layoutManager().sliceWidget("Red")
    corner = red.sliceView().mapTo(stand_in.window, sys.modules["qt"].QPoint(0, 0))
    size = red.sliceView().size
    middle = image.pixelColor(corner.x() + size.width() // 2, corner.y() + size.height() // 2)
    assert middle.red() > 200  # the inner ball
    bar = image.pixelColor(corner.x() + size.width() // 2, corner.y() - 20)
    assert bar.red() > 200 > bar.blue()  # the red slice's bar


def test_the_command_writes_a_picture_and_checks_its_arguments(stand_in, tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text("panel.ui.statusLabel.text = 'from the script'\n")
    picture = tmp_path / "panel.png"
    options = ["--module", str(MODULE), "--script", str(script), "--picture", str(picture), "--size", "1000x700"]
    assert run_panel.main(options) == 0
    assert picture.stat().st_size > 10_000
    with pytest.raises(SystemExit) as wrong:
        run_panel.main(["--module", str(MODULE)])
    assert wrong.value.code == 2
