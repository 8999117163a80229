"""Stand-in for Slicer's module SampleData: sources are registered and loaded from files; nothing is downloaded.

`press_button` is what a click on a source's button on the page does; all other names are Slicer's.
"""

import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk

PER_FILE = ("uris", "fileNames", "nodeNames", "checksums", "loadFiles", "loadFileTypes")
PER_SOURCE = ("sampleName", "sampleDescription", "thumbnailFileName", "loadFileProperties", "customDownloader")


class SampleDataSource:
    """One entry of the Sample Data page: the addresses of its files, and as many of what is said of each file."""

    def __init__(
        self,
        sampleName: str | None = None,
        sampleDescription: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        loadFileType: Any = None,
    ) -> None:
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be given at the same time")
        loadFileTypes = loadFileType if loadFileTypes is None else loadFileTypes
        if isinstance(uris, str):
            uris, fileNames, nodeNames, checksums, loadFiles, loadFileTypes = (
                [value] for value in (uris, fileNames, nodeNames, checksums, loadFiles, loadFileTypes)
            )
        elif isinstance(uris, list | tuple):
            if loadFileTypes is None or isinstance(loadFileTypes, str):
                loadFileTypes = [loadFileTypes] * len(uris)
            nodeNames, checksums, loadFiles = (
                [None] * len(uris) if value is None else value for value in (nodeNames, checksums, loadFiles)
            )
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.uris, self.fileNames, self.nodeNames = uris, fileNames, nodeNames
        self.checksums, self.loadFiles, self.loadFileTypes = checksums, loadFiles, loadFileTypes
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        if len({len(getattr(self, name)) for name in PER_FILE}) != 1:  # TypeError where there are no addresses
            raise ValueError(f"{sampleName}: {', '.join(PER_FILE)} differ in number")

    def __eq__(self, other: object) -> bool:
        return all(getattr(self, name) == getattr(other, name, None) for name in (*PER_FILE, *PER_SOURCE))

    __hash__ = None


class SampleDataLogic:
    """Registers sources in slicer.modules.sampleDataSources and loads them."""

    def __init__(self, logMessage: Any = None) -> None:
        self._log = logMessage

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        if not hasattr(slicer.modules, "sampleDataSourceCategories"):
            slicer.modules.sampleDataSourceCategories = {}
        slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        loadFileProperties: dict[str, Any] | None = None,
        checksums: Any = None,
        loadFileType: Any = None,
    ) -> None:
        if thumbnailFileName is not None and not Path(thumbnailFileName).is_file():
            raise FileNotFoundError(f"{thumbnailFileName}: the picture of {sampleName} is missing")
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties,
            loadFileType=loadFileType,
        )
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            SampleDataLogic.sampleDataSourcesByCategory().setdefault(category, []).append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category: str, sampleDataSource: SampleDataSource) -> bool:
        return sampleDataSource in SampleDataLogic.sampleDataSourcesByCategory(category)

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        sources = [source for group in self.sampleDataSourcesByCategory().values() for source in group]
        return next((source for source in sources if source.sampleName == sampleName), None)

    def downloadFileIntoCache(self, uri: str, name: str, checksum: str | None = None) -> str:
        """Copy a file into the cache, unless one of its name is there with the right checksum, or without any."""
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / name
        algorithm, digest = slicer.util.extractAlgoAndDigest(checksum)
        if path.is_file() and (digest is None or slicer.util.computeChecksum(algorithm, str(path)) == digest):
            return str(path)
        address = urllib.parse.urlparse(uri)
        if address.scheme != "file":
            raise NotImplementedError(f"{uri}: the stand-in downloads nothing")
        shutil.copyfile(urllib.request.url2pathname(address.path), path)
        if digest is not None and slicer.util.computeChecksum(algorithm, str(path)) != digest:
            raise ValueError(f"{uri} has another checksum than {checksum}")  # Slicer removes it and cannot load it then
        return str(path)

    def downloadFromSource(self, source: SampleDataSource, maximumAttemptsCount: int = 3) -> list[Any]:
        """Load the files that have a node's name; return the nodes, or the files' paths where none has one.

        A custom downloader is not asked.
        """
        nodes, paths = [], []
        for uri, file_name, node_name, checksum, kind in zip(
            source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFileTypes, strict=True
        ):
            path = self.downloadFileIntoCache(uri, file_name, checksum)
            if node_name is None:
                paths.append(path)
            else:
                nodes.append(self.loadNode(path, node_name, kind, dict(source.loadFileProperties)))
        return nodes or paths

    def loadNode(self, uri: str, name: str, fileType: str | None, fileProperties: dict[str, Any]) -> Any:
        """Load a file of the cache; the node forgets the file, which is not the user's."""
        loaded, manager = vtk.vtkCollection(), slicer.app.coreIOManager()
        properties = {**fileProperties, "fileName": uri, "name": name}
        if not manager.loadNodes(fileType or manager.fileType(uri), properties, loaded):
            return None
        node = loaded.GetItemAsObject(0)
        if node.IsA("vtkMRMLStorableNode") and node.GetStorageNode() is not None:
            slicer.mrmlScene.RemoveNode(node.GetStorageNode())
            node.SetAndObserveStorageNodeID(None)
        return node

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source is not None else []


def downloadSample(sampleName: str) -> Any:
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName: str) -> list[Any]:
    return SampleDataLogic().downloadSamples(sampleName)


def press_button(sampleName: str) -> Any:
    """Do what the source's button on the page does: the custom downloader, where there is one, gets the source."""
    source = SampleDataLogic().sourceForSampleName(sampleName)
    download = source.customDownloader or SampleDataLogic().downloadFromSource
    return download(source)
