# SPDX-License-Identifier: Apache-2.0
"""The `geodit` command: a thin shell over the other packages."""
