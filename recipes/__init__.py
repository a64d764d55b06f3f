# SPDX-License-Identifier: Apache-2.0
"""Training recipes that come with the package."""
