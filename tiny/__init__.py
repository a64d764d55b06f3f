# SPDX-License-Identifier: Apache-2.0
"""Everything that makes the bundled checkpoint `geodit-tiny`, and what starts from it: scenes, recipes, weights."""
