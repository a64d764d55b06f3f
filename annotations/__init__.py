# SPDX-License-Identifier: Apache-2.0
"""Read boxes, polygons, captions and answers as labeling tools and maps keep them, and make questions of them."""
