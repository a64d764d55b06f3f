# SPDX-License-Identifier: Apache-2.0
"""Read the formats of labelling tools and of published annotations, one module per format."""
