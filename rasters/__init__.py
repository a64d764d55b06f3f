# SPDX-License-Identifier: Apache-2.0
"""Read images and rasters of any kind and size as 8-bit RGB, by windows, with their place on Earth."""
