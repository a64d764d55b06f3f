# SPDX-License-Identifier: Apache-2.0
"""Configuration classes, the modules that a checkpoint carries, and small helpers that every package uses."""
