# SPDX-License-Identifier: Apache-2.0
"""Training recipes for any checkpoint, and settings of accelerate; those of `geodit-tiny` are in `tiny/recipes`."""
