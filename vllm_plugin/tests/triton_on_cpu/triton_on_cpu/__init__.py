# SPDX-License-Identifier: Apache-2.0
"""A backend of Triton that does nothing: vLLM's model runner asks for one before it lets Triton's interpreter run."""
