# SPDX-License-Identifier: Apache-2.0
"""Measure how fast decoding is, compared with other decoders and with a lower bound (`geodit benchmark`)."""
