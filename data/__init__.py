# SPDX-License-Identifier: Apache-2.0
"""The data schema, streaming, and real imagery with boxes."""
