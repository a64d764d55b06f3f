# SPDX-License-Identifier: Apache-2.0
"""Read the formats of labeling tools and of published annotations, one module per format."""
