# SPDX-License-Identifier: Apache-2.0
"""Select, check and upload the files of a checkpoint."""
