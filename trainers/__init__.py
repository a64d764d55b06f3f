# SPDX-License-Identifier: Apache-2.0
"""Train: the Trainer, its arguments, collator and noise, adapters, runs of recipes, tuning with rewards, resuming."""
