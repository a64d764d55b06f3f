# SPDX-License-Identifier: Apache-2.0
"""Answer questions about image files and whole georeferenced scenes."""
