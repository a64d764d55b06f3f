# SPDX-License-Identifier: Apache-2.0
"""Everything that makes the bundled checkpoint `geodit-tiny`: scenes, pretraining, recipes, demo scenes, weights."""
