# SPDX-License-Identifier: Apache-2.0
"""Metrics, benchmarks, and sweeps over decoding settings."""
