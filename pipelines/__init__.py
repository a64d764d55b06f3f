# SPDX-License-Identifier: Apache-2.0
"""From image files to answers: reading, tiling, asking the model, drawing, map coordinates."""
