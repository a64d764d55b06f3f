# SPDX-License-Identifier: Apache-2.0
"""The network, the masked diffusion loss, and `generate()` with its decoding policies."""
