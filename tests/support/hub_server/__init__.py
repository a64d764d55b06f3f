# SPDX-License-Identifier: Apache-2.0
"""A small Hub for tests, which speaks what huggingface_hub 2.4 uses."""
