# SPDX-License-Identifier: Apache-2.0
"""Configuration classes, the list of the modules that a checkpoint carries, and small helpers."""
