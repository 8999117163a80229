"""Stand-in for Slicer's module SampleData: sources are registered and loaded from files; nothing is downloaded."""

import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer
import slicer.util


def _several(value: Any) -> list[Any]:
    return [None] if value is None else [value] if isinstance(value, str) else list(value)


@dataclass
class SampleDataSource:
    """One entry of the Sample Data page."""

    sampleName: str | None = None
    sampleDescription: str | None = None
    uris: Any = None
    fileNames: Any = None
    nodeNames: Any = None
    checksums: Any = None
    loadFiles: Any = None
    customDownloader: Callable[[Any], Any] | None = None
    thumbnailFileName: str | None = None
    loadFileTypes: Any = None
    loadFileProperties: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("uris", "fileNames", "nodeNames"):
            setattr(self, name, _several(getattr(self, name)))
        count = len(self.uris)
        for name, usual in (("checksums", None), ("loadFiles", None), ("loadFileTypes", "VolumeFile")):
            values = _several(getattr(self, name)) if getattr(self, name) not in (None, True, False) else []
            setattr(self, name, values + [usual] * (count - len(values)))
        if not len(self.uris) == len(self.fileNames) == len(self.nodeNames):
            raise ValueError(f"{self.sampleName}: uris, fileNames and nodeNames differ in number")


class SampleDataLogic:
    """Registers sources in slicer.modules.sampleDataSources and loads them."""

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
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be given at the same time")
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
            loadFileTypes=loadFileTypes or loadFileType,
            loadFileProperties=loadFileProperties or {},
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

    def downloadFromSource(self, source: SampleDataSource, maximumAttemptsCount: int = 3) -> list[Any]:
        """Load a source's files into the scene; file: addresses only."""
        if source.customDownloader is not None:
            return source.customDownloader(source)
        nodes = []
        for uri, name, kind in zip(source.uris, source.nodeNames, source.loadFileTypes, strict=True):
            address = urllib.parse.urlparse(uri)
            if address.scheme != "file":
                raise NotImplementedError(f"{uri}: the bench downloads nothing")
            path = urllib.request.url2pathname(address.path)
            properties = {**source.loadFileProperties, "name": name}
            nodes.append(slicer.util.loadNodeFromFile(path, kind, properties))
        return nodes

    def downloadSample(self, sampleName: str) -> Any:
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName: str) -> list[Any]:
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise KeyError(f"no sample data is registered as {sampleName}")
        return self.downloadFromSource(source)


def downloadSample(sampleName: str) -> Any:
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName: str) -> list[Any]:
    return SampleDataLogic().downloadSamples(sampleName)
