# SPDX-License-Identifier: Apache-2.0
"""Read, write, find and convert checkpoints: published weights, adapters, merging, new tokens."""
