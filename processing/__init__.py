# SPDX-License-Identifier: Apache-2.0
"""Convert images and questions to tensors, and generated tokens to captions, labels and boxes."""
