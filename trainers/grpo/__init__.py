# SPDX-License-Identifier: Apache-2.0
"""Tune by rewards: GRPO for masked diffusion."""
