# SPDX-License-Identifier: Apache-2.0
"""Ask a model the questions of a data set, score the answers, and sweep over decoding settings."""
