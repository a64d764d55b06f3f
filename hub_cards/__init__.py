# SPDX-License-Identifier: Apache-2.0
"""Model cards, and publishing checkpoints on the Hub."""
