# SPDX-License-Identifier: Apache-2.0
"""How the projects of the field score answers, so that published figures can be compared on equal terms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source
from geodit.evaluation.protocols.earthdial import EARTHDIAL
from geodit.evaluation.protocols.geochat import GEOCHAT
from geodit.evaluation.protocols.ours import OURS
from geodit.evaluation.protocols.rs_tester import RS_TESTER
from geodit.evaluation.protocols.rscovlm import RSCOVLM
from geodit.evaluation.protocols.vhm import VHM
from geodit.evaluation.protocols.vrsbench import VRSBENCH

__all__ = ["DEFAULT_PROTOCOL", "PROTOCOLS", "EvaluationProtocol", "Quirk", "Source", "get_protocol"]

DEFAULT_PROTOCOL = "ours"

PROTOCOLS: Mapping[str, EvaluationProtocol] = MappingProxyType(
    {protocol.name: protocol for protocol in (OURS, VRSBENCH, GEOCHAT, VHM, EARTHDIAL, RS_TESTER, RSCOVLM)}
)
"""The protocols by name."""


def get_protocol(name: str = DEFAULT_PROTOCOL) -> EvaluationProtocol:
    """Look up a protocol by its name.

    Args:
        name: A key of `PROTOCOLS`.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; the protocols are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
