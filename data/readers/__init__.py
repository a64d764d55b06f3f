# SPDX-License-Identifier: Apache-2.0
"""Read the published data sets of the field as their authors distribute them."""
