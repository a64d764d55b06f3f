# SPDX-License-Identifier: Apache-2.0
"""Read a checkpoint folder and write its model card."""
