# SPDX-License-Identifier: Apache-2.0
"""A page to try a model on: ask, watch it denoise, whole scenes, two settings side by side (`geodit app`)."""
