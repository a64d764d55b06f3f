# SPDX-License-Identifier: Apache-2.0
"""The readers by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodit.data.readers.avvg import AVVGReader
from geodit.data.readers.conversations import LLaVAReader
from geodit.data.readers.dior_rsvg import DIORRSVGReader
from geodit.data.readers.geochat import GeoChatReader
from geodit.data.readers.karpathy import RSICDReader, SydneyCaptionsReader, UCMCaptionsReader
from geodit.data.readers.mmrs import MMRSReader
from geodit.data.readers.nwpu_captions import NWPUCaptionsReader
from geodit.data.readers.reader import DatasetReader
from geodit.data.readers.rsvg import RSVGReader
from geodit.data.readers.rsvqa import RSVQAHighResolutionReader, RSVQALowResolutionReader
from geodit.data.readers.scene_folders import AIDReader, WHURS19Reader
from geodit.data.readers.skyscript import SkyScriptReader
from geodit.data.readers.vrsbench import VRSBenchReader

READERS: Mapping[str, DatasetReader] = MappingProxyType(
    {
        reader.name: reader
        for reader in (
            SkyScriptReader(),
            MMRSReader(),
            GeoChatReader(),
            LLaVAReader(),
            VRSBenchReader(),
            DIORRSVGReader(),
            RSVGReader(),
            AVVGReader(),
            RSICDReader(),
            UCMCaptionsReader(),
            SydneyCaptionsReader(),
            NWPUCaptionsReader(),
            RSVQALowResolutionReader(),
            RSVQAHighResolutionReader(),
            AIDReader(),
            WHURS19Reader(),
        )
    }
)
"""The readers by name."""


def get_reader(name: str) -> DatasetReader:
    """Look a reader up.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in READERS:
        raise ValueError(f"unknown data set {name!r}; the data sets are {', '.join(READERS)}")
    return READERS[name]
