# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning in one command: a plan for the data and memory at hand, the run, and a report."""
