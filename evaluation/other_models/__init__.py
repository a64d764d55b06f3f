# SPDX-License-Identifier: Apache-2.0
"""Other image-text-to-text models, asked the same questions: families, their notations of boxes, loading."""
