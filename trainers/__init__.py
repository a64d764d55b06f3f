# SPDX-License-Identifier: Apache-2.0
"""Train with the masked diffusion loss: the Trainer, its arguments, collator and noise, and adapters."""
