# SPDX-License-Identifier: Apache-2.0
"""Run a training recipe: a YAML file that names model, data and settings."""
