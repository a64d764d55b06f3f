# SPDX-License-Identifier: Apache-2.0
"""Images and questions to tensors; generated tokens to captions, labels and boxes."""
