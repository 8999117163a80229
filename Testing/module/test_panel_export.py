"""Export of a result: NIfTI by the panel, DICOM SEG by Slicer's exporter, in whose place a stand-in is put."""

import numpy as np
import pytest
from pretend_worker import result_of

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]


class Exportable:
    """Of Slicer's exportable what the panel touches."""

    directory = ""


class Exporter:
    """Slicer's exporter as its source has it: export() gives an empty text, or a sentence for people."""

    exported, answer = [], ""

    def examineForExport(self, item):
        import slicer

        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        node = tree.GetItemDataNode(item)
        if node is None or not node.IsA("vtkMRMLSegmentationNode"):
            return []
        exportable = Exportable()
        exportable.node = node
        return [exportable]

    def export(self, exportables):
        for exportable in exportables:
            segmentation = exportable.node.GetSegmentation()
            tags = [tag_of(segmentation.GetSegment(segment_id)) for segment_id in segmentation.GetSegmentIDs()]
            self.exported.append((exportable.directory, tags))
        return self.answer


def tag_of(segment):
    import vtk

    values = []
    for name in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"):
        value = vtk.reference("")
        values.append(str(value) if segment.GetTag(name, value) else None)
    return tuple(values)


@pytest.fixture
def exporter(slicer, monkeypatch):
    monkeypatch.setattr(Exporter, "exported", [])
    slicer.modules.dicomPlugins = {"DICOMSegmentationPlugin": Exporter}
    yield Exporter
    del slicer.modules.dicomPlugins


@pytest.fixture
def opened(open_panel, pretend, label_file):
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.add_pair()
    return opened


def run_on_a_dicom_scan(opened):
    """Make a run, and let its scan be one of the DICOM database and its result be in the subject hierarchy.

    In Slicer its plugins put each node there, which the stand-in does not have.
    """
    import slicer

    opened.run()
    opened.panel.parameters.t1.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.CreateItem(tree.GetSceneItemID(), opened.panel.parameters.output)
    opened.panel.export.refresh()


def entries(opened):
    """Return whether each entry of the menu can be used, and its text."""
    opened.panel.export.refresh()
    return [(action.enabled, action.text) for action in (opened.panel.export.nifti, opened.panel.export.dicom)]


def test_without_a_result_or_an_exporter_the_entries_say_so(opened):
    assert entries(opened) == [
        (False, "NIfTI… (There is no segmentation yet)"),
        (False, "DICOM SEG… (This Slicer has no exporter of DICOM SEG)"),
    ]
    opened.run()
    assert [enabled for enabled, _ in entries(opened)] == [True, False]
    assert "Slicer 5.12 and later" in opened.panel.export.dicom.toolTip


def test_a_scan_that_is_not_from_the_dicom_database_gives_no_dicom_seg(opened, exporter):
    assert entries(opened)[1] == (False, "DICOM SEG… (There is no segmentation yet)")
    opened.run()
    assert entries(opened)[1] == (False, "DICOM SEG… (The scan was not loaded from Slicer's DICOM database)")


def test_dicom_seg_is_written_by_slicers_exporter_and_says_how_the_segments_were_made(
    opened, exporter, stand_in, slicer, tmp_path
):
    run_on_a_dicom_scan(opened)
    assert entries(opened)[1] == (True, "DICOM SEG…")
    stand_in.dialogs.answer(str(tmp_path))
    opened.panel.export.dicom.trigger()
    assert exporter.exported == [(str(tmp_path), [("AUTOMATIC", "InfantBrainSeg")] * 3)]
    assert opened.ui.statusLabel.text == f"Written to {tmp_path}."
    node = opened.panel.parameters.output
    first = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.ones((32, 32, 32), np.uint8), node, first, opened.panel.parameters.t1
    )
    stand_in.dialogs.answer(str(tmp_path))
    opened.panel.export.dicom.trigger()
    assert exporter.exported[1][1] == [("SEMIAUTOMATIC", "InfantBrainSeg")] * 3


def test_what_slicers_exporter_complains_of_is_told(opened, exporter, stand_in, monkeypatch, tmp_path):
    run_on_a_dicom_scan(opened)
    monkeypatch.setattr(exporter, "answer", "Referenced volume files were not found.")
    stand_in.dialogs.answer(str(tmp_path))
    opened.panel.export.dicom.trigger()
    told = opened.ui.statusLabel.text
    assert "could not be written as DICOM SEG (Referenced volume files were not found)" in told
    assert "export it as NIfTI." in told


@pytest.mark.parametrize("answer", ["result.nii.gz", "result.nii", "result"])
def test_nifti_has_the_labels_on_the_scans_grid(opened, stand_in, label_file, tmp_path, answer):
    import SimpleITK as sitk

    opened.run()
    assert entries(opened)[0] == (True, "NIfTI…")
    stand_in.dialogs.answer(str(tmp_path / answer))
    opened.panel.export.nifti.trigger()
    path = tmp_path / (answer if "." in answer else f"{answer}.nii.gz")
    assert opened.ui.statusLabel.text == f"Written to {path}."
    written, expected = sitk.ReadImage(str(path)), sitk.ReadImage(str(label_file))
    assert np.array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(expected))
    assert np.allclose(written.GetOrigin(), expected.GetOrigin())
    assert np.allclose(written.GetDirection(), expected.GetDirection())


def test_a_cancelled_dialog_writes_nothing(opened, stand_in):
    opened.run()
    before = opened.ui.statusLabel.text
    opened.panel.export.refresh()
    stand_in.dialogs.answer("")
    opened.panel.export.nifti.trigger()
    assert opened.ui.statusLabel.text == before
