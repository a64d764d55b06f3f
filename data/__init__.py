# SPDX-License-Identifier: Apache-2.0
"""The data schema, readers of published data sets, streaming, and real tree crowns."""
