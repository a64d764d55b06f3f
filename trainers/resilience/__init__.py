# SPDX-License-Identifier: Apache-2.0
"""Lose nothing when a run is stopped, killed or its disk is full."""
