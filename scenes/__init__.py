# SPDX-License-Identifier: Apache-2.0
"""Jobs over whole scenes: many queries, many files, resumable, with results a GIS opens."""
