# SPDX-License-Identifier: Apache-2.0
"""Synthetic overhead scenes: layouts, drawing, and questions with exact answers."""
