# SPDX-License-Identifier: Apache-2.0
"""GeoDiT in lmms-eval: the model, found by its entry point, and tasks for data sets of the field."""
